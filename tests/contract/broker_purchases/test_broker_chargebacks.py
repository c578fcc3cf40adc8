"""A payer's bank takes the money back: nobody asks the broker, and nobody may lose or gain by counting twice."""

from datetime import timedelta

import pytest
from iap.broker.v1 import account_pb2, purchase_pb2

from broker_service.domain.records import PaymentNoticeKind, PaymentNoticeOutcome
from broker_service.payments.gateways import Gateways
from tests.contract.broker_purchases.till import (
    euro,
    events,
    get_purchase,
    journal,
    money_accounts,
    refund_purchase,
    refund_rows,
    tell,
    told,
)
from tests.contract.broker_world.operations import charged, refund, resume_account, suspend_account
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.scripted_gateway import ScriptedGateway
from tests.contract.broker_world.world import Account, World, new_world

CHARGED_BACK = PaymentNoticeKind.CHARGED_BACK
APPLIED, IGNORED = PaymentNoticeOutcome.APPLIED, PaymentNoticeOutcome.IGNORED
WRONG = PaymentNoticeOutcome.WRONG_AMOUNT


async def bought(world: World) -> tuple[Account, str]:
    """Returns an account that holds nothing but 100 credits for 10 euro, and their purchase."""
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    purchase = await world.purchase(account, pack.pack_id)
    await tell(world, PaymentNoticeKind.SUCCEEDED, purchase.purchase_id, gateway=purchase.gateway)
    return account, purchase.purchase_id


async def state_of(world: World, account: Account) -> int:
    return (await world.holdings(account)).account.state


def chargeback_detail(found: list[tuple[str, str, str, int]]) -> str:
    (detail,) = [detail for kind, outcome, detail, _ in found if (kind, outcome) == ("CHARGED_BACK", "APPLIED")]
    return detail


async def test_a_chargeback_takes_credits_and_money_and_suspends_the_account(world: World) -> None:
    account, purchase_id = await bought(world)
    assert await tell(world, CHARGED_BACK, purchase_id, currency="EUR", amount_minor_units=1_000) is APPLIED
    purchase = await get_purchase(world, account, purchase_id)
    assert purchase.state == purchase_pb2.PURCHASE_STATE_CHARGED_BACK
    assert (purchase.refunded, purchase.refunded_credits) == (euro(1_000), 100)
    assert await world.balance(account) == (0, 0, 0)
    assert await state_of(world, account) == account_pb2.ACCOUNT_STATE_SUSPENDED
    assert journal(world, purchase_id) == ["CHARGEBACK", "SALE"]
    assert money_accounts(world, purchase_id) == {}
    assert refund_rows(world, purchase_id) == [("CHARGEBACK", "PAID", 100, 1_000, 250)]
    assert events(world, account) == ["account.suspended", "purchase.paid", "purchase.refunded"]
    reasons = world.running.sql("SELECT state_reason FROM accounts WHERE account_id = ?", account.id)
    assert reasons == [(f"purchase {purchase_id} was charged back",)]


async def test_what_is_reserved_or_used_is_reported(world: World) -> None:
    account, purchase_id = await bought(world)
    await charged(world, account, 30)
    reservation_id = await world.reserved(account, 20)
    await tell(world, CHARGED_BACK, purchase_id)
    assert await world.balance(account) == (20, 20, 0)
    assert chargeback_detail(await told(world, purchase_id)) == (
        "50 credits are taken back, 20 are reserved and 30 are used"
    )
    # The money is gone all the same; the provider bears its part of what was used.
    assert money_accounts(world, purchase_id) == {}
    assert (await refusal_of(world.reserve(account, 1))).reason == "ACCOUNT_SUSPENDED"
    await world.capture(reservation_id, 5)
    assert await world.balance(account) == (0, 0, 0), "what was not used is not spent any more"


@pytest.mark.parametrize("way", ["release", "capture of a part", "expiry", "refund"])
async def test_credits_that_come_back_after_a_chargeback_stay_off_the_account(world: World, way: str) -> None:
    account, purchase_id = await bought(world)
    own = await world.new_pack(account.service)
    charge_id = await charged(world, account, 30)
    reservation_id = await world.reserved(account, 20)
    await world.buy(account, own.pack_id)
    await tell(world, CHARGED_BACK, purchase_id)
    await resume_account(world, account)
    assert await world.balance(account) == (120, 20, 100)
    taken_back = -20
    match way:
        case "release":
            await world.release(reservation_id)
        case "capture of a part":
            await world.capture(reservation_id, 5)
            taken_back = -15
        case "expiry":
            world.clock.move(timedelta(days=1))
            # What has expired is written down by whatever comes next.
            await world.release(await world.reserved(account, 1))
        case _:
            for _ in range(2):
                await refund(world, charge_id, 10)
    reserved = 20 if way == "refund" else 0
    assert await world.balance(account) == (100 + reserved, reserved, 100)
    found = world.running.sql(
        "SELECT CAST(sum(credits) AS BIGINT) FROM entries"
        " WHERE purchase_id = ? AND counterpart = 'refunded_purchase' AND reservation_id IS NOT NULL",
        purchase_id,
    )
    assert found == [(taken_back,)]
    assert (await get_purchase(world, account, purchase_id)).refunded_credits == 50


