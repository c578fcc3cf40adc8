"""Who is who, and what is for sale: the parties, their keys, services and packs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from broker_service.domain.errors import InvalidField
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL


class Role(StrEnum):
    """What a key allows."""

    OPERATOR = "OPERATOR"
    PROVIDER = "PROVIDER"
    CUSTOMER = "CUSTOMER"


class ProviderState(StrEnum):
    """Whether a provider can sell."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class ServiceState(StrEnum):
    """Whether a service takes new accounts and purchases."""

    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True)
class Provider:
    """A developer who sells services. A commission of None is the broker's."""

    provider_id: str
    name: str
    state: ProviderState
    commission_basis_points: int | None
    fingerprint: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who buys credits."""

    customer_id: str
    name: str
    email: str
    fingerprint: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """A credential, as the hash that is all the broker keeps of its secret."""

    key_id: str
    secret_hash: str
    role: Role
    owner_id: str
    title: str
    create_time: datetime
    revoke_time: datetime | None


@dataclass(frozen=True, slots=True)
class Service:
    """Something a provider sells by the credit."""

    service: str
    creation_id: str
    provider_id: str
    title: str
    description: str
    unit_name: str
    trial_credits: int
    default_ttl: timedelta
    max_ttl: timedelta
    state: ServiceState
    fingerprint: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Pack:
    """A number of credits at a price; `validity` None is for ever."""

    pack_id: str
    service: str
    title: str
    credits: int
    currency: str
    price_minor_units: int
    validity: timedelta | None
    archived: bool
    fingerprint: str
    create_time: datetime


class NamedAccount(Struct, frozen=True, gc=False):
    """What never changes of an account that was named, and what is known of the token that named it, if one did."""

    account_id: str
    customer_id: str
    provider_id: str
    service: str
    token: KnownToken | None


def reservation_lifetimes(default_ttl: timedelta | None, max_ttl: timedelta | None) -> tuple[timedelta, timedelta]:
    """Returns a service's default_ttl and max_ttl, with what was not given filled in.

    Raises InvalidField if the default exceeds the longest.
    """
    longest = max_ttl or MAX_TTL
    usual = default_ttl or min(DEFAULT_TTL, longest)
    if usual > longest:
        raise InvalidField(field="default_ttl", description="must not exceed max_ttl")
    return usual, longest
