"""A request to be answered in chunks, metered as they go."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from provider_service.charging.paid_request import PaidRequest
from provider_service.services.service import StreamedService

# The label of a reservation that tells which process streams: a chunk given is gone, so no other can go on.
HOLDER_LABEL: Final = "stream_holder"


@dataclass(frozen=True, kw_only=True)
class StreamRequest(PaidRequest):
    """One request to a streamed service; `credits` are those set aside before the first chunk."""

    service: StreamedService
    quoted_credits: int
    slice_credits: int
    holder: str

    @cached_property
    def digest(self) -> str:
        """Differs from that of a ServeRequest with the same service and input: the id is for one of the two."""
        return self._digest_of(self.service.name, self.service_input, "ServeStream")

    @property
    def labels(self) -> Mapping[str, str]:
        """What its reservation is labelled with."""
        return {**super().labels, HOLDER_LABEL: self.holder}

    def operation_id(self, operation: str) -> str:
        """Returns the id of one of the many calls to the broker for this request; the same in every try."""
        return operation_id(self.request_id, operation)


def operation_id(request_id: str, operation: str) -> str:
    """Returns the id of one of the many calls to the broker for a stream; the same in every try."""
    return str(uuid.uuid5(uuid.UUID(request_id), operation))
