"""A request that somebody pays for."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from provider_service.journal.entries import Entry, RequestKey, new_entry
from provider_service.services.service import AfterCrash, Json, Service, after_crash_of

# The label of a reservation that tells which request it was made for.
DIGEST_LABEL: Final = "request_digest"
# Made once; `json.dumps` with options makes one for each call.
_to_canonical: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True)
class PaidRequest:
    """One request to a service and its price in whole credits."""

    request_id: str
    account_token: str = field(repr=False)
    service: Service
    service_input: Mapping[str, Json] = field(repr=False)
    credits: int

    @cached_property
    def key(self) -> RequestKey:
        """What tells it from all other requests: its account, without the token itself, and its id."""
        return hashlib.sha256(self.account_token.encode()).digest(), self.request_id

    @cached_property
    def digest(self) -> str:
        """Stands for the service and its input: equal when both are equal.

        Keyed with the account token, so that who sees it cannot find the input by trying likely ones.
        """
        return self._digest_of(self.service.name, self.service_input)

    @property
    def labels(self) -> Mapping[str, str]:
        """What its reservation is labelled with; a retry is known by having the same."""
        return {DIGEST_LABEL: self.digest}

    def _digest_of(self, *parts: Json | Mapping[str, Json]) -> str:
        return hmac.new(self.account_token.encode(), _to_canonical(parts).encode(), "sha256").hexdigest()[:32]

    def to_entry(self) -> Entry:
        """Returns what the journal opens with; the input only where a crash may not cut the work off."""
        is_resumed = after_crash_of(self.service) is AfterCrash.RESUME
        return new_entry(
            self.key,
            digest=self.digest,
            service=self.service.name,
            account_token=self.account_token,
            service_input=json.dumps(self.service_input).encode() if is_resumed else None,
        )
