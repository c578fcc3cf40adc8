"""What can be asked of an account: one immutable value per request.

Each names its account and the rows it needs, so that a whole batch is loaded at once. A `token` is what is known of the
account token that the caller has shown; None: it has shown something else.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from broker_service.domain.computed_once import computed_once
from broker_service.domain.fingerprints import fingerprint
from broker_service.domain.identities import grant_id_for, operation_id_for, reservation_id_for, webhook_id_for
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.purchase_commands import PurchaseCommand
from broker_service.domain.records import AccountState, GrantKind


class Reserve(Struct, frozen=True, dict=True):
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
    token: KnownToken | None = None

    @computed_once
    def reservation_id(self) -> str:
        """The reservation it makes."""
        return reservation_id_for(self.account_id, "Reserve", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters; the service's terms are not among them, so they may change between retries."""
        return fingerprint(self.credits, whole_microseconds(self.ttl), self.description, self.metadata)


class Capture(Struct, frozen=True, dict=True):
    """Takes reserved credits for good; `credits` None takes all that is still open."""

    request_id: str
    account_id: str
    provider_id: str
    reservation_id: str
    credits: int | None
    keep_open: bool

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "Capture", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.reservation_id, self.credits, self.keep_open)


class Release(Struct, frozen=True, dict=True):
    """Gives all that is still reserved back."""

    request_id: str
    account_id: str
    provider_id: str
    reservation_id: str
    reason: str

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "Release", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.reservation_id, self.reason)


class Charge(Struct, frozen=True, dict=True):
    """Reserves and captures in one step."""

    request_id: str
    account_id: str
    provider_id: str
    provider_suspended: bool
    credits: int
    description: str
    metadata: Mapping[str, str]
    token: KnownToken | None = None

    @computed_once
    def reservation_id(self) -> str:
        """The reservation it makes, captured from the start."""
        return reservation_id_for(self.account_id, "Charge", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.credits, self.description, self.metadata)


class Extend(Struct, frozen=True, dict=True):
    """Moves a reservation's expiry to now + `ttl` (None: it stays), sets further credits aside, or both."""

    request_id: str
    account_id: str
    provider_id: str
    provider_suspended: bool
    reservation_id: str
    ttl: timedelta | None
    max_ttl: timedelta
    additional_credits: int

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "Extend", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.reservation_id, whole_microseconds(self.ttl), self.additional_credits)


class Refund(Struct, frozen=True, dict=True):
    """Gives captured credits back; `credits` None gives all that was captured and not yet refunded."""

    request_id: str
    account_id: str
    provider_id: str
    reservation_id: str
    credits: int | None
    reason: str

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "Refund", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.reservation_id, self.credits, self.reason)


class GrantCredits(Struct, frozen=True, dict=True):
    """Puts credits on an account without a purchase."""

    request_id: str
    account_id: str
    credits: int
    kind: GrantKind
    priority: int
    expire_time: datetime | None
    reason: str

    @computed_once
    def grant_id(self) -> str:
        """The grant it makes."""
        return grant_id_for(f"GrantCredits {self.account_id} {self.request_id}")

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "GrantCredits", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters."""
        expire_time = None if self.expire_time is None else self.expire_time.isoformat()
        return fingerprint(self.credits, self.kind.value, self.priority, expire_time, self.reason)


class ChangeAccountState(Struct, frozen=True, dict=True):
    """Suspends or resumes an account. Doing it twice changes nothing.

    `change_id` is new for each call that is made, and tells its event from those of other times.
    """

    account_id: str
    state: AccountState
    reason: str
    change_id: str


class SetLowBalanceAlert(Struct, frozen=True, dict=True):
    """Tells an account's customer when its ledger credits fall below a threshold; 0 is never.

    Needs no id: doing it twice changes nothing. `signing_secret` is for the webhook, if it needs a new one.
    """

    account_id: str
    customer_id: str
    threshold_credits: int
    webhook_url: str
    signing_secret: str

    @computed_once
    def webhook_id(self) -> str:
        """The account's webhook, whatever its URL."""
        return webhook_id_for(self.account_id, "SetLowBalanceAlert")


class RotateToken(Struct, frozen=True, dict=True):
    """Gives an account another token; those it has go on working for `overlap`. `token_hash` is of the new one."""

    request_id: str
    account_id: str
    customer_id: str
    overlap: timedelta
    token_hash: str

    @computed_once
    def operation_id(self) -> str:
        """Its record."""
        return operation_id_for(self.account_id, "RotateAccountToken", self.request_id)

    @computed_once
    def fingerprint(self) -> str:
        """Its parameters; the token is none of them, for each try makes another."""
        return fingerprint(whole_microseconds(self.overlap))


class OpenAccount(Struct, frozen=True, dict=True):
    """Opens an account for a customer. `account_id` follows from the request, `token_hash` is of its first token."""

    request_id: str
    account_id: str
    customer_id: str
    provider_id: str
    service: str
    service_retired: bool
    trial_credits: int
    token_hash: str


class Settle(Struct, frozen=True, dict=True):
    """Writes down what time alone has done to an account. Needs no id: what is written is no longer due."""

    account_id: str


Command = (
    Settle
    | Reserve
    | Capture
    | Release
    | Charge
    | Extend
    | Refund
    | GrantCredits
    | ChangeAccountState
    | RotateToken
    | SetLowBalanceAlert
    | OpenAccount
    | PurchaseCommand
)


def whole_microseconds(span: timedelta | None) -> int | None:
    """Returns a span as an integer, for fingerprints."""
    return None if span is None else span // timedelta(microseconds=1)
