"""Time never runs backwards for the ledger, whatever the clock does."""

from datetime import timedelta

from iap.broker.v1 import broker_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World

ACTIVE = broker_pb2.RESERVATION_STATE_ACTIVE
EXPIRED = broker_pb2.RESERVATION_STATE_EXPIRED
BACK = timedelta(hours=-1)


async def test_what_expired_stays_expired_when_the_clock_steps_back(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=timedelta(seconds=10))
    world.clock.move(timedelta(seconds=10))
    await world.reserved(account, 1)
    world.clock.move(BACK)
    assert (await world.reservation(reservation_id)).state == EXPIRED
    assert (await refusal_of(world.capture(reservation_id))).reason == "RESERVATION_EXPIRED"
    assert await world.balance(account) == (100, 1, 99)


async def test_entries_stay_in_order_when_the_clock_steps_back(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    for _ in range(3):
        await world.capture(await world.reserved(account, 1))
        world.clock.move(BACK)
        await world.buy(account, pack.pack_id)
    times = [entry.time.ToMicroseconds() for entry in await world.entries(account)]
    assert times == sorted(times)
    assert len(times) == 7


async def test_a_reservation_made_after_a_step_back_lives_its_full_ttl(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    world.clock.move(BACK)
    reservation = (await world.reserve(account, 5, ttl=timedelta(seconds=10))).reservation
    assert reservation.expire_time.ToMicroseconds() - reservation.create_time.ToMicroseconds() == 10_000_000
    assert (await world.reservation(reservation.reservation_id)).state == ACTIVE
    world.clock.move(-BACK + timedelta(seconds=10))
    assert (await world.reservation(reservation.reservation_id)).state == EXPIRED


async def test_reading_and_writing_agree_after_a_step_back(own_world: World) -> None:
    world = own_world
    account, other = await world.new_account(), await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=timedelta(seconds=10))
    # Another account's commit takes the shard past the instant of expiry; nobody writes it down.
    world.clock.move(timedelta(seconds=10))
    await world.reserved(other, 1)
    world.clock.move(BACK)
    found = await world.reservation(reservation_id)
    balance = await world.balance(account)
    assert (await refusal_of(world.capture(reservation_id))).reason == "RESERVATION_EXPIRED"
    assert (found.state, balance) == (EXPIRED, (100, 0, 100))


async def test_a_restart_with_a_clock_behind_keeps_each_account_s_order(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=timedelta(seconds=10))
    world.clock.move(timedelta(seconds=10))
    await world.capture(await world.reserved(account, 1))
    world.clock.move(BACK)
    async with running_broker(world.running.database_url, world.clock) as restarted:
        again = World(restarted, world.provider, world.rival)
        assert (await refusal_of(again.capture(reservation_id))).reason == "RESERVATION_EXPIRED"
        await again.capture(await again.reserved(account, 1))
        times = [entry.time.ToMicroseconds() for entry in await again.entries(account)]
        assert times == sorted(times)


async def test_a_broker_started_again_goes_on_where_it_was(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    async with running_broker(world.running.database_url, world.clock) as restarted:
        assert restarted.operator_key == "", "the operator's key is shown once"
        again = World(restarted, world.provider, world.rival)
        await again.capture(reservation_id, 2)
    assert (await world.reservation(reservation_id)).captured_credits == 2


async def test_what_was_told_to_have_expired_stays_so_when_the_clock_steps_back(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5, ttl=timedelta(seconds=10))
    world.clock.move(timedelta(seconds=10))
    # Only read: nothing is committed at this instant.
    assert (await world.reservation(reservation_id)).state == EXPIRED
    world.clock.move(timedelta(seconds=-1))
    assert (await world.reservation(reservation_id)).state == EXPIRED
    assert (await refusal_of(world.capture(reservation_id))).reason == "RESERVATION_EXPIRED"
