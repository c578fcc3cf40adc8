"""What can be asked of an account: one immutable value per request.

Each names its account and the rows it needs, so that a whole batch is loaded at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from broker_service.domain.fingerprints import fingerprint
from broker_service.domain.identities import operation_id_for, purchase_id_for, reservation_id_for


@dataclass(frozen=True)
class Reserve:
    """Sets credits aside. `ttl` None is the service's default."""

    request_id: str
    account_id: str
    provider_id: str
    provider_suspended: bool
    credits: int
    ttl: timedelta | None
    default_ttl: timedelta
    max_ttl: timedelta
    description: str
    metadata: Mapping[str, str]

    @cached_property
    def reservation_id(self) -> str:
        """The reservation it makes."""
        return reservation_id_for(self.account_id, "Reserve", self.request_id)

    @cached_property
    def fingerprint(self) -> str:
        """Its parameters; the service's terms are not among them, so they may change between retries."""
        return fingerprint(self.credits, whole_microseconds(self.ttl), self.description, self.metadata)


@dataclass(frozen=True)
class Capture:
    """Takes reserved credits for good; `credits` None takes all that is still open."""

    request_id: str
    account_id: str
    provider_id: str
    reservation_id: str
    credits: int | None
    keep_open: bool

    @cached_property
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "Capture", self.request_id)

    @cached_property
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.reservation_id, self.credits, self.keep_open)


@dataclass(frozen=True)
class Release:
    """Gives all that is still reserved back."""

    request_id: str
    account_id: str
    provider_id: str
    reservation_id: str
    reason: str

    @cached_property
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "Release", self.request_id)

    @cached_property
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.reservation_id, self.reason)


@dataclass(frozen=True)
class OpenAccount:
    """Opens an account for a customer. `account_id` follows from the request, `token_hash` is of its first token."""

    request_id: str
    account_id: str
    customer_id: str
    provider_id: str
    service: str
    service_retired: bool
    trial_credits: int
    token_hash: str


@dataclass(frozen=True)
class PackTerms:
    """What a pack offers and whether it can be bought now. Money in minor units of `currency`."""

    pack_id: str
    service: str
    provider_id: str
    title: str
    credits: int
    validity: timedelta | None
    currency: str
    price_minor_units: int
    commission_basis_points: int
    archived: bool
    service_retired: bool
    provider_suspended: bool


@dataclass(frozen=True)
class StartPurchase:
    """Starts the purchase of a pack for an account."""

    request_id: str
    account_id: str
    pack: PackTerms
    return_url: str

    @cached_property
    def purchase_id(self) -> str:
        """The purchase it makes."""
        return purchase_id_for(self.account_id, self.request_id)

    @cached_property
    def fingerprint(self) -> str:
        """Its parameters; the pack's terms are frozen at the first try."""
        return fingerprint(self.pack.pack_id, self.return_url)


@dataclass(frozen=True)
class ResolvePayment:
    """Takes a payment's end: the money came, or it did not."""

    request_id: str
    account_id: str
    purchase_id: str
    succeeded: bool

    @cached_property
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "CompleteSandboxPayment", self.request_id)

    @cached_property
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.purchase_id, self.succeeded)


@dataclass(frozen=True)
class Settle:
    """Writes down what time alone has done to an account. Needs no id: what is written is no longer due."""

    account_id: str


Command = Settle | Reserve | Capture | Release | OpenAccount | StartPurchase | ResolvePayment


def whole_microseconds(span: timedelta | None) -> int | None:
    """Returns a span as an integer, for fingerprints."""
    return None if span is None else span // timedelta(microseconds=1)
