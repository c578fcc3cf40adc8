"""Serving requests in chunks for credits that are metered as they go."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, TypeAlias

from client_stub.broker import BrokerClient
from mesh_runtime import deadlines
from mesh_runtime.call_errors import unavailable
from mesh_runtime.pending_tasks import PendingTasks
from provider_service.charging import stream_refusals
from provider_service.charging.budgets import CallTimes, running_call_times
from provider_service.charging.refusals import DOMAIN, request_id_reused
from provider_service.charging.stream_handover import StreamPiece
from provider_service.charging.stream_payments import StreamPayments
from provider_service.charging.stream_record import OpenRecord, no_record
from provider_service.charging.stream_request import StreamRequest
from provider_service.charging.stream_session import StreamEnd, StreamSession
from provider_service.journal.entries import RequestKey
from provider_service.services.service import Json, StreamedService

Write: TypeAlias = Callable[[StreamPiece], Awaitable[None]]

# A caller that takes nothing for so long, while something is there to be taken, loses its stream.
READER_SECONDS: Final = 30.0
_STOPPING_RETRY_AFTER: Final = timedelta(seconds=1)


class PaidStreams:
    """Serves streams, each once.

    What it promises for one request_id of one account:

    - A chunk is sent only when its credits are set aside, and what was delivered is paid, however the stream ends:
      captured as it goes, and the rest in the background until the broker has confirmed it. Delivered is what gRPC has
      taken. Nothing else is paid, and nothing stays reserved.
    - It is streamed once. A call with the same id is refused while the stream runs, and gets an error that tells what
      was charged when it has ended, here and in any other process.

    Work that outlives its callers runs in `pending`, which whoever stops the process drains; `end_all` comes before.
    """

    def __init__(
        self,
        broker: BrokerClient,
        *,
        pending: PendingTasks,
        open_record: OpenRecord = no_record,
        reader_seconds: float = READER_SECONDS,
    ) -> None:
        self._payments = StreamPayments(broker)
        self._pending = pending
        self._open_record = open_record
        self._reader_seconds = reader_seconds
        self._running: dict[RequestKey, StreamSession] = {}
        self._stopping = False
        self._holder = str(uuid.uuid4())

    def request(
        self,
        *,
        request_id: str,
        account_token: str,
        service: StreamedService,
        service_input: Mapping[str, Json],
        quoted_credits: int,
    ) -> StreamRequest:
        """Returns a request to be served here."""
        slice_credits = max(service.slice_credits, 1)
        return StreamRequest(
            request_id=request_id,
            account_token=account_token,
            service=service,
            service_input=service_input,
            credits=min(slice_credits, quoted_credits),
            quoted_credits=quoted_credits,
            slice_credits=slice_credits,
            holder=self._holder,
        )

    async def serve(self, request: StreamRequest, write: Write) -> None:
        """Serves a request within the running call's deadline, if it has one, and writes the pieces of its answer.

        `write` returns when a piece is on its way. Being cancelled ends the stream. Raises CallError.
        """
        if self._stopping:
            raise unavailable(DOMAIN, "This server is stopping.", _STOPPING_RETRY_AFTER)
        running = self._running.get(request.key)
        if running is not None:
            if running.request.digest != request.digest:
                raise request_id_reused(request.request_id, rpc="ServeStream")
            raise stream_refusals.stream_running(request.request_id, request.service.name)
        session = self._start(request)
        try:
            await self._relay(session, write)
        except BaseException:
            session.leave()
            raise

    def end_all(self) -> None:
        """Ends all streams because the server stops, and begins no more."""
        self._stopping = True
        for session in self._running.values():
            session.end(stream_refusals.stopping)

    def _start(self, request: StreamRequest) -> StreamSession:
        session = StreamSession(
            request,
            _running_stream_times(),
            payments=self._payments,
            pending=self._pending,
            record=self._open_record(request),
        )
        self._running[request.key] = session
        self._pending.run_shielded(self._run(session))
        return session

    async def _run(self, session: StreamSession) -> None:
        try:
            await session.run()
        finally:
            del self._running[session.request.key]

    async def _relay(self, session: StreamSession, write: Write) -> None:
        told_credits = 0
        while (piece := await session.handover.take()) is not None:
            if not await self._write(piece, write):
                session.handover.break_off()
                session.end(stream_refusals.not_read(self._reader_seconds))
                # gRPC still holds the piece: nothing can be written behind it but the status.
                _raise(await session.outcome())
                return
            session.handover.confirm()
            told_credits = piece.charged_credits
        end = await session.outcome()
        # After an error it is written only if it tells something new: that less is charged than was said before.
        if end.error is None or told_credits != end.charged_credits:
            await self._write(_last_piece(end), write)
        _raise(end)

    async def _write(self, piece: StreamPiece, write: Write) -> bool:
        """Returns whether the caller has made room for the piece in time."""
        try:
            async with asyncio.timeout(self._reader_seconds):
                await write(piece)
        except TimeoutError:
            return False
        return True


def _last_piece(end: StreamEnd) -> StreamPiece:
    return StreamPiece(
        chunk=None,
        charged_credits=end.charged_credits,
        reservation_id=end.reservation_id,
        balance=end.balance,
    )


def _raise(end: StreamEnd) -> None:
    if end.error is not None:
        raise end.error


def _running_stream_times() -> CallTimes:
    """Divides what is left of the running call's deadline; a stream without one may go on as long as it is paid."""
    if deadlines.remaining_seconds() is None:
        return CallTimes(work_end=float("inf"), answer_end=float("inf"))
    return running_call_times(asyncio.get_running_loop().time())
