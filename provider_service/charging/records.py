"""What this process remembers of requests it is done with, so that replays get the same answer."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from provider_service.charging.outcomes import Outcome, Refused, Served
from provider_service.charging.paid_request import PaidRequest, RequestKey
from provider_service.charging.refusals import request_id_reused

REMEMBERED_REQUESTS_MAXIMUM: Final = 10_000
REMEMBERED_BYTES_MAXIMUM: Final = 64 * 1024 * 1024
# About what a record takes beside its output.
_RECORD_BYTES: Final = 1_024


@dataclass(frozen=True, slots=True)
class _Record:
    digest: str
    outcome: Outcome
    size_bytes: int


class Records:
    """The last outcomes, as many as fit; the oldest make room for new ones."""

    def __init__(
        self,
        *,
        requests_maximum: int = REMEMBERED_REQUESTS_MAXIMUM,
        bytes_maximum: int = REMEMBERED_BYTES_MAXIMUM,
    ) -> None:
        self._requests_maximum = requests_maximum
        self._bytes_maximum = bytes_maximum
        self._records: OrderedDict[RequestKey, _Record] = OrderedDict()
        self._size_bytes = 0

    def find(self, request: PaidRequest) -> Outcome | None:
        """Returns the outcome of a request; None when it is unknown. Raises REQUEST_ID_REUSED."""
        record = self._records.get(request.key)
        if record is None:
            return None
        if record.digest != request.digest:
            raise request_id_reused(request.request_id)
        return record.outcome

    def keep(self, request: PaidRequest, outcome: Outcome) -> None:
        """Remembers an outcome, if its request_id is used up by it and the broker alone could not tell it again."""
        match outcome:
            case Served(output=output) if output is not None:
                size_bytes = _RECORD_BYTES + output.ByteSize()
            case Refused(released_reservation_id=str()):
                size_bytes = _RECORD_BYTES
            case _:
                return
        before = self._records.pop(request.key, None)
        if before is not None:
            self._size_bytes -= before.size_bytes
        self._records[request.key] = _Record(request.digest, outcome, size_bytes)
        self._size_bytes += size_bytes
        while len(self._records) > self._requests_maximum or self._size_bytes > self._bytes_maximum:
            _, oldest = self._records.popitem(last=False)
            self._size_bytes -= oldest.size_bytes
