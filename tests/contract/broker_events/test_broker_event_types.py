"""Each type of event, from its cause to a receiver, and whom it concerns."""

from datetime import timedelta

from broker_service.domain.records import PaymentNoticeKind
from tests.contract.broker_events.event_calls import create_webhook, list_events, listen, set_alert, subscribe
from tests.contract.broker_purchases.till import tell
from tests.contract.broker_world.operations import charge, grant_credits, resume_account
from tests.contract.broker_world.webhook_receiver import Receiver, receiving
from tests.contract.broker_world.world import World

TTL = timedelta(seconds=10)


async def test_a_low_balance_is_told(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()
    await subscribe(world, account.customer.key, receiver)
    await set_alert(world, account, 50)
    await charge(world, account, 51)
    (event,) = await receiver.until(1)
    assert event == {
        "event_id": event["event_id"],
        "position": 1,
        "type": "balance.low",
        "time": "2026-01-31T12:00:00Z",
        "provider_id": world.provider.id,
        "customer_id": account.customer.id,
        "account_id": account.id,
        "data": {"service": account.service, "ledger_credits": 49, "threshold_credits": 50},
    }
    assert receiver.deliveries[0].headers["iap-event-id"] == event["event_id"]
    (listed,) = await list_events(world, account.customer.key)
    assert (listed.event_id, listed.position, listed.type) == (event["event_id"], 1, "balance.low")
    assert dict(listed.data) == {"service": account.service, "ledger_credits": 49, "threshold_credits": 50}
    assert not receiver.unverified


async def test_an_expired_reservation_is_told_with_the_time_of_its_end(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()
    await subscribe(world, world.provider.key, receiver)
    reserved = (await world.reserve(account, 30, ttl=TTL)).reservation
    await world.capture(reserved.reservation_id, 10, keep_open=True)
    world.clock.move(2 * TTL)
    await charge(world, account, 1)
    (event,) = await receiver.until(1)
    assert (event["type"], event["account_id"]) == ("reservation.expired", account.id)
    assert event["time"] == "2026-01-31T12:00:10Z"
    assert event["data"] == {
        "reservation_id": reserved.reservation_id,
        "service": account.service,
        "released_credits": 20,
    }


async def test_a_low_balance_is_told_once_for_each_time_it_falls(events_of: World) -> None:
    world = events_of
    account = await world.new_account()
    await set_alert(world, account, 50)
    for _ in range(10):
        await charge(world, account, 5)
    # From 50 on it is below; neither do reservations count, nor what is given back.
    assert await low_balances(world, account.customer.key) == []
    await charge(world, account, 1)
    await charge(world, account, 1)
    await world.release(await world.reserved(account, 20))
    assert await low_balances(world, account.customer.key) == [49]
    await grant_credits(world, account, 2)
    await world.reserved(account, 30)
    assert await low_balances(world, account.customer.key) == [49]
    await world.capture(await world.reserved(account, 3))
    assert await low_balances(world, account.customer.key) == [49, 47]


async def low_balances(world: World, key: str) -> list[int]:
    await world.running.broker.events.placing.place()
    return [
        int(event.data.fields["ledger_credits"].number_value)
        for event in await list_events(world, key, types=["balance.low"])
    ]


async def test_credits_that_expire_can_make_a_balance_low(events_of: World) -> None:
    world = events_of
    account = await world.new_account(trial_credits=0)
    pack = await world.new_pack(account.service, pack_credits=40, validity=timedelta(days=1))
    await world.buy(account, pack.pack_id)
    await set_alert(world, account, 10)
    world.clock.move(timedelta(days=1))
    await grant_credits(world, account, 1)
    assert await low_balances(world, account.customer.key) == [0]


async def test_an_account_s_webhook_gets_its_low_balance_and_nothing_else(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()
    other = await world.new_account(customer=account.customer, service=await world.new_service(trial_credits=100))
    alert = await set_alert(world, account, 50, receiver.url)
    listen(world, receiver, alert.signing_secret)
    await set_alert(world, other, 50)
    await world.reserve(account, 10, ttl=TTL)
    await charge(world, other, 60)
    world.clock.move(TTL)
    await charge(world, account, 60)
    (event,) = await receiver.until(1)
    assert (event["type"], event["account_id"]) == ("balance.low", account.id)
    assert len(await list_events(world, account.customer.key)) == 3


async def test_what_happens_to_an_account_at_one_instant_is_told_in_its_order(events_of: World) -> None:
    world = events_of
    # The clock stands still, and the events' ids are in any order.
    accounts = [await world.new_account(trial_credits=0) for _ in range(6)]
    for account in accounts:
        pack = await world.new_pack(account.service)
        await set_alert(world, account, 50)
        early, kept = [(await world.purchase(account, pack.pack_id)).purchase_id for _ in range(2)]
        await tell(world, PaymentNoticeKind.CHARGED_BACK, early)
        await tell(world, PaymentNoticeKind.SUCCEEDED, early)
        await resume_account(world, account)
        await tell(world, PaymentNoticeKind.SUCCEEDED, kept)
        await charge(world, account, 10)
        await tell(world, PaymentNoticeKind.CHARGED_BACK, kept)
    await world.running.broker.events.placing.place()
    for account in accounts:
        assert [event.type for event in await list_events(world, account.customer.key)] == [
            "purchase.paid",
            "purchase.refunded",
            "account.suspended",
            "purchase.paid",
            "purchase.refunded",
            "account.suspended",
            "balance.low",
        ]


async def test_an_owner_hears_what_concerns_it_and_the_operator_all(events_of: World) -> None:
    world = events_of
    mine, another = await world.new_account(), await world.new_account()
    foreign_service = await world.new_service(provider=world.rival, trial_credits=100)
    foreign = await world.new_account(service=foreign_service)
    async with receiving() as of_provider, receiving() as of_customer, receiving() as of_operator:
        await subscribe(world, world.provider.key, of_provider)
        await subscribe(world, mine.customer.key, of_customer)
        await subscribe(world, world.running.operator_key, of_operator)
        for account in (mine, another, foreign):
            await set_alert(world, account, 100)
        await charge(world, mine, 1)
        await charge(world, another, 1)
        await charge(world, foreign, 1, key=world.rival.key)
        heard = {
            world.provider.key: {it["account_id"] for it in await of_provider.until(2)},
            mine.customer.key: {it["account_id"] for it in await of_customer.until(1)},
            world.running.operator_key: {it["account_id"] for it in await of_operator.until(3)},
        }
    assert heard == {
        world.provider.key: {mine.id, another.id},
        mine.customer.key: {mine.id},
        world.running.operator_key: {mine.id, another.id, foreign.id},
    }
    for key, accounts in heard.items():
        assert {event.account_id for event in await list_events(world, key)} == accounts


async def test_a_webhook_gets_the_types_it_asked_for_from_then_on(events_of: World, receiver: Receiver) -> None:
    world = events_of
    account = await world.new_account()
    await set_alert(world, account, 100)
    await world.reserve(account, 1, ttl=TTL)
    await charge(world, account, 1)
    await world.running.broker.events.placing.place()
    made = await create_webhook(world, world.provider.key, receiver.url, types=("reservation.expired",))
    listen(world, receiver, made.signing_secret)
    await set_alert(world, account, 99)
    world.clock.move(TTL)
    await charge(world, account, 1)
    assert [event["type"] for event in await receiver.until(1)] == ["reservation.expired"]
    assert len(await list_events(world, world.provider.key)) == 3
