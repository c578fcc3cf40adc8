"""A broker's database with accounts that can pay: who they are follows from their numbers, on every database."""

import asyncio
import hashlib
from datetime import timedelta
from functools import partial
from typing import Final

from broker_service.domain.commands import OpenAccount
from broker_service.domain.directory import Key, Provider, ProviderState, Role, Service, ServiceState
from broker_service.domain.records import MAX_TTL
from broker_service.engine.clock import system_clock
from broker_service.engine.committer import Committer
from broker_service.engine.directory import new_key
from broker_service.engine.secrets import ACCOUNT_TOKEN_PREFIX, KEY_PREFIXES, secret_hash
from broker_service.storage.database import create_database, open_database
from broker_service.storage.directory import add_provider, add_service
from broker_service.storage.schema import create_schema

PROVIDER_ID: Final = "prv_" + "b" * 24
SERVICE: Final = "bench"
# As long as a real one.
PROVIDER_KEY: Final = f"{KEY_PREFIXES[Role.PROVIDER]}_{'b' * 43}"
TOKEN_DIGITS: Final = 43
CREDITS_PER_ACCOUNT: Final = 10**9
# Nothing expires while it is measured.
DEFAULT_TTL: Final = timedelta(days=1)

_FINGERPRINT: Final = "b" * 32
_SUFFIX_LENGTH: Final = 24
_OPENED_AT_ONCE: Final = 1_000


def suffix(source: str) -> str:
    """Returns 24 hexadecimal digits as an id has them; `bench_suffix` in SQL gives the same."""
    return hashlib.md5(source.encode(), usedforsecurity=False).hexdigest()[:_SUFFIX_LENGTH]


def account_id(number: int) -> str:
    """Returns the id of an account; `bench_account` in SQL gives the same."""
    return f"acc_{suffix(f'account {number}')}"


def account_token(number: int) -> str:
    """Returns the token that opens an account."""
    return f"{ACCOUNT_TOKEN_PREFIX}_{number:0{TOKEN_DIGITS}d}"


async def make_database(database_url: str, *, accounts: int) -> None:
    """Makes a broker's database with a provider, its service, and accounts 0 … accounts − 1."""
    operator_key, _ = new_key(Role.OPERATOR, "operator", system_clock())
    make = partial(create_schema, shards=None, operator_key=operator_key)
    await asyncio.to_thread(create_database, database_url, make)
    database = open_database(database_url)
    try:
        await database.write(lambda connection: add_provider(connection, _provider(), _provider_key(), ""))
        await database.write(lambda connection: add_service(connection, _service(), ""))
        committer = Committer(database, system_clock)
        for start in range(0, accounts, _OPENED_AT_ONCE):
            numbers = range(start, min(start + _OPENED_AT_ONCE, accounts))
            await asyncio.gather(*(committer.execute(_opening(number)) for number in numbers))
    finally:
        await database.close()


def _opening(number: int) -> OpenAccount:
    return OpenAccount(
        request_id=f"account {number}",
        account_id=account_id(number),
        customer_id=f"cus_{suffix(f'customer {number}')}",
        provider_id=PROVIDER_ID,
        service=SERVICE,
        service_retired=False,
        trial_credits=CREDITS_PER_ACCOUNT,
        token_hash=secret_hash(account_token(number)),
    )


def _provider() -> Provider:
    return Provider(PROVIDER_ID, "Bench", ProviderState.ACTIVE, None, _FINGERPRINT, system_clock())


def _provider_key() -> Key:
    return Key("key_bench", secret_hash(PROVIDER_KEY), Role.PROVIDER, PROVIDER_ID, "", system_clock(), None)


def _service() -> Service:
    return Service(
        service=SERVICE,
        creation_id="bench",
        provider_id=PROVIDER_ID,
        title="Bench",
        description="",
        unit_name="request",
        trial_credits=CREDITS_PER_ACCOUNT,
        default_ttl=DEFAULT_TTL,
        max_ttl=MAX_TTL,
        state=ServiceState.ACTIVE,
        fingerprint=_FINGERPRINT,
        create_time=system_clock(),
    )
