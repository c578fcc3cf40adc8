"""Who is who, and what is for sale.

These rows change seldom and are looked up by every call, so they are remembered for a few seconds; what this process
changes itself it sees at once. A key revoked by another process works here for that long after. What never changes of
an account is remembered as long as there is room, and so are tokens: whoever uses one compares it with the account.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from sys import intern
from typing import TypeVar

from sqlalchemy import Connection

from broker_service.domain.directory import (
    Customer,
    Key,
    NamedAccount,
    Pack,
    Provider,
    ProviderState,
    Role,
    Service,
    ServiceState,
    reservation_lifetimes,
)
from broker_service.domain.errors import AccountNotFound, InvalidField
from broker_service.domain.fingerprints import fingerprint
from broker_service.domain.identities import derived_suffix, shard_of
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.records import Account
from broker_service.engine.cache import LastingCache, ShortCache
from broker_service.engine.clock import Clock
from broker_service.engine.gathered_lookup import GatheredLookup
from broker_service.engine.secrets import KEY_PREFIXES, SecretSource, random_secret, secret_hash
from broker_service.engine.writing import write_with_retries
from broker_service.storage import directory as rows
from broker_service.storage.database import Database
from broker_service.storage.ledger_queries import accounts_by_ids, stored_account

Found = TypeVar("Found")

OPERATOR_ID = "operator"
MAX_AGE_SECONDS = 5.0
# About 40 MB of tokens when they are that many.
_MAX_ACCOUNTS = 100_000
_MAX_OTHERS = 10_000
_OFFERED_PACKS = 10


class Directory:
    """Finds and adds parties, keys, services and packs."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        shards: int = 1,
        new_secret: SecretSource = random_secret,
    ) -> None:
        self._database = database
        self._clock = clock
        self._shards = shards
        self._new_secret = new_secret
        self._keys: ShortCache[str, Key | None] = ShortCache(max_age_seconds=MAX_AGE_SECONDS, max_values=_MAX_OTHERS)
        # By the hash of their token, and by their id.
        self._accounts_of_tokens: LastingCache[str, NamedAccount] = LastingCache(max_values=_MAX_ACCOUNTS)
        self._accounts: LastingCache[str, NamedAccount] = LastingCache(max_values=_MAX_ACCOUNTS)
        self._token_lookup = GatheredLookup(self._look_up)
        self._services: ShortCache[str, Service] = ShortCache(max_age_seconds=MAX_AGE_SECONDS, max_values=_MAX_OTHERS)
        self._providers: ShortCache[str, Provider | None] = ShortCache(
            max_age_seconds=MAX_AGE_SECONDS, max_values=_MAX_OTHERS
        )

    # Credentials.

    async def key(self, secret: str) -> Key | None:
        """Returns the key with this secret; None if there is none or it was revoked."""
        hashed = secret_hash(secret)
        key = await self._keys.get(hashed, lambda: self._read(lambda found: rows.key_by_hash(found, hashed)))
        return None if key is None or key.revoke_time is not None else key

    async def account_of_token(self, account_token: str) -> NamedAccount:
        """Returns the account that a token opens, or has opened: its `token` is to be checked against the account.

        Raises AccountNotFound.
        """
        hashed = secret_hash(account_token)
        found = self._accounts_of_tokens.get(hashed)
        if found is None:
            found = await self._token_lookup.get(hashed)
            if found is None:
                raise AccountNotFound
            self._accounts_of_tokens.keep(hashed, found)
        return found

    def forget_token(self, account_token: str) -> None:
        """Looks a token up again the next time: what is known of it is out of date."""
        self._accounts_of_tokens.forget(secret_hash(account_token))

    async def account(self, account_id: str) -> NamedAccount:
        """Returns an account by its id. Raises AccountNotFound."""
        found = self._accounts.get(account_id)
        if found is None:
            shard_id = shard_of(account_id, self._shards)
            account = await self._read(lambda connection: stored_account(connection, shard_id, account_id))
            found = _named(account, None)
            self._accounts.keep(account_id, found)
        return found

    # What is remembered of them, for those who do not want to wait: None if it has to be looked up.

    def known_account_of_token(self, account_token: str) -> NamedAccount | None:
        """Returns what `account_of_token` does."""
        return self._accounts_of_tokens.get(secret_hash(account_token))

    def known_account(self, account_id: str) -> NamedAccount | None:
        """Returns what `account` does."""
        return self._accounts.get(account_id)

    def known_service(self, service: str) -> Service | None:
        """Returns what `service` does."""
        return self._services.kept(service)

    def known_provider(self, provider_id: str) -> Provider | None:
        """Returns what `provider` does."""
        return self._providers.kept(provider_id)

    async def issue_key(self, *, request_id: str, role: Role, owner_id: str, title: str) -> tuple[Key, str]:
        """Adds a key; returns it and its secret, which is empty on a replay.

        Raises ProviderNotFound, CustomerNotFound, RequestIdReused.
        """
        wanted, secret = self._new_key(role, owner_id)
        wanted = replace(wanted, key_id=f"key_{derived_suffix('IssueKey', request_id)}", title=title)
        key, replayed = await self._write(lambda connection: rows.issue_key(connection, wanted, request_id))
        return key, "" if replayed else secret

    async def revoke_key(self, key_id: str) -> Key:
        """Makes a key useless, in this process at once. Raises KeyNotFound."""
        key = await self._read(lambda connection: rows.key_by_id(connection, key_id))
        return await self._change(
            lambda connection: rows.revoke_key(connection, key_id, self._clock()),
            lambda: self._keys.forget(key.secret_hash),
        )

    async def keys_after(
        self, owner: tuple[Role, str] | None, after: tuple[datetime, str] | None, limit: int
    ) -> list[Key]:
        """Returns an owner's keys (None: everybody's), revoked ones too, behind (create_time, key_id), oldest first."""
        return await self._read(lambda connection: rows.keys_after(connection, owner, after, limit))

    async def _look_up(self, token_hashes: Collection[str]) -> Mapping[str, NamedAccount]:
        """Returns the accounts of tokens; both as they were at one instant, so that their epoch tells of the tokens."""

        def work(connection: Connection) -> Mapping[str, NamedAccount]:
            opened = rows.accounts_of_tokens(connection, token_hashes)
            ids_of_shards: dict[int, set[str]] = defaultdict(set)
            for account_id, _ in opened.values():
                ids_of_shards[shard_of(account_id, self._shards)].add(account_id)
            accounts = {
                account.account_id: account
                for shard_id, account_ids in ids_of_shards.items()
                for account in accounts_by_ids(connection, shard_id, account_ids)
            }
            return {
                token_hash: _named(account, KnownToken(account.token_epoch, expire_time))
                for token_hash, (account_id, expire_time) in opened.items()
                if (account := accounts.get(account_id)) is not None
            }

        return await self._read(work)

    # Parties.

    async def register_provider(
        self, *, request_id: str, name: str, commission_basis_points: int | None
    ) -> tuple[Provider, str]:
        """Adds a provider; returns it and its key's secret, which is empty on a replay. Raises RequestIdReused."""
        provider = Provider(
            provider_id=f"prv_{derived_suffix('RegisterProvider', request_id)}",
            name=name,
            state=ProviderState.ACTIVE,
            commission_basis_points=commission_basis_points,
            fingerprint=fingerprint(name, commission_basis_points),
            create_time=self._clock(),
        )
        key, secret = self._new_key(Role.PROVIDER, provider.provider_id)
        provider, replayed = await self._write(
            lambda connection: rows.add_provider(connection, provider, key, request_id)
        )
        return provider, "" if replayed else secret

    async def register_customer(self, *, request_id: str, name: str, email: str) -> tuple[Customer, str]:
        """Adds a customer; returns it and its key's secret, which is empty on a replay. Raises RequestIdReused."""
        customer = Customer(
            customer_id=f"cus_{derived_suffix('RegisterCustomer', request_id)}",
            name=name,
            email=email,
            fingerprint=fingerprint(name, email),
            create_time=self._clock(),
        )
        key, secret = self._new_key(Role.CUSTOMER, customer.customer_id)
        customer, replayed = await self._write(
            lambda connection: rows.add_customer(connection, customer, key, request_id)
        )
        return customer, "" if replayed else secret

    async def change_provider(self, provider_id: str, **changes: ProviderState | int | None) -> Provider:
        """Changes a provider's `state` or `commission_basis_points`, in this process at once.

        Returns it as it then stands. Raises ProviderNotFound.
        """
        return await self._change(
            lambda connection: rows.change_provider(connection, provider_id, changes),
            lambda: self._providers.forget(provider_id),
        )

    async def provider(self, provider_id: str) -> Provider | None:
        """Returns a provider."""
        return await self._providers.get(
            provider_id, lambda: self._read(lambda connection: rows.provider_by_id(connection, provider_id))
        )

    async def providers_after(self, provider_id: str, limit: int) -> list[Provider]:
        """Returns providers whose ids sort behind `provider_id`, by their ids."""
        return await self._read(lambda connection: rows.providers_after(connection, provider_id, limit))

    def _new_key(self, role: Role, owner_id: str) -> tuple[Key, str]:
        return new_key(role, owner_id, self._clock(), self._new_secret)

    # Goods.

    async def create_service(
        self,
        *,
        request_id: str,
        provider_id: str,
        service: str,
        title: str,
        description: str,
        unit_name: str,
        trial_credits: int,
        default_ttl: timedelta | None,
        max_ttl: timedelta | None,
    ) -> tuple[Service, bool]:
        """Publishes a service; returns it and whether the request was a replay.

        Raises RequestIdReused, ServiceExists, InvalidField.
        """
        usual_ttl, longest_ttl = reservation_lifetimes(default_ttl, max_ttl)
        wanted = Service(
            service=service,
            creation_id=derived_suffix("CreateService", provider_id, request_id),
            provider_id=provider_id,
            title=title,
            description=description,
            unit_name=unit_name or "credit",
            trial_credits=trial_credits,
            default_ttl=usual_ttl,
            max_ttl=longest_ttl,
            state=ServiceState.ACTIVE,
            fingerprint=fingerprint(
                service, title, description, unit_name, trial_credits, _text(default_ttl), _text(max_ttl)
            ),
            create_time=self._clock(),
        )
        return await self._write(lambda connection: rows.add_service(connection, wanted, request_id))

    async def update_service(self, service: str, changes: dict[str, object]) -> Service:
        """Changes fields of a service by their names in the contract; returns it as it then stands.

        Raises ServiceNotFound, InvalidField.
        """

        def work(connection: Connection) -> Service:
            changed = replace(rows.service_by_name(connection, service), **changes)  # type: ignore[arg-type]
            if changed.default_ttl > changed.max_ttl:
                raise InvalidField(field="service.default_ttl", description="must not exceed max_ttl")
            rows.replace_service(connection, changed)
            return changed

        return await self._change(work, lambda: self._services.forget(service))

    async def create_pack(
        self,
        *,
        request_id: str,
        service: Service,
        title: str,
        pack_credits: int,
        currency: str,
        price_minor_units: int,
        validity: timedelta | None,
    ) -> tuple[Pack, bool]:
        """Puts a pack on sale; returns it and whether the request was a replay. Raises RequestIdReused."""
        wanted = Pack(
            pack_id=f"pck_{derived_suffix('CreatePack', service.provider_id, request_id)}",
            service=service.service,
            title=title,
            credits=pack_credits,
            currency=currency,
            price_minor_units=price_minor_units,
            validity=validity,
            archived=False,
            fingerprint=fingerprint(service.service, title, pack_credits, currency, price_minor_units, _text(validity)),
            create_time=self._clock(),
        )
        return await self._write(lambda connection: rows.add_pack(connection, wanted, request_id))

    async def archive_pack(self, pack_id: str) -> Pack:
        """Takes a pack off sale. Raises PackNotFound."""
        return await self._write(lambda connection: rows.archive_pack(connection, pack_id))

    async def service(self, service: str) -> Service:
        """Returns a service. Raises ServiceNotFound."""
        return await self._services.get(
            service, lambda: self._read(lambda connection: rows.service_by_name(connection, service))
        )

    async def pack(self, pack_id: str) -> Pack:
        """Returns a pack, archived or not. Raises PackNotFound."""
        return await self._read(lambda connection: rows.pack_by_id(connection, pack_id))

    async def services_after(self, service: str, limit: int) -> list[Service]:
        """Returns active services whose names sort behind `service`, by name."""
        return await self._read(lambda connection: rows.services_after(connection, service, limit))

    async def packs_after(self, service: str, after: tuple[int, str], limit: int) -> list[Pack]:
        """Returns a service's packs on sale whose (credits, pack_id) sort behind `after`, smallest first."""
        return await self._read(lambda connection: rows.packs_after(connection, service, after, limit))

    async def offered_packs(self, service: str) -> list[Pack]:
        """Returns the packs an Offer shows: the smallest ones, few enough for an error's details."""
        return await self.packs_after(service, (0, ""), _OFFERED_PACKS)

    async def _read(self, work: Callable[[Connection], Found]) -> Found:
        return await self._database.read(work)

    async def _write(self, work: Callable[[Connection], Found]) -> Found:
        return await write_with_retries(self._database, work)

    async def _change(self, work: Callable[[Connection], Found], forget: Callable[[], None]) -> Found:
        """Writes a change, and forgets what was remembered before it."""
        writing = asyncio.ensure_future(self._write(work))
        # Whatever becomes of the caller: the write goes on without it.
        writing.add_done_callback(lambda _: forget())
        return await asyncio.shield(writing)


def new_key(role: Role, owner_id: str, now: datetime, new_secret: SecretSource = random_secret) -> tuple[Key, str]:
    """Returns a key to be stored, and its secret to be shown once."""
    secret = new_secret(KEY_PREFIXES[role])
    key = Key(
        key_id=f"key_{uuid.uuid4().hex}",
        secret_hash=secret_hash(secret),
        role=role,
        owner_id=owner_id,
        title="",
        create_time=now,
        revoke_time=None,
    )
    return key, secret


def _named(account: Account, token: KnownToken | None) -> NamedAccount:
    # Few providers and services have many accounts; each name is kept once.
    return NamedAccount(
        account.account_id, account.customer_id, intern(account.provider_id), intern(account.service), token
    )


def _text(span: timedelta | None) -> str | None:
    return None if span is None else str(span)
