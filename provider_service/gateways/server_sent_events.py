"""The event stream format of the HTML standard, as far as its data goes.

See https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.
"""

from typing import Final

# Far more than a piece of text takes.
EVENT_MAXIMUM_BYTES: Final = 1024 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class EventDecoder:
    """Turns the bytes of a stream, cut anywhere, into the data of its events.

    Lines end with LF, CR or both. Comments and all fields but `data` are passed over, and so are events without data.
    Unlike a browser it takes the last event without the empty line that should follow, since servers leave it out.
    """

    def __init__(self, *, event_maximum_bytes: int = EVENT_MAXIMUM_BYTES) -> None:
        self._event_maximum_bytes = event_maximum_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._is_after_cr = False
        self._is_first_line = True

    def feed(self, chunk: bytes) -> list[str]:
        """Returns the data of the events that end in this chunk. Raises ValueError for one that is too long."""
        if not chunk:
            return []
        # An LF that belongs to the CR before it ends no line of its own.
        begun = chunk[1:] if self._is_after_cr and chunk.startswith(b"\n") else chunk
        self._is_after_cr = chunk.endswith(b"\r")
        *ends, rest = begun.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events = []
        for end in ends:
            self._line += end
            events += self._take_line()
        self._line += rest
        if len(self._line) + self._data_bytes > self._event_maximum_bytes:
            raise ValueError("the event is too long")
        return events

    def end(self) -> list[str]:
        """Returns the data of the event that the end of the stream cuts off, if there is one."""
        # What is left of a line, then the empty one.
        return self._take_line() + self._take_line()

    def _take_line(self) -> list[str]:
        """Takes the line that has ended; returns the data of the event that it ends, if it ends one."""
        line = bytes(self._line)
        self._line.clear()
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._take_event()
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._data_bytes += len(value) + 1
        return []

    def _take_event(self) -> list[str]:
        data = b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        # Lines are whole here, so no character is cut in two.
        return [data.decode(errors="replace")] if data else []
