"""What is known of an account token holds until the account's tokens change, and to the tick of its end."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.book import Book
from broker_service.domain.commands import Charge, Reserve, RotateToken
from broker_service.domain.decide import decide_batch
from broker_service.domain.errors import AccountNotFound, AccountSuspended, RequestIdReused, TokenOutdated
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.purchase_commands import PackTerms, StartPurchase
from broker_service.domain.records import AccountState
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    START,
    TICK,
    World,
    charge,
    grant,
    new_id,
    reserve,
    world,
)

NEWEST = KnownToken(0, None)
PACK = PackTerms("pck_1", "sms", "prv_p", "", 1, None, "EUR", 1, 0, False, False, False)

Asking = Reserve | Charge | StartPurchase
COMMANDS = [reserve(1), charge(1), StartPurchase(new_id(), ACCOUNT, PACK, "")]


def rotate(overlap: timedelta = timedelta(0)) -> RotateToken:
    return RotateToken(new_id(), ACCOUNT, "cus_c", overlap, new_id())


def shown(command: Asking, epoch: int, expire_time: datetime | None = None) -> Asking:
    return replace(command, token=KnownToken(epoch, expire_time))


def answer(it: World, command: Asking) -> object:
    (outcome,) = it.decide(command)
    return type(outcome)


def suspended() -> World:
    it = world(grant(10))
    it.book.account = replace(it.account, state=AccountState.SUSPENDED)
    return it


@pytest.mark.parametrize("command", COMMANDS)
def test_a_token_of_the_present_epoch_opens_its_account(command: Asking) -> None:
    it = world(grant(10))
    assert not it.result(shown(command, 0)).replayed
    it.result(rotate())
    assert it.result(shown(command, 1)).replayed


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_token_of_another_epoch_has_to_be_looked_up(command: Asking, epoch: int) -> None:
    it = world(grant(10))
    it.result(rotate())
    written = len(it.written)
    assert answer(it, shown(command, epoch, START)) is TokenOutdated
    assert it.written[written:] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_token_ends_to_the_tick(command: Asking) -> None:
    it = world(grant(10))
    it.now += 2 * TICK
    assert answer(it, shown(command, 0, it.now - TICK)) is AccountNotFound
    assert answer(it, shown(command, 0, it.now)) is AccountNotFound
    assert not it.result(shown(command, 0, it.now + TICK)).replayed


@pytest.mark.parametrize("command", COMMANDS)
def test_a_rotation_in_the_same_batch_is_seen_by_what_comes_behind_it(command: Asking) -> None:
    it = world(grant(10))
    (before, rotated, behind) = it.decide(shown(command, 0), rotate(timedelta(days=1)), shown(command, 0))
    assert [type(outcome) is TokenOutdated for outcome in (before, rotated, behind)] == [False, False, True]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stopped_token_is_refused_before_replay_and_suspension(command: Asking) -> None:
    it = world(grant(10))
    it.result(command)
    other = replace(command, **{"return_url" if isinstance(command, StartPurchase) else "description": "other"})
    assert answer(it, shown(other, 0)) is RequestIdReused
    for again in (command, other):
        assert answer(it, shown(again, 1)) is TokenOutdated
        assert answer(it, shown(again, 0, START)) is AccountNotFound
    assert answer(suspended(), shown(command, 1)) is TokenOutdated
    assert answer(suspended(), shown(command, 0, START)) is AccountNotFound
    assert answer(suspended(), shown(command, 0)) is AccountSuspended


@pytest.mark.parametrize("command", COMMANDS)
def test_an_account_that_is_not_there_is_not_found_whatever_is_known_of_its_token(command: Asking) -> None:
    (outcome,) = decide_batch({ACCOUNT: Book(ACCOUNT)}, [shown(command, 7)], START).outcomes
    assert isinstance(outcome, AccountNotFound)
    assert outcome.facts == {"account_id": ACCOUNT}


def test_a_token_that_has_ended_names_no_account() -> None:
    with pytest.raises(AccountNotFound) as refusal:
        KnownToken(0, START).check(world().account, START)
    assert refusal.value.facts == {}
    NEWEST.check(world().account, START)


def test_each_rotation_begins_an_epoch_and_a_replay_does_not() -> None:
    it = world()
    command = rotate()
    it.decide(command, replace(command, token_hash="another try"), rotate())
    assert it.account.token_epoch == 2
