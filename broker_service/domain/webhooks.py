"""Where events are sent: whose they are, what they get, and how often it is tried."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from broker_service.domain.directory import Role
from broker_service.domain.errors import InvalidField
from broker_service.domain.records import Event, EventType

MAX_WEBHOOKS = 20
GIVE_UP_AFTER = timedelta(days=3)
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(hours=1)


class WebhookOwner(StrEnum):
    """Whose events a webhook gets: all, a provider's, a customer's, or an account's low balance."""

    OPERATOR = "OPERATOR"
    PROVIDER = "PROVIDER"
    CUSTOMER = "CUSTOMER"
    ACCOUNT = "ACCOUNT"


class Audience(Struct, frozen=True):
    """Whose events are meant: those of a key's owner."""

    role: Role
    owner_id: str

    def hears(self, event: Event) -> bool:
        """Whether an event concerns the owner; everything concerns the operator."""
        match self.role:
            case Role.OPERATOR:
                return True
            case Role.PROVIDER:
                return event.provider_id == self.owner_id
            case Role.CUSTOMER:
                return event.customer_id == self.owner_id


class Webhook(Struct, frozen=True):
    """A place that events are sent to; without `types`, all that its owner may hear of.

    An account's, for its low-balance alert, has ended when its `url` is "".
    """

    webhook_id: str
    owner_role: WebhookOwner
    owner_id: str
    url: str
    types: tuple[EventType, ...]
    signing_secret: str
    fingerprint: str
    create_time: datetime

    @property
    def account_id(self) -> str:
        """The account whose book it belongs to; of an account's webhook only."""
        return self.owner_id

    def wants(self, event: Event) -> bool:
        """Whether an event is to be sent to it."""
        if not self.url or (self.types and event.type not in self.types):
            return False
        if self.owner_role is WebhookOwner.ACCOUNT:
            return event.account_id == self.owner_id
        return Audience(Role(self.owner_role.value), self.owner_id).hears(event)


class WebhookHealth(Struct, frozen=True):
    """How a webhook is doing; `last_error` is "" once a delivery has succeeded."""

    pending_events: int = 0
    failed_events: int = 0
    last_error: str = ""


def event_types(names: Iterable[str]) -> tuple[EventType, ...]:
    """Returns the types named, each once, in the order of their names. Raises InvalidField for what is none."""
    found = set()
    for index, name in enumerate(names):
        try:
            found.add(EventType(name))
        except ValueError as error:
            known = ", ".join(EventType)
            raise InvalidField(field=f"types[{index}]", description=f"must be one of {known}") from error
    return tuple(sorted(found))


def next_attempt(first_time: datetime, attempts: int, now: datetime, chance: float) -> datetime | None:
    """Returns when to try again what has failed so many times; None when it is given up.

    5 seconds after the first failure, then twice as long each time up to an hour, give or take a quarter by `chance`
    (0 … 1), and for the last time 3 days after `first_time`.
    """
    end = first_time + GIVE_UP_AFTER
    if now >= end:
        return None
    doublings = min(attempts - 1, 16)
    pause: timedelta = min(_FIRST_PAUSE * 2**doublings, _LONGEST_PAUSE)
    return min(now + pause * (0.75 + chance / 2), end)
