"""Parties, keys, services and packs: small tables, read often and seldom written."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Table, and_, insert, or_, select, tuple_, update

from broker_service.domain.directory import (
    Customer,
    Key,
    Pack,
    Provider,
    ProviderState,
    Role,
    Service,
    ServiceState,
)
from broker_service.domain.errors import (
    CustomerNotFound,
    KeyNotFound,
    PackNotFound,
    ProviderNotFound,
    RequestIdReused,
    ServiceExists,
    ServiceNotFound,
)
from broker_service.storage import tables

Found = TypeVar("Found", Provider, Customer, Service, Pack)


def add_provider(connection: Connection, provider: Provider, key: Key, request_id: str) -> tuple[Provider, bool]:
    """Adds a provider and its first key, or finds the one this request added before.

    Returns it and whether another try added it. Raises RequestIdReused.
    """
    row = _row(connection, tables.providers, provider_id=provider.provider_id)
    if row is not None:
        found = _unless_reused(to_provider(row), provider, request_id, "RegisterProvider")
        return found, not _is_stored(connection, key)
    _insert(connection, tables.providers, provider)
    _insert(connection, tables.keys, key)
    return provider, False


def add_customer(connection: Connection, customer: Customer, key: Key, request_id: str) -> tuple[Customer, bool]:
    """Adds a customer and its first key, or finds the one this request added before.

    Returns it and whether another try added it. Raises RequestIdReused.
    """
    row = _row(connection, tables.customers, customer_id=customer.customer_id)
    if row is not None:
        found = _unless_reused(_to_customer(row), customer, request_id, "RegisterCustomer")
        return found, not _is_stored(connection, key)
    _insert(connection, tables.customers, customer)
    _insert(connection, tables.keys, key)
    return customer, False


def _is_stored(connection: Connection, key: Key) -> bool:
    """Tells whether this very key is there: then its try was made before, and its answer was lost."""
    return key_by_hash(connection, key.secret_hash) is not None


def add_key(connection: Connection, key: Key) -> None:
    """Adds a key."""
    _insert(connection, tables.keys, key)


def issue_key(connection: Connection, key: Key, request_id: str) -> tuple[Key, bool]:
    """Adds a key, or finds the one this request added before; returns it and whether another try did.

    Raises RequestIdReused, ProviderNotFound, CustomerNotFound.
    """
    if key.role is Role.PROVIDER:
        if provider_by_id(connection, key.owner_id) is None:
            raise ProviderNotFound(provider_id=key.owner_id)
    elif key.role is Role.CUSTOMER and _row(connection, tables.customers, customer_id=key.owner_id) is None:
        raise CustomerNotFound(customer_id=key.owner_id)
    row = _row(connection, tables.keys, key_id=key.key_id)
    if row is None:
        _insert(connection, tables.keys, key)
        return key, False
    found = _to_key(row)
    if (found.role, found.owner_id, found.title) != (key.role, key.owner_id, key.title):
        raise RequestIdReused(request_id=request_id, rpc="IssueKey")
    # With the same secret it is the very same try, run again after an unclear commit.
    return found, found.secret_hash != key.secret_hash


def revoke_key(connection: Connection, key_id: str, now: datetime) -> Key:
    """Makes a key useless; one that already is stays as it is. Raises KeyNotFound."""
    keys = tables.keys
    connection.execute(
        update(keys).where(keys.c.key_id == key_id, keys.c.revoke_time.is_(None)).values(revoke_time=now)
    )
    return key_by_id(connection, key_id)


def change_provider(connection: Connection, provider_id: str, changes: Mapping[str, object]) -> Provider:
    """Changes columns of a provider; returns it as it then stands. Raises ProviderNotFound."""
    providers = tables.providers
    connection.execute(update(providers).where(providers.c.provider_id == provider_id).values(changes))
    provider = provider_by_id(connection, provider_id)
    if provider is None:
        raise ProviderNotFound(provider_id=provider_id)
    return provider


def add_service(connection: Connection, service: Service, request_id: str) -> tuple[Service, bool]:
    """Adds a service, or finds the one this request added before; returns it and whether it did.

    Raises RequestIdReused, or ServiceExists if another request has taken the name.
    """
    row = _row(connection, tables.services, creation_id=service.creation_id)
    if row is not None:
        return _unless_reused(to_service(row), service, request_id, "CreateService"), True
    if _row(connection, tables.services, service=service.service) is not None:
        raise ServiceExists(service=service.service)
    _insert(connection, tables.services, service)
    return service, False


def add_pack(connection: Connection, pack: Pack, request_id: str) -> tuple[Pack, bool]:
    """Adds a pack, or finds the one this request added before; returns it and whether it did.

    Raises RequestIdReused.
    """
    row = _row(connection, tables.packs, pack_id=pack.pack_id)
    if row is not None:
        return _unless_reused(to_pack(row), pack, request_id, "CreatePack"), True
    _insert(connection, tables.packs, pack)
    return pack, False


def archive_pack(connection: Connection, pack_id: str) -> Pack:
    """Takes a pack off sale; one that already is stays so. Raises PackNotFound."""
    connection.execute(update(tables.packs).where(tables.packs.c.pack_id == pack_id).values(archived=True))
    return pack_by_id(connection, pack_id)


def replace_service(connection: Connection, service: Service) -> None:
    """Writes a service's changed terms."""
    changing = ("title", "description", "unit_name", "trial_credits", "default_ttl", "max_ttl", "state")
    connection.execute(
        update(tables.services)
        .where(tables.services.c.service == service.service)
        .values({name: getattr(service, name) for name in changing})
    )


