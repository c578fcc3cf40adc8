"""Refund: captured credits go back where they came from."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.errors import (
    BalanceOverflow,
    InvariantError,
    RefundExceedsCapture,
    RequestIdReused,
    ReservationNotFound,
)
from broker_service.domain.records import (
    MAX_BALANCE,
    MAX_CREDITS,
    Balance,
    Counterpart,
    EntryKind,
    GrantKind,
    ReservationState,
)
from tests.unit.broker_service.domain.ledger_world import (
    START,
    TICK,
    World,
    capture,
    charge,
    extend,
    gift,
    grant,
    new_id,
    refund,
    release,
    world,
)

HOUR = timedelta(hours=1)


def of_two_grants() -> World:
    return world(grant(5, "paid"), grant(3, "trial", kind=GrantKind.TRIAL))


class TestAmounts:
    @pytest.mark.parametrize(("amount", "left"), [(1, 7), (3, 9), (4, 10), (None, 10)])
    def test_a_refund_gives_back_what_it_is_asked(self, amount: int | None, left: int) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        result = it.do(refund(reservation, amount))
        assert (result.refunded_credits, result.reservation.refunded_credits) == (left - 6, left - 6)
        assert result.reservation.captured_credits == 4
        assert result.balance == it.balance == Balance(left, 0)

    def test_a_refund_writes_one_entry_from_redeemed_that_says_why(self) -> None:
        it = of_two_grants()
        reservation = it.do(charge(6, description="a text")).reservation
        it.do(refund(reservation, 5, reason="not delivered"))
        entry = it.entries[-1]
        assert len(it.entries) == 2
        assert (entry.kind, entry.credits, entry.counterpart) == (EntryKind.REFUND, 5, Counterpart.REDEEMED)
        assert (entry.reservation_id, entry.description) == (reservation.reservation_id, "not delivered")

    @pytest.mark.parametrize("amount", [5, MAX_CREDITS])
    def test_more_than_was_captured_is_refused(self, amount: int) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        with pytest.raises(RefundExceedsCapture) as refusal:
            it.do(refund(reservation, amount))
        assert refusal.value.facts == {
            "reservation_id": reservation.reservation_id,
            "captured": 4,
            "required": amount,
        }
        assert it.balance == Balance(6, 0)

    def test_the_sum_of_several_refunds_is_at_most_what_was_captured(self) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        it.do(refund(reservation, 1))
        it.do(refund(reservation, 2))
        with pytest.raises(RefundExceedsCapture) as refusal:
            it.do(refund(reservation, 2))
        assert refusal.value.facts["captured"] == 1
        assert it.do(refund(reservation)).refunded_credits == 1
        assert it.balance == Balance(10, 0)

    def test_when_all_is_refunded_all_of_nothing_is_refused(self) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        it.do(refund(reservation))
        with pytest.raises(RefundExceedsCapture) as refusal:
            it.do(refund(reservation))
        assert (refusal.value.facts["captured"], refusal.value.facts["required"]) == (0, 1)

    def test_the_largest_amount_goes_round(self) -> None:
        it = world(grant(MAX_CREDITS))
        reservation = it.do(charge(MAX_CREDITS)).reservation
        it.do(refund(reservation, MAX_CREDITS))
        assert it.balance == Balance(MAX_CREDITS, 0)

    def test_a_balance_beyond_64_bits_is_refused_and_changes_nothing(self) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        it.book.grants["huge"] = grant(MAX_BALANCE - 9, "huge")
        it.book.account = replace(it.account, ledger_credits=MAX_BALANCE - 3)
        with pytest.raises(BalanceOverflow):
            it.do(refund(reservation))
        assert it.balance == Balance(MAX_BALANCE - 3, 0)
        it.do(refund(reservation, 3))
        assert it.balance == Balance(MAX_BALANCE, 0)


class TestStates:
    def test_what_was_captured_is_refunded_in_every_state(self) -> None:
        it = world(grant(40))
        kept_open, captured, released, expired = [it.reserve(5, ttl=HOUR * number) for number in (4, 3, 2, 1)]
        for reservation in (kept_open, captured, released, expired):
            it.do(capture(reservation, 3, keep_open=True))
        it.do(capture(captured, 0))
        it.do(release(released))
        it.now += HOUR
        states = [it.do(refund(row, 2)).reservation.state for row in (kept_open, captured, released, expired)]
        assert states == [
            ReservationState.ACTIVE,
            ReservationState.CAPTURED,
            ReservationState.RELEASED,
            ReservationState.EXPIRED,
        ]
        assert it.balance == Balance(40 - 4 * 3 + 4 * 2, 2)

    @pytest.mark.parametrize("end", [None, release, "expiry"])
    def test_where_nothing_was_captured_nothing_is_refunded(self, end: object) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=HOUR)
        if end == "expiry":
            it.now += HOUR
        elif end is not None:
            it.do(end(reservation))  # type: ignore[operator]
        for amount in (None, 1):
            with pytest.raises(RefundExceedsCapture):
                it.do(refund(reservation, amount))

    def test_refunded_credits_are_the_account_s_and_not_the_reservation_s(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.do(capture(reservation, 3, keep_open=True))
        after = it.do(refund(reservation, 2)).reservation
        assert (after.open_credits, it.balance) == (1, Balance(9, 1))
        last = it.do(capture(reservation)).reservation
        assert (last.captured_credits, last.refunded_credits, it.balance) == (4, 2, Balance(8, 0))

    def test_unknown_and_another_provider_s_look_the_same(self) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        for change in ({"reservation_id": "rsv_x"}, {"provider_id": "prv_other"}):
            with pytest.raises(ReservationNotFound):
                it.do(replace(refund(reservation), **change))
        assert it.balance == Balance(6, 0)

    def test_a_suspended_account_gets_its_refunds(self) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        it.suspend()
        it.do(refund(reservation))
        assert it.balance == Balance(10, 0)


class TestGrants:
    @pytest.mark.parametrize(
        ("amount", "trial", "paid"), [(1, 0, 3), (3, 0, 5), (4, 1, 5), (5, 2, 5), (6, 3, 5), (None, 3, 5)]
    )
    def test_what_was_used_last_comes_back_first(self, amount: int | None, trial: int, paid: int) -> None:
        it = of_two_grants()
        it.do(refund(it.do(charge(6)).reservation, amount))
        assert it.remaining() == {"trial": (trial, 0), "paid": (paid, 0)}

    def test_refunds_bit_by_bit_fill_each_grant_once(self) -> None:
        it = of_two_grants()
        reservation = it.do(charge(6)).reservation
        for _ in range(3):
            it.do(refund(reservation, 2))
        assert it.remaining() == {"trial": (3, 0), "paid": (5, 0)}

    def test_captures_between_refunds_are_refunded_too(self) -> None:
        it = of_two_grants()
        reservation = it.reserve(6)
        it.do(capture(reservation, 2, keep_open=True))
        it.do(refund(reservation))
        it.do(capture(reservation, 3, keep_open=True))
        it.do(refund(reservation, 1))
        assert it.remaining() == {"trial": (2, 0), "paid": (4, 1)}
        it.do(refund(reservation))
        assert it.remaining() == {"trial": (3, 0), "paid": (5, 1)}

    def test_after_an_extension_each_grant_gets_its_own_back(self) -> None:
        it = of_two_grants()
        reservation = it.reserve(2)
        it.do(capture(reservation, 1, keep_open=True))
        it.do(extend(reservation, 3))
        it.do(capture(reservation))
        assert it.remaining() == {"trial": (0, 0), "paid": (3, 0)}
        it.do(refund(reservation, 3))
        assert it.remaining() == {"trial": (1, 0), "paid": (5, 0)}

    def test_refunded_credits_can_be_spent_again(self) -> None:
        it = world(grant(4))
        it.do(refund(it.do(charge(4)).reservation))
        it.do(charge(4))
        assert it.balance == Balance(0, 0)

    @pytest.mark.parametrize(("wait", "left"), [(HOUR - TICK, 5), (HOUR, 0), (HOUR + TICK, 0)])
    def test_what_comes_back_to_an_expired_grant_is_gone_in_the_same_step(self, wait: timedelta, left: int) -> None:
        it = world(grant(5, expire_time=START + HOUR))
        reservation = it.do(charge(5)).reservation
        it.now += wait
        result = it.do(refund(reservation, reason="late"))
        assert (result.refunded_credits, result.balance) == (5, Balance(left, 0))
        written = [(entry.kind, entry.credits, entry.counterpart) for entry in it.entries[1:]]
        gone = [] if left else [(EntryKind.EXPIRY, -5, Counterpart.EXPIRED)]
        assert written == [(EntryKind.REFUND, 5, Counterpart.REDEEMED), *gone]
        assert {entry.reservation_id for entry in it.entries} == {reservation.reservation_id}
        it.now = START + HOUR
        assert it.look() == Balance(0, 0)

    def test_only_the_expired_grant_s_part_is_gone(self) -> None:
        it = world(grant(5, "short", expire_time=START + HOUR), grant(5, "long"))
        reservation = it.do(charge(8)).reservation
        it.now += HOUR
        it.do(refund(reservation))
        assert [entry.credits for entry in it.entries[1:]] == [8, -5]
        assert (it.remaining(), it.balance) == ({"short": (0, 0), "long": (5, 0)}, Balance(5, 0))

    def test_an_expired_grant_still_held_by_another_reservation_gets_nothing_back(self) -> None:
        it = world(grant(8, expire_time=START + HOUR))
        held = it.reserve(3, ttl=2 * HOUR)
        reservation = it.do(charge(5)).reservation
        it.now += HOUR
        it.do(refund(reservation))
        assert it.balance == Balance(3, 3)
        it.do(capture(held))
        assert it.balance == Balance(0, 0)

    def test_books_without_the_grant_of_a_capture_stop_everything(self) -> None:
        it = world(grant(5))
        reservation = it.do(charge(5)).reservation
        del it.book.grants["g"]
        with pytest.raises(InvariantError, match="gone"):
            it.do(refund(reservation))


class TestReplays:
    def test_refund_again_gets_the_first_amount(self) -> None:
        it = world(grant(10))
        reservation = it.do(charge(4)).reservation
        command = refund(reservation)
        it.do(refund(reservation, 1))
        assert it.do(command).refunded_credits == 3
        it.now += HOUR
        again = it.do(command)
        assert (again.refunded_credits, again.reservation.refunded_credits, again.replayed) == (3, 4, True)
        assert again.balance == it.balance == Balance(10, 0)

    @pytest.mark.parametrize("difference", [{"credits": 1}, {"credits": None}, {"reason": "b"}])
    def test_refund_with_one_field_changed_is_refused(self, difference: dict[str, object]) -> None:
        it = world(grant(10))
        command = refund(it.do(charge(4)).reservation, 2)
        it.do(command)
        with pytest.raises(RequestIdReused) as refusal:
            it.do(replace(command, **difference))
        assert refusal.value.facts["rpc"] == "Refund"

    def test_refund_of_another_reservation_under_the_same_id_is_refused(self) -> None:
        it = world(grant(10))
        first, other = it.do(charge(4)).reservation, it.do(charge(4)).reservation
        command = refund(first)
        it.do(command)
        with pytest.raises(RequestIdReused):
            it.do(replace(command, reservation_id=other.reservation_id))

    def test_the_same_refund_twice_in_one_batch_acts_once(self) -> None:
        it = world(grant(10))
        command = refund(it.do(charge(4)).reservation, 2)
        it.decide(command, command)
        assert it.balance == Balance(8, 0)

    def test_one_id_serves_a_charge_and_its_refund(self) -> None:
        it = world(grant(10))
        request_id = new_id()
        it.do(refund(it.do(charge(4, request_id=request_id)).reservation, request_id=request_id))
        assert it.balance == Balance(10, 0)

    def test_a_refusal_burns_no_id(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        command = refund(reservation, 4)
        with pytest.raises(RefundExceedsCapture):
            it.do(command)
        it.do(capture(reservation))
        assert not it.do(command).replayed

    def test_a_refund_to_a_gift_counts_like_any_other(self) -> None:
        it = world()
        given = it.give(gift(5)).grant
        it.do(refund(it.do(charge(5)).reservation, 2))
        assert it.remaining() == {given.grant_id: (2, 0)}
