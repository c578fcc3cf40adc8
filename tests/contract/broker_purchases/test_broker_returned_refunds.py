"""Refunds that were paid and came back: the customer is owed the money again, and it is booked once each way."""

import pytest

from broker_service.domain.records import PaymentNoticeKind, PaymentNoticeOutcome
from tests.contract.broker_purchases.till import (
    journal,
    money_accounts,
    refund_id_of,
    refund_purchase,
    refund_rows,
    tell,
    told,
)
from tests.contract.broker_world.operations import charged
from tests.contract.broker_world.world import Account, World

SUCCEEDED, FAILED = PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED
CHARGED_BACK = PaymentNoticeKind.CHARGED_BACK
APPLIED, IGNORED = PaymentNoticeOutcome.APPLIED, PaymentNoticeOutcome.IGNORED
OWED = {"gateway_clearing": 1_000, "refunds_in_transit": -600, "commission": -100, "provider_payable": -300}


async def refunded(world: World) -> tuple[Account, str, str]:
    """Returns an account, a purchase of 100 credits for 10 euro, and its paid refund of the 60 that were not used."""
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    purchase = await world.purchase(account, pack.pack_id)
    await tell(world, PaymentNoticeKind.SUCCEEDED, purchase.purchase_id, gateway=purchase.gateway)
    await charged(world, account, 40)
    await refund_purchase(world, account, purchase.purchase_id)
    assert refund_rows(world, purchase.purchase_id) == [("REFUND", "PAID", 60, 600, 150)]
    return account, purchase.purchase_id, refund_id_of(world, purchase.purchase_id)


async def details(world: World, purchase_id: str) -> list[str]:
    return [detail for _, _, detail, _ in await told(world, purchase_id)]


async def test_what_comes_back_is_owed_again(world: World) -> None:
    account, purchase_id, refund_id = await refunded(world)
    outcome = await tell(world, FAILED, purchase_id, refund_id=refund_id, amount_minor_units=600, detail="closed")
    assert outcome is APPLIED
    assert "the refund had been paid, and the money came back: it is owed again: closed" in await details(
        world, purchase_id
    )
    assert refund_rows(world, purchase_id) == [("REFUND", "FAILED", 60, 600, 150)]
    assert journal(world, purchase_id) == ["REFUND", "REFUND_PAID", "REFUND_RETURNED", "SALE"]
    assert money_accounts(world, purchase_id) == OWED
    assert await world.balance(account) == (0, 0, 0), "the credits stay taken back"


async def test_it_comes_back_once(world: World) -> None:
    _, purchase_id, refund_id = await refunded(world)
    for _ in range(2):
        assert await tell(world, FAILED, purchase_id, refund_id=refund_id, event_id=f"evt-{refund_id}") is APPLIED
    assert await tell(world, FAILED, purchase_id, refund_id=refund_id) is IGNORED
    assert money_accounts(world, purchase_id) == OWED


async def test_a_success_told_after_the_return_does_not_lose_the_debt(world: World) -> None:
    _, purchase_id, refund_id = await refunded(world)
    await tell(world, FAILED, purchase_id, refund_id=refund_id)
    assert await tell(world, SUCCEEDED, purchase_id, refund_id=refund_id) is IGNORED
    assert "the refund was paid before, and the money came back since" in await details(world, purchase_id)
    assert money_accounts(world, purchase_id) == OWED


async def test_a_return_of_another_amount_changes_nothing(world: World) -> None:
    _, purchase_id, refund_id = await refunded(world)
    outcome = await tell(world, FAILED, purchase_id, refund_id=refund_id, amount_minor_units=599)
    assert outcome is PaymentNoticeOutcome.WRONG_AMOUNT
    assert refund_rows(world, purchase_id) == [("REFUND", "PAID", 60, 600, 150)]


async def test_a_chargeback_pays_what_came_back(world: World) -> None:
    _, purchase_id, refund_id = await refunded(world)
    await tell(world, FAILED, purchase_id, refund_id=refund_id)
    assert await tell(world, CHARGED_BACK, purchase_id, amount_minor_units=1_000) is APPLIED
    assert money_accounts(world, purchase_id) == {}
    ids = [it for (it,) in world.running.sql("SELECT journal_entry_id FROM journal_entries ORDER BY 1")]
    assert {f"refund_paid:{refund_id}", f"refund_paid:{refund_id}:2", f"refund_returned:{refund_id}"} <= set(ids)
    assert await tell(world, FAILED, purchase_id, refund_id=refund_id) is IGNORED
    assert "the refund was paid by the chargeback, and is not owed any more" in await details(world, purchase_id)
    assert money_accounts(world, purchase_id) == {}


@pytest.mark.parametrize("amount", [None, 400])
async def test_a_refund_that_the_gateway_paid_comes_back_after_a_chargeback_of_the_rest(
    world: World, amount: int | None
) -> None:
    _, purchase_id, refund_id = await refunded(world)
    await tell(world, CHARGED_BACK, purchase_id, amount_minor_units=amount)
    assert await tell(world, FAILED, purchase_id, refund_id=refund_id) is APPLIED
    assert money_accounts(world, purchase_id) == {"gateway_clearing": 600, "refunds_in_transit": -600}
