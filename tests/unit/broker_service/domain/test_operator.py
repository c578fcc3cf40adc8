"""What the operator does to an account: gives credits, suspends, resumes."""

import uuid
from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.accounts import AccountResult
from broker_service.domain.book import Book
from broker_service.domain.commands import ChangeAccountState
from broker_service.domain.decide import decide_batch
from broker_service.domain.errors import (
    AccountNotFound,
    AccountSuspended,
    BalanceOverflow,
    InvalidField,
    InvariantError,
    RequestIdReused,
)
from broker_service.domain.records import (
    MAX_BALANCE,
    MAX_CREDITS,
    AccountState,
    Balance,
    Counterpart,
    EntryKind,
    GrantKind,
)
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    START,
    TICK,
    World,
    capture,
    charge,
    gift,
    grant,
    refund,
    release,
    world,
)

HOUR = timedelta(hours=1)


class TestGrantCredits:
    @pytest.mark.parametrize("kind", [GrantKind.TRIAL, GrantKind.PROMOTIONAL])
    def test_the_credits_are_there_at_once_with_an_entry_that_says_why(self, kind: GrantKind) -> None:
        it = world(grant(10))
        result = it.give(gift(5, kind=kind, priority=7, expire_time=START + HOUR, reason="sorry"))
        given = result.grant
        assert (given.kind, given.credits, given.remaining_credits, given.reserved_credits) == (kind, 5, 5, 0)
        assert (given.priority, given.expire_time, given.create_time) == (7, START + HOUR, START)
        assert given.purchase_id is None
        assert (result.balance, it.balance, result.replayed) == (Balance(15, 0), Balance(15, 0), False)
        (entry,) = it.entries
        assert (entry.kind, entry.credits, entry.counterpart) == (EntryKind(kind.value), 5, Counterpart.ISSUED)
        assert (entry.description, entry.ledger_credits_after) == ("sorry", 15)

    @pytest.mark.parametrize("amount", [1, MAX_CREDITS])
    def test_the_smallest_and_the_largest_amount_are_given(self, amount: int) -> None:
        it = world()
        it.give(gift(amount))
        it.do(charge(amount))
        assert it.balance == Balance(0, 0)

    def test_given_credits_are_used_by_priority_expiry_kind_and_age(self) -> None:
        it = world(grant(1, "paid"), grant(1, "urgent", priority=1))
        gifts = [
            it.give(gift(1, kind=kind, priority=priority, expire_time=expire_time)).grant.grant_id
            for kind, priority, expire_time in [
                (GrantKind.PROMOTIONAL, 200, None),
                (GrantKind.PROMOTIONAL, 100, None),
                (GrantKind.TRIAL, 100, START + 2 * HOUR),
                (GrantKind.PROMOTIONAL, 100, START + HOUR),
            ]
        ]
        used = [part.grant_id for part in it.reserve(6).allocations]
        assert used == ["urgent", gifts[3], gifts[2], gifts[1], "paid", gifts[0]]

    @pytest.mark.parametrize("expire_time", [START, START - TICK])
    def test_credits_that_have_expired_already_are_not_given(self, expire_time: object) -> None:
        it = world()
        with pytest.raises(InvalidField, match="expire_time"):
            it.give(gift(5, expire_time=expire_time))
        assert it.balance == Balance(0, 0)

    def test_credits_can_be_given_for_a_tick(self) -> None:
        it = world()
        it.give(gift(5, expire_time=START + TICK))
        it.now += TICK
        assert it.look() == Balance(0, 0)

    def test_a_balance_beyond_64_bits_is_refused_and_exactly_64_bits_is_given(self) -> None:
        it = world(grant(MAX_BALANCE - 5))
        with pytest.raises(BalanceOverflow):
            it.give(gift(6))
        it.give(gift(5))
        assert it.balance == Balance(MAX_BALANCE, 0)

    def test_an_unknown_account_gets_nothing(self) -> None:
        (outcome,) = decide_batch({ACCOUNT: Book(ACCOUNT)}, [gift(5)], START).outcomes
        assert isinstance(outcome, AccountNotFound)

    def test_a_suspended_account_is_given_credits(self) -> None:
        it = world(state=AccountState.SUSPENDED)
        it.give(gift(5))
        assert it.balance == Balance(5, 0)

    def test_given_again_gets_the_grant_as_it_now_stands_even_after_it_has_expired(self) -> None:
        it = world()
        command = gift(5, expire_time=START + HOUR)
        given = it.give(command).grant
        it.do(charge(2))
        it.now += HOUR
        for _ in range(2):
            again = it.give(command)
            assert again.replayed
            assert again.grant == replace(given, remaining_credits=0)
            assert again.balance == it.balance == Balance(0, 0)

    @pytest.mark.parametrize(
        "difference",
        [
            {"credits": 6},
            {"kind": GrantKind.TRIAL},
            {"priority": 99},
            {"expire_time": START + 2 * HOUR},
            {"expire_time": None},
            {"reason": "b"},
        ],
    )
    def test_given_with_one_field_changed_is_refused(self, difference: dict[str, object]) -> None:
        it = world()
        command = gift(5, expire_time=START + HOUR)
        it.give(command)
        with pytest.raises(RequestIdReused) as refusal:
            it.give(replace(command, **difference))
        assert refusal.value.facts["rpc"] == "GrantCredits"
        assert it.balance == Balance(5, 0)

    def test_the_same_gift_twice_in_one_batch_is_given_once(self) -> None:
        it = world()
        command = gift(5)
        it.decide(command, command)
        assert it.balance == Balance(5, 0)

    def test_books_that_have_lost_the_grant_stop_everything(self) -> None:
        it = world()
        command = gift(5)
        given = it.give(command).grant
        it.do(charge(5))
        del it.book.grants[given.grant_id]
        with pytest.raises(InvariantError, match="gone"):
            it.give(command)


