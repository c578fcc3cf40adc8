"""What a new database needs before its first request: a demo provider with a service and packs, a customer, an account.

Made by fixed request ids, so that seeding twice finds what is there; only the secrets, which are kept nowhere, are new
each time.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from broker_service.domain import commands
from broker_service.domain.directory import Role
from broker_service.domain.identities import account_id_for
from broker_service.domain.records import DEFAULT_PRIORITY, GrantKind
from broker_service.engine.clock import Clock
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.secrets import ACCOUNT_TOKEN_PREFIX, random_secret, secret_hash
from broker_service.storage.database import Database
from broker_service.storage.schema import shards_of

DEMO_SERVICE = "demo"
DEMO_CREDITS = 1_000_000

_PACKS = (("Small demo pack", 100, 500), ("Large demo pack", 1_000, 4_500))
_CURRENCY = "EUR"
_OLD_TOKENS_LAST = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class SeededDemo:
    """Ids, and secrets that are shown once; `account_token` opens an account with `available_credits`."""

    service: str
    pack_ids: tuple[str, ...]
    provider_id: str
    provider_key: str
    customer_id: str
    customer_key: str
    account_id: str
    account_token: str
    available_credits: int


async def seed_demo(database: Database, clock: Clock) -> SeededDemo:
    """Seeds a database, beside brokers that serve from it.

    Done before: makes what is missing, and gives another key to provider and customer, and another token to the
    account; older keys go on working, older tokens for 30 days. Raises ServiceExists if the service's name is taken,
    StorageError.
    """
    shards = await database.read(shards_of)
    directory, committer = Directory(database, clock, shards=shards), Committer(database, clock, shards=shards)
    provider_id, provider_key = await _provider(directory)
    pack_ids = await _publish(directory, provider_id)
    customer_id, customer_key = await _customer(directory)
    account_id, account_token = await _account(committer, provider_id, customer_id)
    granted = await committer.execute(
        commands.GrantCredits(
            request_id=_fixed_id("GrantCredits"),
            account_id=account_id,
            credits=DEMO_CREDITS,
            kind=GrantKind.PROMOTIONAL,
            priority=DEFAULT_PRIORITY,
            expire_time=None,
            reason="seeded for trying things out",
        )
    )
    await committer.drain()
    return SeededDemo(
        service=DEMO_SERVICE,
        pack_ids=pack_ids,
        provider_id=provider_id,
        provider_key=provider_key,
        customer_id=customer_id,
        customer_key=customer_key,
        account_id=account_id,
        account_token=account_token,
        available_credits=granted.balance.available_credits,
    )


async def _provider(directory: Directory) -> tuple[str, str]:
    provider, key = await directory.register_provider(
        request_id=_fixed_id("RegisterProvider"), name="Demo provider", commission_basis_points=None
    )
    return provider.provider_id, key or await _another_key(directory, Role.PROVIDER, provider.provider_id)


async def _customer(directory: Directory) -> tuple[str, str]:
    customer, key = await directory.register_customer(
        request_id=_fixed_id("RegisterCustomer"), name="Demo customer", email="demo@example.com"
    )
    return customer.customer_id, key or await _another_key(directory, Role.CUSTOMER, customer.customer_id)


async def _another_key(directory: Directory, role: Role, owner_id: str) -> str:
    _, secret = await directory.issue_key(request_id=_new_id(), role=role, owner_id=owner_id, title="seed-demo")
    return secret


async def _publish(directory: Directory, provider_id: str) -> tuple[str, ...]:
    service, _ = await directory.create_service(
        request_id=_fixed_id("CreateService"),
        provider_id=provider_id,
        service=DEMO_SERVICE,
        title="Demo service",
        description="For trying the broker out.",
        unit_name="credit",
        trial_credits=0,
        default_ttl=None,
        max_ttl=None,
    )
    packs = [
        await directory.create_pack(
            request_id=_fixed_id(f"CreatePack {title}"),
            service=service,
            title=title,
            pack_credits=pack_credits,
            currency=_CURRENCY,
            price_minor_units=price_minor_units,
            validity=None,
        )
        for title, pack_credits, price_minor_units in _PACKS
    ]
    return tuple(pack.pack_id for pack, _ in packs)


async def _account(committer: Committer, provider_id: str, customer_id: str) -> tuple[str, str]:
    token = random_secret(ACCOUNT_TOKEN_PREFIX)
    request_id = _fixed_id("OpenAccount")
    opened = await committer.execute(
        commands.OpenAccount(
            request_id=request_id,
            account_id=account_id_for(customer_id, request_id),
            customer_id=customer_id,
            provider_id=provider_id,
            service=DEMO_SERVICE,
            service_retired=False,
            trial_credits=0,
            token_hash=secret_hash(token),
        )
    )
    account_id = opened.account.account_id
    if opened.replayed:
        await committer.execute(
            commands.RotateToken(
                request_id=_new_id(),
                account_id=account_id,
                customer_id=customer_id,
                overlap=_OLD_TOKENS_LAST,
                token_hash=secret_hash(token),
            )
        )
    return account_id, token


def _fixed_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"iap-mesh:seed-demo:{name}"))


def _new_id() -> str:
    return str(uuid.uuid4())
