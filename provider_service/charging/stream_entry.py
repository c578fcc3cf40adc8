"""The journal's entry of a stream, so that what was delivered is paid even if the process dies."""

from provider_service.charging import refusals
from provider_service.charging.payments import Reserved
from provider_service.charging.stream_charge import MeterRefused
from provider_service.charging.stream_request import StreamRequest
from provider_service.journal.entries import Kind, Step, new_entry
from provider_service.journal.errors import JournalUnavailableError
from provider_service.journal.journal import Journal


class StreamEntry:
    """See StreamRecord."""

    def __init__(self, journal: Journal, request: StreamRequest) -> None:
        self._journal = journal
        self._request = request
        self._reservation_id = ""
        # How far the entry may have come for this stream; None while it is not known to be this stream's.
        self._step: Step | None = None

    async def opened(self, reserved: Reserved) -> None:
        """See StreamRecord. Raises CallError when it cannot be written down: nothing is delivered then."""
        request = self._request
        self._reservation_id = reserved.reservation.reservation_id
        entry = new_entry(
            request.key,
            kind=Kind.STREAM,
            digest=request.digest,
            service=request.service.name,
            account_token=request.account_token,
        )
        try:
            self._step = Step.RESERVING
            found = await self._journal.open(entry)
            if found is not None and found.digest != request.digest:
                self._step = None
                raise refusals.request_id_reused(request.request_id, rpc="ServeStream")
            self._step = Step.WORKING
            is_ours = await self._journal.working(request.key, reservation_id=self._reservation_id)
        except JournalUnavailableError as error:
            raise refusals.journal_unavailable() from error
        if not is_ours:
            self._step = None
            raise refusals.not_settled()

    async def delivered(self, total_credits: int) -> None:
        """See StreamRecord. Raises MeterRefused, which ends the stream, when it cannot be written down."""
        try:
            is_ours = await self._journal.metered(self._request.key, credits=total_credits)
        except JournalUnavailableError as error:
            raise MeterRefused(refusals.journal_unavailable()) from error
        if not is_ours:
            # Another process took this one for dead, and has settled the stream.
            raise MeterRefused(refusals.not_settled())

    async def closed(self, captured_credits: int) -> None:
        """See StreamRecord. Written behind: a crash before that finds everything settled."""
        if self._step is Step.RESERVING:
            # Its opening failed, and may have been written all the same, with the account's token.
            self._journal.remove(self._request.key)
        elif self._step is not None and captured_credits:
            self._journal.captured(self._request.key, reservation_id=self._reservation_id, credits=captured_credits)
        elif self._step is not None:
            self._journal.released(self._request.key, reservation_id=self._reservation_id)
