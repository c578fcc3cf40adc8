"""A life that leaves rows of every kind in a broker's books."""

from datetime import timedelta

from google.type.money_pb2 import Money
from iap.broker.v1.settlement_pb2 import CreatePayoutRequest

from broker_service.domain.records import PaymentNoticeKind
from tests.contract.broker_purchases.till import refund_id_of, refund_purchase, tell, unanswered_refunds
from tests.contract.broker_world.money import mark
from tests.contract.broker_world.operations import (
    charged,
    extend,
    grant_credits,
    refund,
    resume_account,
    rotate_token,
)
from tests.contract.broker_world.world import Account, World, call, new_id


async def live_through_everything(world: World, *, gets_money_back: bool = True) -> Account:
    """Does to a new account whatever can be done to one, with more than one grant; returns it.

    In the end it has captured 7 + 4 + 6 + 1 credits.
    """
    account = await world.new_account(trial_credits=10)
    pack = await world.new_pack(account.service, pack_credits=20, price=Money(currency_code="EUR", units=3))
    yen = Money(currency_code="JPY", units=101)
    short = await world.new_pack(account.service, pack_credits=30, price=yen, validity=timedelta(days=1))
    await world.buy(account, pack.pack_id)
    await world.buy(account, short.pack_id)
    await world.pay((await world.purchase(account, pack.pack_id)).purchase_id, succeeds=False)
    await world.purchase(account, pack.pack_id)
    await grant_credits(world, account, 5, expire_time=world.clock.now + timedelta(hours=2))
    await world.capture(await world.reserved(account, 12), 7)
    session = await world.reserved(account, 15)
    await world.capture(session, 4, keep_open=True)
    await extend(world, session, 2, ttl=timedelta(days=2))
    await world.release(await world.reserved(account, 3))
    await refund(world, await charged(world, account, 6), 2)
    await world.reserved(account, 2, ttl=timedelta(seconds=1))
    world.clock.move(timedelta(hours=1))
    outlives_its_grant = await world.reserved(account, 8, ttl=timedelta(days=3))
    world.clock.move(timedelta(days=1))
    await world.capture(outlives_its_grant, 1, keep_open=True)
    await refund(world, outlives_its_grant)
    await world.reserved(account, 5)
    await rotate_token(world, account, overlap=timedelta(days=7))
    await _be_paid(world)
    if gets_money_back:
        await _give_money_back(world, account)
    return account


async def _give_money_back(world: World, account: Account) -> None:
    """Refunds purchases whole and in part, leaves refunds owed, refused and returned, lets some be charged back.

    It uses no credits.
    """
    pack = await world.new_pack(account.service, pack_credits=7, price=Money(currency_code="EUR", nanos=990_000_000))
    returned = (await world.buy(account, pack.pack_id)).purchase_id
    await refund_purchase(world, account, returned)
    refund_id = refund_id_of(world, returned)
    await tell(world, PaymentNoticeKind.REFUND_FAILED, returned, refund_id=refund_id)
    # The newest of those without an expiry is used last, so its credits are those that are left.
    world.clock.move(timedelta(seconds=1))
    part = await world.buy(account, pack.pack_id)
    reservation_id = await world.reserved(account, (await world.balance(account))[2] - 3)
    await refund_purchase(world, account, part.purchase_id)
    await world.release(reservation_id)
    owed, refused, overtaken, lost = [(await world.buy(account, pack.pack_id)).purchase_id for _ in range(4)]
    with unanswered_refunds(world):
        for purchase_id in (owed, refused, overtaken):
            await refund_purchase(world, account, purchase_id)
    refund_id = refund_id_of(world, refused)
    await tell(world, PaymentNoticeKind.REFUND_FAILED, refused, refund_id=refund_id)
    held = await world.reserved(account, (await world.balance(account))[2] - 3)
    for purchase_id in (overtaken, lost):
        await tell(world, PaymentNoticeKind.CHARGED_BACK, purchase_id)
    await world.release(held)
    await resume_account(world, account)


async def _be_paid(world: World) -> None:
    """Pays the provider what it is owed: once in vain, then for good; the next payout is left under way."""
    operator, provider_id = world.running.operator_key, world.provider.id
    for currency, outcomes in (("EUR", (False, True)), ("JPY", (None,))):
        for paid in outcomes:
            request = CreatePayoutRequest(request_id=new_id(), provider_id=provider_id, currency=currency)
            payout = (await call(world.stubs.settlement.CreatePayout, request, operator)).payout
            world.clock.move(timedelta(seconds=1))
            if paid is not None:
                await mark(world, payout.payout_id, paid=paid)