def change(it: World, state: AccountState, reason: str = "") -> AccountResult:
    result = it.result(ChangeAccountState(ACCOUNT, state, reason, str(uuid.uuid4())))
    assert isinstance(result, AccountResult)
    return result


class TestSuspension:
    def test_a_suspended_account_takes_nothing_new_and_ends_what_is_open(self) -> None:
        it = world(grant(20))
        first, second = it.reserve(4), it.reserve(4)
        it.now += HOUR / 10
        result = change(it, AccountState.SUSPENDED, "fraud")
        assert (result.account.state, result.account.state_reason) == (AccountState.SUSPENDED, "fraud")
        assert it.account.update_time == it.now
        with pytest.raises(AccountSuspended):
            it.reserve(1)
        with pytest.raises(AccountSuspended):
            it.do(charge(1))
        it.do(capture(first, 3))
        it.do(release(second))
        it.do(refund(first, 1))
        assert it.balance == Balance(18, 0)

    def test_suspending_twice_changes_nothing_and_keeps_the_first_reason(self) -> None:
        it = world(grant(10))
        change(it, AccountState.SUSPENDED, "fraud")
        before = it.account
        it.now += HOUR
        assert change(it, AccountState.SUSPENDED, "another").account == before
        assert it.account == before

    def test_a_resumed_account_can_be_used_again(self) -> None:
        it = world(grant(10))
        change(it, AccountState.SUSPENDED, "fraud")
        account = change(it, AccountState.ACTIVE).account
        assert (account.state, account.state_reason) == (AccountState.ACTIVE, "")
        assert it.reserve(4).reserved_credits == 4
        before = it.account
        assert change(it, AccountState.ACTIVE).account == before

    def test_an_unknown_account_is_not_suspended(self) -> None:
        command = ChangeAccountState(ACCOUNT, AccountState.SUSPENDED, "", "chg_1")
        (outcome,) = decide_batch({ACCOUNT: Book(ACCOUNT)}, [command], START).outcomes
        assert isinstance(outcome, AccountNotFound)
