"""The client's side of gRPC on one HTTP/2 connection (RFC 9113), no more of it than a load generator needs.

A full client costs about as much CPU as the server it is to load, and shares two CPUs with it. This one sends each
request as two frames made beforehand but for the message, and of an answer reads only whether it ends with
grpc-status 0. Its requests are compressed as a full client's are: the header names and values are in the connection's
table after the first request (RFC 7541).
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Final, cast

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACKNOWLEDGED: Final = 1
_END_STREAM: Final = 1
_END_HEADERS: Final = 4
_FRAME_HEADER: Final = 9
_LARGEST_FRAME: Final = 16_384
_MESSAGE_HEADER: Final = 5
_FIRST_WINDOW: Final = 65_535
_LARGEST_WINDOW: Final = 2**31 - 1
# SETTINGS_HEADER_TABLE_SIZE 0 makes the server write its trailers out, so that they can be read without a table.
_INITIAL_WINDOW_SIZE: Final = 4
_OWN_SETTINGS: Final = struct.pack(">HIHI", 1, 0, _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
_STATUS_OK: Final = b"\x0bgrpc-status\x010"
# Of HPACK's static table: whole fields, and names that get a value.
_METHOD_POST, _SCHEME_HTTP = 0x83, 0x86
_PATH, _AUTHORITY, _AUTHORIZATION, _CONTENT_TYPE, _USER_AGENT = 4, 1, 23, 31, 58
_STATIC_FIELDS: Final = 61
_LONGEST_SHORT_TEXT: Final = 126

Answered = Callable[["Connection", int, bool], None]
Received = Callable[["Connection", bytes], None]


class ConnectionBrokenError(Exception):
    """The server ended the connection, or did what this client does not understand."""


class Connection(asyncio.Protocol):
    """Sends requests, and calls `answered(connection, stream, is_ok)` for each that has ended.

    With `received` it is one call instead, open both ways: `send_more` sends messages on it, and `received(connection,
    message)` is called for each that comes back.
    """

    def __init__(
        self,
        *,
        authority: str,
        path: str,
        metadata: Sequence[tuple[str, str]],
        answered: Answered,
        received: Received | None = None,
    ) -> None:
        self._first_headers, self._headers = _encode_headers(authority, path, metadata)
        self._answered = answered
        self._take_message = received
        self._messages = b""
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._out: list[bytes] = []
        self._next_stream = 1
        self._window = self._stream_window = _FIRST_WINDOW
        self.error: ConnectionBrokenError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says hello, and that the server may send as much as it likes."""
        # What create_connection makes; uvloop's own is no subclass.
        self._transport = cast(asyncio.Transport, transport)
        window = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, _OWN_SETTINGS) + _frame(_WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, error: Exception | None) -> None:
        """Remembers that it is gone."""
        self.error = self.error or ConnectionBrokenError(f"the connection was closed: {error}")

    def send(self, message: bytes) -> int:
        """Puts a request into what `flush` sends, and returns its stream. Raises ConnectionBrokenError."""
        stream = self._next_stream
        headers = self._headers if stream > 1 else self._first_headers
        self._next_stream += 2
        self._window -= len(message) + 5
        if self._window < 0:
            raise ConnectionBrokenError("the server does not open its window for more requests")
        self._out.append(_frame(_HEADERS, _END_HEADERS, stream, headers))
        self._out.append(_frame(_DATA, _END_STREAM, stream, struct.pack(">BI", 0, len(message)) + message))
        return stream

    def send_more(self, message: bytes) -> None:
        """Puts a message of the one call into what `flush` sends. Raises ConnectionBrokenError."""
        if self._next_stream == 1:
            self._next_stream += 2
            self._out.append(_frame(_HEADERS, _END_HEADERS, 1, self._first_headers))
        prefixed = struct.pack(">BI", 0, len(message)) + message
        self._window -= len(prefixed)
        self._stream_window -= len(prefixed)
        if min(self._window, self._stream_window) < 0:
            raise ConnectionBrokenError("the server does not open its window for more operations")
        for start in range(0, len(prefixed), _LARGEST_FRAME):
            self._out.append(_frame(_DATA, 0, 1, prefixed[start : start + _LARGEST_FRAME]))

    def flush(self) -> None:
        """Sends what is to be sent, in one piece."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Goes through the frames that have come whole."""
        received = self._received + data if self._received else data
        position, end = 0, len(received)
        while end - position >= _FRAME_HEADER:
            length = int.from_bytes(received[position : position + 3], "big")
            next_position = position + _FRAME_HEADER + length
            if next_position > end:
                break
            kind, flags = received[position + 3], received[position + 4]
            stream = int.from_bytes(received[position + 5 : position + 9], "big")
            if kind == _HEADERS:
                if flags & _END_STREAM:
                    is_ok = received.find(_STATUS_OK, position + _FRAME_HEADER, next_position) >= 0
                    self._answered(self, stream, is_ok)
            elif kind == _DATA:
                if self._take_message is not None:
                    self._take_data(received[position + _FRAME_HEADER : next_position])
            else:
                self._control(kind, flags, stream, received[position + _FRAME_HEADER : next_position])
            position = next_position
        self._received = received[position:]
        self.flush()

    def _take_data(self, data: bytes) -> None:
        """Goes through the messages that have come whole; no frame of ours or the server's is padded."""
        self._messages += data
        while len(self._messages) >= _MESSAGE_HEADER:
            end = _MESSAGE_HEADER + int.from_bytes(self._messages[1:_MESSAGE_HEADER], "big")
            if end > len(self._messages):
                return
            message, self._messages = self._messages[_MESSAGE_HEADER:end], self._messages[end:]
            if self._take_message is not None:
                self._take_message(self, message)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACKNOWLEDGED:
            self._take_settings(payload)
            self._out.append(_frame(_SETTINGS, _ACKNOWLEDGED, 0, b""))
        elif kind == _PING and not flags & _ACKNOWLEDGED:
            self._out.append(_frame(_PING, _ACKNOWLEDGED, 0, payload))
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == _WINDOW_UPDATE:
            self._stream_window += int.from_bytes(payload, "big")
        elif kind == _RESET:
            self._answered(self, stream, False)
        elif kind == _GOAWAY:
            self.error = ConnectionBrokenError("the server asks to connect again")

    def _take_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                self._stream_window += value - _FIRST_WINDOW


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _encode_headers(authority: str, path: str, metadata: Sequence[tuple[str, str]]) -> tuple[bytes, bytes]:
    """Returns the header block of a connection's first request, which fills its table, and of all others."""
    named = [(_AUTHORITY, authority), (_PATH, path), (_CONTENT_TYPE, "application/grpc"), (_USER_AGENT, "bench")]
    fields = [_with_index(name) + _text(value) for name, value in named]
    fields += [b"\x40" + _text(name) + _text(value) for name, value in (("te", "trailers"), *metadata)]
    first = bytes((_METHOD_POST, _SCHEME_HTTP)) + b"".join(fields)
    # What came last has the lowest index.
    indexes = [0x80 | (_STATIC_FIELDS + len(fields) - position) for position in range(len(fields))]
    return first, bytes((_METHOD_POST, _SCHEME_HTTP, *indexes))


def _with_index(name: int) -> bytes:
    return bytes((0x40 | name,))


def _text(value: str) -> bytes:
    encoded = value.encode("ascii")
    if len(encoded) > _LONGEST_SHORT_TEXT:
        raise ValueError(f"too long for one length byte: {value!r}")
    return bytes((len(encoded),)) + encoded
