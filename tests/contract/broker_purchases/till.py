"""Short ways to ask about purchases, to tell of payments as a gateway does, and to read the money accounts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import admin_pb2, purchase_pb2

from broker_service.domain.records import PaymentNoticeKind, PaymentNoticeOutcome
from broker_service.payments.gateway import GatewayNotice
from broker_service.payments.sandbox import SandboxBehavior, SandboxGateway
from tests.contract.broker_world.world import Account, World, call, new_id

Told = tuple[str, str, str, int]


def euro(cents: int) -> Money:
    return Money(currency_code="EUR", units=cents // 100, nanos=cents % 100 * 10_000_000)


async def refund_purchase(
    world: World, account: Account, purchase_id: str, *, reason: str = "", request_id: str | None = None
) -> purchase_pb2.RefundPurchaseResponse:
    request = purchase_pb2.RefundPurchaseRequest(
        request_id=request_id or new_id(), purchase_id=purchase_id, reason=reason
    )
    return await call(world.stubs.purchases.RefundPurchase, request, account.customer.key)


async def get_purchase(world: World, account: Account, purchase_id: str) -> purchase_pb2.Purchase:
    request = purchase_pb2.GetPurchaseRequest(purchase_id=purchase_id, account_token=account.token)
    return (await call(world.stubs.purchases.GetPurchase, request)).purchase


async def tell(
    world: World,
    kind: PaymentNoticeKind,
    purchase_id: str,
    *,
    gateway: str = "sandbox",
    event_id: str | None = None,
    **fields: Any,
) -> PaymentNoticeOutcome:
    """Delivers a notice, as whoever hears a gateway does."""
    notice = GatewayNotice(gateway_event_id=event_id or new_id(), kind=kind, purchase_id=purchase_id, **fields)
    return await world.running.broker.desk.take_notice(gateway, notice)


async def notices(world: World, purchase_id: str) -> list[admin_pb2.PaymentNotice]:
    """Returns what gateways have told of a purchase, newest first."""
    request = admin_pb2.ListPaymentNoticesRequest(purchase_id=purchase_id)
    found = await call(world.stubs.admin.ListPaymentNotices, request, world.running.operator_key)
    return list(found.notices)


async def told(world: World, purchase_id: str) -> list[Told]:
    """Returns the kind, the outcome, the detail and the number of times of each notice, the newest first."""
    kinds, outcomes = admin_pb2.PaymentNoticeKind.Name, admin_pb2.PaymentNoticeOutcome.Name
    return [
        (
            kinds(it.kind).removeprefix("PAYMENT_NOTICE_KIND_"),
            outcomes(it.outcome).removeprefix("PAYMENT_NOTICE_OUTCOME_"),
            it.detail,
            it.times_received,
        )
        for it in await notices(world, purchase_id)
    ]


def money_accounts(world: World, purchase_id: str) -> dict[str, int]:
    """Returns what a purchase's movements come to on each money account; without those that come to nothing."""
    rows = world.running.sql(
        "SELECT money_account, CAST(sum(amount_minor_units) AS BIGINT) FROM journal_postings"
        " JOIN journal_entries USING (journal_entry_id) WHERE purchase_id = ? GROUP BY money_account",
        purchase_id,
    )
    return {name.partition(":")[0]: int(amount) for name, amount in rows if amount}


def journal(world: World, purchase_id: str) -> list[str]:
    """Returns the kinds of a purchase's movements, by name."""
    statement = "SELECT kind FROM journal_entries WHERE purchase_id = ? ORDER BY kind"
    return [kind for (kind,) in world.running.sql(statement, purchase_id)]


def events(world: World, account: Account) -> list[str]:
    """Returns the types of an account's events, by name."""
    statement = "SELECT type FROM events WHERE account_id = ? ORDER BY type"
    return [kind for (kind,) in world.running.sql(statement, account.id)]


def refund_rows(world: World, purchase_id: str) -> Sequence[tuple[Any, ...]]:
    """Returns kind, state, credits, amount and commission of each of a purchase's refunds, oldest first."""
    return world.running.sql(
        "SELECT kind, state, credits, amount_minor_units, commission_minor_units FROM purchase_refunds"
        " WHERE purchase_id = ? ORDER BY create_time, kind",
        purchase_id,
    )


def refund_id_of(world: World, purchase_id: str) -> str:
    """Returns the id of a purchase's one refund."""
    ((refund_id,),) = world.running.sql("SELECT refund_id FROM purchase_refunds WHERE purchase_id = ?", purchase_id)
    return str(refund_id)


@contextmanager
def unanswered_refunds(world: World) -> Iterator[None]:
    """Lets the sandbox promise a notice of each refund, and deliver none."""
    sandbox = world.running.broker.gateways.by_name("sandbox")
    assert isinstance(sandbox, SandboxGateway)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "_behavior", SandboxBehavior.DELAY)
        patch.setattr(sandbox, "_delay_seconds", 3_600.0)
        yield
