"""The service at work on a stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

from mesh_runtime.call_errors import CallError
from mesh_runtime.logs import get_logger
from provider_service.charging import stream_refusals
from provider_service.charging.outputs import to_output
from provider_service.charging.running_charge import CreditsRefused
from provider_service.charging.stream_charge import MeteredCharge, MeterRefused
from provider_service.charging.stream_handover import Handover, HandoverBroken, StreamPiece
from provider_service.charging.stream_refusals import Ending
from provider_service.charging.stream_request import StreamRequest
from provider_service.services.service import InvalidInput, Json, ServiceFailure

_logger = get_logger("provider_service.charging")


class StreamWork:
    """Asks the service for chunks and hands them over; `deliver` is told what is owed once each is written."""

    def __init__(
        self,
        request: StreamRequest,
        charge: MeteredCharge,
        handover: Handover,
        reservation_id: str,
        *,
        deliver: Callable[[int], Awaitable[None]],
    ) -> None:
        self._request = request
        self._charge = charge
        self._handover = handover
        self._reservation_id = reservation_id
        self._deliver = deliver
        self._ending = False
        self._closed = False
        self._owed_credits = 0

    def end(self) -> None:
        """Asks for no further chunk; the one being written still counts."""
        self._ending = True
        self._charge.stop()

    def close(self) -> None:
        """Lets nothing count any more, however long the service takes to end."""
        self._ending = self._closed = True

    async def run(self) -> Ending | None:
        """Works until the service has ended or `end` is called; returns None if it ended well. Is to be cancelled."""
        try:
            return await self._serve()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # The service's own is a bug like any other.
            return stream_refusals.left if task is not None and task.cancelling() > 0 else self._explain_bug()
        except Exception as error:  # noqa: BLE001 - whatever it is ends the stream, and is logged if it is a bug
            return self._explain(error)

    def _explain(self, error: Exception) -> Ending:
        match error:
            case CreditsRefused() | MeterRefused():
                return stream_refusals.passed_on(error.error)
            case ServiceFailure():
                return stream_refusals.service_failed(self._request.service.name, error)
            case InvalidInput():
                return stream_refusals.invalid_input(error)
            case CallError():
                # Such as from the record of the stream.
                return stream_refusals.passed_on(error)
            case HandoverBroken():
                return stream_refusals.left
            case _:
                return self._explain_bug()

    def _explain_bug(self) -> Ending:
        """Logs the exception being handled, which is the service's, and returns what the stream ends with."""
        _logger.exception("service.bug", service=self._request.service.name, request_id=self._request.request_id)
        return stream_refusals.bug

    async def _serve(self) -> Ending | None:
        chunks = self._request.service.stream(self._request.service_input, self._charge)
        try:
            return await self._pass_on(chunks)
        finally:
            # Where the service waits in a `yield`, it ends now; and not much later, when it is collected as garbage.
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def _pass_on(self, chunks: AsyncIterator[Mapping[str, Json]]) -> Ending | None:
        async for chunk in chunks:
            total_credits = self._charge.metered_credits
            struct = to_output(chunk, called="a chunk")
            await self._handover.give(
                StreamPiece(chunk=struct, charged_credits=total_credits, reservation_id=self._reservation_id)
            )
            if self._closed:
                return None
            await self._owe(total_credits)
            if self._ending:
                return None
        if self._charge.refusal is None and not self._ending:
            # What was metered after the last chunk belongs to the chunks before.
            await self._owe(self._charge.metered_credits)
        return self._charge.refusal

    async def _owe(self, total_credits: int) -> None:
        if total_credits != self._owed_credits:
            self._owed_credits = total_credits
            await self._deliver(total_credits)