def key_by_id(connection: Connection, key_id: str) -> Key:
    """Returns a key, revoked or not. Raises KeyNotFound."""
    row = _row(connection, tables.keys, key_id=key_id)
    if row is None:
        raise KeyNotFound(key_id=key_id)
    return _to_key(row)


def key_by_hash(connection: Connection, secret_hash: str) -> Key | None:
    """Returns the key with this secret, revoked or not."""
    row = _row(connection, tables.keys, secret_hash=secret_hash)
    return None if row is None else _to_key(row)


def keys_after(
    connection: Connection, owner: tuple[Role, str] | None, after: tuple[datetime, str] | None, limit: int
) -> list[Key]:
    """Returns an owner's keys (None: everybody's), revoked ones too, behind (create_time, key_id), oldest first."""
    keys = tables.keys
    statement = select(keys).order_by(keys.c.create_time, keys.c.key_id).limit(limit)
    if owner is not None:
        statement = statement.where(keys.c.role == owner[0].value, keys.c.owner_id == owner[1])
    if after is not None:
        statement = statement.where(
            or_(keys.c.create_time > after[0], and_(keys.c.create_time == after[0], keys.c.key_id > after[1]))
        )
    return [_to_key(row) for row in connection.execute(statement)]


def accounts_of_tokens(connection: Connection, token_hashes: Collection[str]) -> dict[str, tuple[str, datetime | None]]:
    """Returns the ids of the accounts that tokens open, and until when, be it over or not; without unknown ones."""
    tokens = tables.account_tokens
    statement = select(tokens).where(tokens.c.token_hash.in_(token_hashes))
    return {row.token_hash: (row.account_id, row.expire_time) for row in connection.execute(statement)}


def provider_by_id(connection: Connection, provider_id: str) -> Provider | None:
    """Returns a provider."""
    row = _row(connection, tables.providers, provider_id=provider_id)
    return None if row is None else to_provider(row)


def providers_after(connection: Connection, provider_id: str, limit: int) -> list[Provider]:
    """Returns providers whose ids sort behind `provider_id`, by their ids."""
    column = tables.providers.c.provider_id
    statement = select(tables.providers).where(column > provider_id).order_by(column).limit(limit)
    return [to_provider(row) for row in connection.execute(statement)]


def service_by_name(connection: Connection, service: str) -> Service:
    """Returns a service. Raises ServiceNotFound."""
    row = _row(connection, tables.services, service=service)
    if row is None:
        raise ServiceNotFound(service=service)
    return to_service(row)


def pack_by_id(connection: Connection, pack_id: str) -> Pack:
    """Returns a pack, archived or not. Raises PackNotFound."""
    row = _row(connection, tables.packs, pack_id=pack_id)
    if row is None:
        raise PackNotFound(pack_id=pack_id)
    return to_pack(row)


def services_after(connection: Connection, service: str, limit: int) -> list[Service]:
    """Returns active services whose names sort behind `service`, by name."""
    column = tables.services.c.service
    statement = (
        select(tables.services)
        .where(column > service, tables.services.c.state == ServiceState.ACTIVE.value)
        .order_by(column)
        .limit(limit)
    )
    return [to_service(row) for row in connection.execute(statement)]


def packs_after(connection: Connection, service: str, after: tuple[int, str], limit: int) -> list[Pack]:
    """Returns a service's packs on sale whose (credits, pack_id) sort behind `after`, smallest first."""
    packs = tables.packs
    statement = (
        select(packs)
        .where(
            packs.c.service == service,
            packs.c.archived.is_(False),
            tuple_(packs.c.credits, packs.c.pack_id) > tuple_(*after),
        )
        .order_by(packs.c.credits, packs.c.pack_id)
        .limit(limit)
    )
    return [to_pack(row) for row in connection.execute(statement)]


def to_provider(row: Row[Any]) -> Provider:
    """Returns the record of a row of `providers`."""
    values = dict(row._mapping)
    return Provider(**values | {"state": ProviderState(row.state)})


def to_service(row: Row[Any]) -> Service:
    """Returns the record of a row of `services`."""
    values = dict(row._mapping)
    return Service(**values | {"state": ServiceState(row.state)})


def to_pack(row: Row[Any]) -> Pack:
    """Returns the record of a row of `packs`."""
    return Pack(**row._mapping)


def _to_customer(row: Row[Any]) -> Customer:
    return Customer(**row._mapping)


def _to_key(row: Row[Any]) -> Key:
    values = dict(row._mapping)
    return Key(**values | {"role": Role(row.role)})


def _row(connection: Connection, table: Table, **key: str) -> Row[Any] | None:
    conditions = (table.c[name] == value for name, value in key.items())
    return connection.execute(select(table).where(*conditions)).one_or_none()


def _insert(connection: Connection, table: Table, record: Any) -> None:
    values: Mapping[str, Any] = {name: getattr(record, name) for name in record.__slots__}
    connection.execute(insert(table), values)


def _unless_reused(found: Found, wanted: Found, request_id: str, rpc: str) -> Found:
    if found.fingerprint != wanted.fingerprint:
        raise RequestIdReused(request_id=request_id, rpc=rpc)
    return found
