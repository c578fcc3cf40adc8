"""Which grants pay, and what happens when one expires."""

from datetime import timedelta

from iap.broker.v1 import account_pb2, broker_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import Account, World, amounts

PAID, TRIAL = account_pb2.GRANT_KIND_PAID, account_pb2.GRANT_KIND_TRIAL
WEEK = timedelta(days=7)
TICK = timedelta(microseconds=1)


async def grants(world: World, account: Account) -> list[tuple[int, int, int]]:
    """Returns the kind, the remaining and the reserved credits of each grant, in the order of use."""
    found = (await world.holdings(account)).grants
    return [(it.kind, it.remaining_credits, it.reserved_credits) for it in found]


async def buy(world: World, account: Account, amount: int, validity: timedelta | None = None) -> str:
    pack = await world.new_pack(account.service, pack_credits=amount, validity=validity)
    return (await world.buy(account, pack.pack_id)).purchase_id


async def test_trial_credits_are_used_before_paid_ones(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    purchase_id = await buy(world, account, 20)
    reservation_id = await world.reserved(account, 15)
    assert await grants(world, account) == [(TRIAL, 10, 10), (PAID, 20, 5)]
    await world.capture(reservation_id, 12)
    assert await grants(world, account) == [(PAID, 18, 0)]
    holdings = await world.holdings(account)
    assert [grant.purchase_id for grant in holdings.grants] == [purchase_id]
    assert amounts(holdings.balance) == (18, 0, 18)


async def test_credits_that_expire_first_are_used_first(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    await buy(world, account, 20)
    await buy(world, account, 30, validity=2 * WEEK)
    await buy(world, account, 40, validity=WEEK)
    await world.capture(await world.reserved(account, 75))
    assert await grants(world, account) == [(TRIAL, 5, 0), (PAID, 20, 0)]


async def test_older_credits_are_used_first(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    purchases = []
    for _ in range(3):
        world.clock.move(timedelta(seconds=1))
        purchases.append(await buy(world, account, 10))
    assert [grant.purchase_id for grant in (await world.holdings(account)).grants] == purchases
    await world.capture(await world.reserved(account, 15))
    assert [grant.purchase_id for grant in (await world.holdings(account)).grants] == purchases[1:]


async def test_what_is_released_goes_back_to_each_grant(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    await buy(world, account, 20)
    reservation_id = await world.reserved(account, 25)
    await world.capture(reservation_id, 4, keep_open=True)
    await world.release(reservation_id)
    assert await grants(world, account) == [(TRIAL, 6, 0), (PAID, 20, 0)]


async def test_a_grant_tells_its_terms(world: World) -> None:
    account = await world.new_account(trial_credits=10)
    await buy(world, account, 20, validity=WEEK)
    paid, trial = (await world.holdings(account)).grants
    assert (paid.kind, paid.credits, trial.kind, trial.credits) == (PAID, 20, TRIAL, 10)
    assert (paid.priority, trial.priority) == (100, 100)
    assert paid.expire_time.ToMicroseconds() - paid.create_time.ToMicroseconds() == WEEK // TICK
    assert not trial.HasField("expire_time")
    assert (bool(paid.purchase_id), trial.purchase_id) == (True, "")


async def test_a_pack_is_valid_until_its_very_instant(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    await buy(world, account, 20, validity=WEEK)
    world.clock.move(WEEK - TICK)
    assert await world.balance(account) == (20, 0, 20)
    reservation_id = await world.reserved(account, 20)
    await world.release(reservation_id)
    world.clock.move(TICK)
    assert await world.balance(account) == (0, 0, 0)
    assert await grants(world, account) == []
    refusal = await refusal_of(world.reserve(account, 1))
    assert (refusal.reason, refusal.metadata["available"]) == ("INSUFFICIENT_CREDITS", "0")


async def test_the_statement_shows_credits_that_expired(world: World) -> None:
    account = await world.new_account(trial_credits=5)
    purchase_id = await buy(world, account, 20, validity=WEEK)
    world.clock.move(WEEK)
    await world.reserve(account, 5)
    last = (await world.entries(account))[-1]
    assert (last.kind, last.credits, last.ledger_credits_after) == (account_pb2.ENTRY_KIND_EXPIRY, -20, 5)
    assert last.purchase_id == purchase_id


async def test_reserved_credits_outlive_their_grant_until_they_are_captured(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    await buy(world, account, 20, validity=WEEK)
    world.clock.move(WEEK - TICK)
    reservation_id = await world.reserved(account, 15)
    world.clock.move(TICK)
    assert await world.balance(account) == (15, 15, 0)
    answer = await world.capture(reservation_id)
    assert (answer.captured_credits, amounts(answer.balance)) == (15, (0, 0, 0))
    entries = [(it.kind, it.credits) for it in await world.entries(account)]
    assert sorted(entries[1:]) == [(account_pb2.ENTRY_KIND_CAPTURE, -15), (account_pb2.ENTRY_KIND_EXPIRY, -5)]


async def test_what_is_released_after_its_grant_expired_is_gone(world: World) -> None:
    account = await world.new_account(trial_credits=5)
    await buy(world, account, 20, validity=WEEK)
    world.clock.move(WEEK - TICK)
    reservation_id = await world.reserved(account, 22)
    world.clock.move(TICK)
    answer = await world.release(reservation_id)
    assert answer.reservation.released_credits == 22
    assert amounts(answer.balance) == await world.balance(account) == (5, 0, 5)
    last = (await world.entries(account))[-1]
    assert (last.kind, last.credits, last.reservation_id) == (account_pb2.ENTRY_KIND_EXPIRY, -20, reservation_id)


async def test_the_rest_of_a_capture_after_its_grant_expired_is_gone(world: World) -> None:
    account = await world.new_account(trial_credits=0)
    await buy(world, account, 20, validity=WEEK)
    world.clock.move(WEEK - TICK)
    reservation_id = await world.reserved(account, 20)
    world.clock.move(TICK)
    answer = await world.capture(reservation_id, 8)
    assert (answer.captured_credits, answer.released_credits) == (8, 12)
    assert amounts(answer.balance) == (0, 0, 0)
    entries = [(it.kind, it.credits, it.ledger_credits_after) for it in await world.entries(account)]
    assert entries[1:] == [(account_pb2.ENTRY_KIND_CAPTURE, -8, 12), (account_pb2.ENTRY_KIND_EXPIRY, -12, 0)]


async def test_a_reservation_and_its_grant_may_expire_together(world: World) -> None:
    account = await world.new_account(trial_credits=3)
    await buy(world, account, 20, validity=timedelta(seconds=60))
    reservation_id = await world.reserved(account, 20, ttl=timedelta(seconds=60))
    world.clock.move(timedelta(seconds=60))
    found = await world.reservation(reservation_id)
    assert (found.state, found.released_credits) == (broker_pb2.RESERVATION_STATE_EXPIRED, 20)
    assert await world.balance(account) == (3, 0, 3)
    await world.reserve(account, 3)
    assert await world.balance(account) == (3, 3, 0)
    assert sum(it.credits for it in await world.entries(account)) == 3
