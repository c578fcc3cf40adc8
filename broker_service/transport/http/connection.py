"""One connection of the HTTP server, with the limits that uvicorn does not have."""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Longer than the application gives a body (requests.BODY_SECONDS), so that its answer comes first.
REQUEST_SECONDS: Final = 15.0
# Those who take no answer are let go after this.
WRITE_SECONDS: Final = 15.0
HIGHEST_CONNECTIONS: Final = 2_000

_RECEIVING: Final = (h11.IDLE, h11.SEND_BODY)


class LimitedConnection(H11Protocol):
    """Closes a connection that is one too many, sends its request too slowly, or does not read its answers.

    uvicorn's own timeout is for idle connections between requests only.
    """

    _request_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begins, unless it is one too many."""
        super().connection_made(transport)
        if len(self.connections) > HIGHEST_CONNECTIONS:
            transport.abort()
            return
        self._start_request_timer()

    def data_received(self, data: bytes) -> None:
        """Takes a piece of a request, whose time runs from its first piece to its last."""
        if self._request_timer is None:
            self._start_request_timer()
        super().data_received(data)
        if self.conn.their_state not in _RECEIVING:
            self._stop_request_timer()

    def on_response_complete(self) -> None:
        """Goes on to the next request."""
        super().on_response_complete()
        # What waits for the next request from here on is the timeout of idle connections.
        if self.conn.their_state is h11.IDLE:
            self._stop_request_timer()

    def pause_writing(self) -> None:
        """Waits for the other side to read."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Goes on writing."""
        super().resume_writing()
        self._stop_write_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends."""
        self._stop_request_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def _start_request_timer(self) -> None:
        self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