async def test_a_chargeback_counts_once(world: World) -> None:
    account, purchase_id = await bought(world)
    for _ in range(2):
        assert await tell(world, CHARGED_BACK, purchase_id, event_id="evt-1") is APPLIED
    assert await tell(world, CHARGED_BACK, purchase_id, event_id="evt-2") is IGNORED
    assert (journal(world, purchase_id), await world.balance(account)) == (["CHARGEBACK", "SALE"], (0, 0, 0))


@pytest.mark.parametrize("fails_first", [False, True])
async def test_a_chargeback_told_before_its_payment_waits_for_it(world: World, fails_first: bool) -> None:
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service)
    purchase_id = (await world.purchase(account, pack.pack_id)).purchase_id
    assert await tell(world, CHARGED_BACK, purchase_id, amount_minor_units=1) is WRONG
    for _ in range(2):
        assert await tell(world, CHARGED_BACK, purchase_id, event_id=f"evt-c-{purchase_id}") is APPLIED
    assert await tell(world, CHARGED_BACK, purchase_id) is IGNORED
    if fails_first:
        await tell(world, PaymentNoticeKind.FAILED, purchase_id)
    assert await state_of(world, account) == account_pb2.ACCOUNT_STATE_ACTIVE
    assert (money_accounts(world, purchase_id), journal(world, purchase_id)) == ({}, [])
    for _ in range(2):
        outcome = await tell(world, PaymentNoticeKind.SUCCEEDED, purchase_id, event_id=f"evt-p-{purchase_id}")
        assert outcome is APPLIED
    for kind in (PaymentNoticeKind.SUCCEEDED, CHARGED_BACK):
        assert await tell(world, kind, purchase_id) is IGNORED
    purchase = await get_purchase(world, account, purchase_id)
    assert purchase.state == purchase_pb2.PURCHASE_STATE_CHARGED_BACK
    assert (purchase.refunded, purchase.refunded_credits) == (euro(1_000), 100)
    assert (await world.balance(account), money_accounts(world, purchase_id)) == ((0, 0, 0), {})
    assert journal(world, purchase_id) == ["CHARGEBACK", "SALE"]
    assert refund_rows(world, purchase_id) == [("CHARGEBACK", "PAID", 100, 1_000, 250)]
    assert await state_of(world, account) == account_pb2.ACCOUNT_STATE_SUSPENDED
    assert events(world, account) == ["account.suspended", "purchase.paid", "purchase.refunded"]


@pytest.mark.parametrize("amount", [1, 999, 1_001, 2_000])
async def test_a_part_of_the_price_is_taken_for_a_mistake(world: World, amount: int) -> None:
    account, purchase_id = await bought(world)
    assert await tell(world, CHARGED_BACK, purchase_id, currency="EUR", amount_minor_units=amount) is WRONG
    assert await world.balance(account) == (100, 0, 100)
    assert await tell(world, CHARGED_BACK, purchase_id, currency="USD", amount_minor_units=1_000) is WRONG
    assert await state_of(world, account) == account_pb2.ACCOUNT_STATE_ACTIVE


@pytest.mark.parametrize("amount", [None, 1_000, 400])
async def test_after_a_refund_that_was_paid_only_the_rest_is_charged_back(world: World, amount: int | None) -> None:
    account, purchase_id = await bought(world)
    await charged(world, account, 40)
    assert (await refund_purchase(world, account, purchase_id)).refund == euro(600)
    assert await tell(world, CHARGED_BACK, purchase_id, amount_minor_units=amount) is APPLIED
    assert money_accounts(world, purchase_id) == {}
    rows = refund_rows(world, purchase_id)
    assert sorted(rows) == [("CHARGEBACK", "PAID", 0, 400, 100), ("REFUND", "PAID", 60, 600, 150)]
    purchase = await get_purchase(world, account, purchase_id)
    assert (purchase.refunded, purchase.refunded_credits) == (euro(1_000), 60)


async def test_a_purchase_that_was_refunded_is_not_charged_back_as_well(world: World) -> None:
    account, purchase_id = await bought(world)
    await refund_purchase(world, account, purchase_id)
    assert await tell(world, CHARGED_BACK, purchase_id) is IGNORED
    ignored = [detail for _, outcome, detail, _ in await told(world, purchase_id) if outcome == "IGNORED"]
    assert ignored == ["the purchase was refunded before: the customer has the money twice"]
    assert await state_of(world, account) == account_pb2.ACCOUNT_STATE_ACTIVE


async def test_a_purchase_charged_back_is_not_refunded_nor_paid_again(world: World) -> None:
    account, purchase_id = await bought(world)
    reservation_id = await world.reserved(account, 10)
    await tell(world, CHARGED_BACK, purchase_id)
    await world.release(reservation_id)
    assert (await refusal_of(refund_purchase(world, account, purchase_id))).reason == "NOTHING_TO_REFUND"
    assert await tell(world, PaymentNoticeKind.SUCCEEDED, purchase_id) is IGNORED
    assert money_accounts(world, purchase_id) == {}


async def test_an_account_that_is_suspended_already_keeps_its_reason(world: World) -> None:
    account, purchase_id = await bought(world)
    await suspend_account(world, account, "fraud")
    await tell(world, CHARGED_BACK, purchase_id)
    reasons = world.running.sql("SELECT state_reason FROM accounts WHERE account_id = ?", account.id)
    assert reasons == [("fraud",)]
    assert events(world, account) == ["account.suspended", "purchase.paid", "purchase.refunded"]


@pytest.mark.parametrize("fate", ["asked and not answered", "never asked", "refused"])
async def test_a_refund_under_way_is_paid_by_the_chargeback(database_url: str, fate: str) -> None:
    """The bank has taken all that no refund has paid, so what is still owed must not be paid besides."""
    gateway = ScriptedGateway()
    gateway.silent = fate == "asked and not answered"
    gateway.down = fate == "never asked"
    async with running_broker(database_url, gateways=Gateways(gateway)) as running:
        world = await new_world(running)
        account, purchase_id = await bought_at(world, gateway)
        await charged(world, account, 40)
        gateway.declines = fate == "refused"
        await refund_purchase(world, account, purchase_id)
        owed = {"gateway_clearing": 1_000, "refunds_in_transit": -600, "commission": -100, "provider_payable": -300}
        assert money_accounts(world, purchase_id) == owed
        outcome = await tell(world, CHARGED_BACK, purchase_id, gateway="scripted", amount_minor_units=1_000)
        assert outcome is APPLIED
        assert journal(world, purchase_id) == ["CHARGEBACK", "REFUND", "REFUND_PAID", "SALE"]
        assert money_accounts(world, purchase_id) == {}
        asked = list(gateway.asked)
        gateway.down = gateway.declines = False
        running.clock.move(timedelta(hours=1))
        assert await running.broker.refund_runner.run() == 0
        assert gateway.asked == asked, "nobody asks the gateway for what the bank has taken"


@pytest.mark.parametrize("kind", [PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED])
async def test_what_the_gateway_says_of_a_refund_after_the_chargeback_moves_nothing(
    database_url: str, kind: PaymentNoticeKind
) -> None:
    gateway = ScriptedGateway()
    gateway.silent = True
    async with running_broker(database_url, gateways=Gateways(gateway)) as running:
        world = await new_world(running)
        account, purchase_id = await bought_at(world, gateway)
        await refund_purchase(world, account, purchase_id)
        (refund_id,) = gateway.asked
        await tell(world, CHARGED_BACK, purchase_id, gateway="scripted")
        outcome = await tell(world, kind, purchase_id, gateway="scripted", refund_id=refund_id)
        assert outcome is IGNORED
        assert money_accounts(world, purchase_id) == {}
        details = [detail for _, outcome_name, detail, _ in await told(world, purchase_id) if outcome_name == "IGNORED"]
        assert len(details) == 1
        assert ("twice" in details[0]) == (kind is PaymentNoticeKind.REFUND_SUCCEEDED)


async def bought_at(world: World, gateway: ScriptedGateway) -> tuple[Account, str]:
    """Buys at a gateway that opens checkouts, whatever becomes of it afterwards."""
    down, gateway.down = gateway.down, False
    account, purchase_id = await bought(world)
    gateway.down = down
    return account, purchase_id
