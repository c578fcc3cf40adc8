"""Extend: more time, more credits, or both."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.errors import (
    AccountSuspended,
    CaptureExceedsReservation,
    InsufficientCredits,
    InvalidField,
    ProviderSuspended,
    RequestIdReused,
    ReservationCaptured,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)
from broker_service.domain.records import MAX_CREDITS, Balance, GrantKind, Reservation, ReservationState
from tests.unit.broker_service.domain.ledger_world import (
    START,
    TICK,
    capture,
    extend,
    gift,
    grant,
    new_id,
    refund,
    release,
    world,
)

MINUTE = timedelta(minutes=1)


def parts(reservation: Reservation) -> list[tuple[str, int, int]]:
    return [(part.grant_id, part.reserved_credits, part.captured_credits) for part in reservation.allocations]


class TestTime:
    def test_a_ttl_counts_from_now(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=10 * MINUTE)
        it.now += 9 * MINUTE
        result = it.do(extend(reservation, ttl=5 * MINUTE))
        assert result.reservation == replace(reservation, expire_time=START + 14 * MINUTE)
        assert (result.balance, it.entries) == (Balance(10, 4), [])

    def test_a_ttl_can_shorten_what_is_left(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=10 * MINUTE)
        it.do(extend(reservation, ttl=MINUTE))
        it.now += MINUTE
        assert it.look() == Balance(10, 0)

    def test_the_new_expiry_is_exact(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=MINUTE)
        extended = it.do(extend(reservation, ttl=10 * MINUTE)).reservation
        it.now = extended.expire_time - TICK
        assert it.look() == Balance(10, 4)
        it.now = extended.expire_time
        assert it.look() == Balance(10, 0)

    def test_without_a_ttl_the_expiry_stays(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.now += MINUTE
        assert it.do(extend(reservation, 1)).reservation.expire_time == reservation.expire_time

    def test_a_ttl_of_exactly_the_longest_is_taken_and_one_tick_more_refused(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.do(extend(reservation, ttl=MINUTE, max_ttl=MINUTE))
        with pytest.raises(InvalidField, match="ttl"):
            it.do(extend(reservation, ttl=MINUTE + TICK, max_ttl=MINUTE))

    def test_one_tick_before_its_expiry_it_can_be_extended_and_at_it_no_more(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=MINUTE)
        it.now = reservation.expire_time - TICK
        it.do(extend(reservation, ttl=MINUTE))
        it.now = reservation.expire_time - TICK + MINUTE
        with pytest.raises(ReservationExpired):
            it.do(extend(reservation, ttl=MINUTE))

    def test_its_change_is_the_account_s_latest(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.now += MINUTE
        it.do(extend(reservation, ttl=MINUTE))
        assert it.account.update_time == it.now
        it.now -= MINUTE / 2
        assert it.reserve(1).create_time == it.account.update_time


class TestCredits:
    @pytest.mark.parametrize("amount", [1, 6])
    def test_additional_credits_are_set_aside(self, amount: int) -> None:
        it = world(grant(10))
        extended = it.do(extend(it.reserve(4), amount)).reservation
        assert it.balance == Balance(10, 4 + amount)
        assert (extended.reserved_credits, extended.open_credits, it.entries) == (4 + amount, 4 + amount, [])

    def test_one_too_many_is_refused_with_what_is_missing(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        with pytest.raises(InsufficientCredits) as refusal:
            it.do(extend(reservation, 7, ttl=MINUTE))
        assert refusal.value.facts == {"available": 6, "required": 7, "missing": 1}
        assert it.book.reservations[reservation.reservation_id] == reservation

    def test_a_reservation_holds_at_most_10_to_the_12th_in_all(self) -> None:
        it = world(grant(MAX_CREDITS + 10))
        reservation = it.reserve(MAX_CREDITS - 5)
        it.do(capture(reservation, 5, keep_open=True))
        with pytest.raises(InvalidField) as refusal:
            it.do(extend(reservation, 6))
        assert refusal.value.field == "additional_credits"
        it.do(extend(reservation, 5))
        assert it.balance.available_credits == 10

    def test_credits_and_time_come_in_one_step(self) -> None:
        it = world(grant(10))
        extended = it.do(extend(it.reserve(4), 2, ttl=MINUTE)).reservation
        assert (extended.reserved_credits, extended.expire_time) == (6, START + MINUTE)

    def test_a_kept_open_reservation_goes_on_with_more(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.do(capture(reservation, 4, keep_open=True))
        it.do(extend(reservation, 3))
        with pytest.raises(CaptureExceedsReservation):
            it.do(capture(reservation, 4))
        last = it.do(capture(reservation, 2)).reservation
        assert (last.captured_credits, last.released_credits, it.balance) == (6, 1, Balance(4, 0))

    def test_a_grant_that_has_expired_gives_no_more_and_keeps_its_part(self) -> None:
        it = world(grant(5, "short", expire_time=START + MINUTE), grant(5, "long"))
        reservation = it.reserve(3)
        it.now += MINUTE
        extended = it.do(extend(reservation, 5)).reservation
        assert parts(extended) == [("short", 3, 0), ("long", 5, 0)]
        with pytest.raises(InsufficientCredits):
            it.do(extend(reservation, 1))

    def test_a_grant_that_will_expire_gives_more_until_it_does(self) -> None:
        it = world(grant(5, "short", expire_time=START + MINUTE), grant(5, "long"))
        reservation = it.reserve(2)
        it.now += MINUTE - TICK
        assert parts(it.do(extend(reservation, 4)).reservation) == [("short", 5, 0), ("long", 1, 0)]

    def test_the_longer_life_of_a_reservation_keeps_its_part_of_an_expired_grant(self) -> None:
        it = world(grant(5, expire_time=START + MINUTE))
        reservation = it.reserve(5, ttl=MINUTE / 2)
        it.do(extend(reservation, ttl=2 * MINUTE))
        it.now += MINUTE
        assert it.look() == Balance(5, 5)
        it.do(capture(reservation))
        assert it.balance == Balance(0, 0)


class TestParts:
    """One part per grant, and the open ones in the order of use."""

    def test_more_of_the_same_grant_joins_its_part(self) -> None:
        it = world(grant(10))
        extended = it.do(extend(it.reserve(4), 3)).reservation
        assert parts(extended) == [("g", 7, 0)]
        it.do(capture(extended, 6))
        assert it.remaining() == {"g": (4, 0)}

    def test_more_of_a_grant_that_was_captured_in_part_joins_its_part(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.do(capture(reservation, 3, keep_open=True))
        extended = it.do(extend(reservation, 2)).reservation
        assert parts(extended) == [("g", 6, 3)]
        it.do(release(extended))
        assert (it.remaining(), it.balance) == ({"g": (7, 0)}, Balance(7, 0))

    def test_a_further_grant_is_another_part(self) -> None:
        it = world(grant(5, "paid"), grant(3, "trial", kind=GrantKind.TRIAL))
        extended = it.do(extend(it.reserve(2), 4)).reservation
        assert parts(extended) == [("trial", 3, 0), ("paid", 3, 0)]
        it.do(capture(extended, 4))
        assert it.remaining() == {"trial": (0, 0), "paid": (4, 0)}

    def test_a_grant_used_earlier_is_captured_earlier_even_if_it_joins_later(self) -> None:
        it = world(grant(5, "paid"), grant(3, "trial", kind=GrantKind.TRIAL))
        before = it.reserve(3)
        reservation = it.reserve(2)
        it.do(release(before))
        extended = it.do(extend(reservation, 2)).reservation
        assert parts(extended) == [("trial", 2, 0), ("paid", 2, 0)]
        it.do(capture(extended, 3))
        assert it.remaining() == {"trial": (1, 0), "paid": (4, 0)}

    def test_what_was_captured_to_the_last_credit_stays_in_front_though_its_grant_is_spent(self) -> None:
        it = world(grant(2, "a", priority=2), grant(2, "b", priority=1), grant(3, "c", priority=3))
        reservation = it.reserve(5)
        it.do(capture(reservation, 4, keep_open=True))
        extended = it.do(extend(reservation, 1)).reservation
        assert parts(extended) == [("b", 2, 2), ("a", 2, 2), ("c", 2, 0)]
        it.do(capture(extended))
        assert it.remaining() == {"a": (0, 0), "b": (0, 0), "c": (1, 0)}

    def test_a_part_that_was_captured_whole_is_open_again_with_more(self) -> None:
        it = world(grant(4, "first", priority=1), grant(4, "second", priority=2))
        reservation, blocker = it.reserve(2), it.reserve(2)
        it.do(capture(reservation, 2, keep_open=True))
        it.do(extend(reservation, 1))
        it.do(release(blocker))
        extended = it.do(extend(reservation, 2)).reservation
        assert parts(extended) == [("first", 4, 2), ("second", 1, 0)]
        it.do(capture(extended, 2, keep_open=True))
        assert it.remaining() == {"first": (0, 0), "second": (4, 1)}
        it.do(refund(extended, 1))
        it.do(release(extended))
        assert (it.remaining(), it.balance) == ({"first": (1, 0), "second": (4, 0)}, Balance(5, 0))

    def test_extended_often_it_still_adds_up(self) -> None:
        it = world(*(grant(7, f"g{number}", priority=number % 3) for number in range(6)))
        reservation = it.reserve(1)
        for step in range(12):
            it.do(extend(reservation, 2))
            it.do(capture(reservation, step % 3, keep_open=True))
        last = it.do(capture(reservation, 3)).reservation
        assert (last.reserved_credits, last.captured_credits, last.released_credits) == (25, 15, 10)
        assert it.balance == Balance(42 - 15, 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("end", "refusal"), [(capture, ReservationCaptured), (release, ReservationReleased), (None, ReservationExpired)]
    )
    def test_what_is_resolved_is_not_extended(self, end: object, refusal: type[Exception]) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=MINUTE)
        if end is None:
            it.now += MINUTE
        else:
            it.do(end(reservation))  # type: ignore[operator]
        for command in (extend(reservation, ttl=MINUTE), extend(reservation, 99)):
            with pytest.raises(refusal):
                it.do(command)

    def test_unknown_and_another_provider_s_look_the_same(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        for change in ({"reservation_id": "rsv_x"}, {"provider_id": "prv_other"}):
            with pytest.raises(ReservationNotFound):
                it.do(replace(extend(reservation, 1), **change))

    def test_a_suspension_stops_credits_and_not_time(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        with pytest.raises(ProviderSuspended):
            it.do(extend(reservation, 1, ttl=MINUTE, provider_suspended=True))
        it.do(extend(reservation, ttl=MINUTE, provider_suspended=True))
        it.suspend()
        with pytest.raises(AccountSuspended):
            it.do(extend(reservation, 1, ttl=MINUTE))
        assert it.do(extend(reservation, ttl=2 * MINUTE)).reservation.expire_time == START + 2 * MINUTE

    def test_refusals_come_in_the_contract_s_order(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.do(release(reservation))
        it.suspend()
        worst = extend(reservation, MAX_CREDITS, ttl=31 * 24 * 60 * MINUTE, provider_suspended=True)
        with pytest.raises(InvalidField, match="ttl"):
            it.do(worst)
        with pytest.raises(ProviderSuspended):
            it.do(replace(worst, ttl=None))
        with pytest.raises(AccountSuspended):
            it.do(replace(worst, ttl=None, provider_suspended=False))
        active = world(grant(10))
        with pytest.raises(InvalidField, match="additional_credits"):
            active.do(extend(active.reserve(4), MAX_CREDITS))


class TestReplays:
    def test_extend_again_gets_the_reservation_as_it_now_stands(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        command = extend(reservation, 2, ttl=MINUTE)
        it.do(command)
        it.do(capture(reservation, 5))
        it.suspend()
        it.now += MINUTE
        again = it.do(replace(command, max_ttl=TICK, provider_suspended=True))
        assert (again.replayed, again.reservation.state) == (True, ReservationState.CAPTURED)
        assert (again.balance, it.balance) == (Balance(5, 0), Balance(5, 0))

    @pytest.mark.parametrize(
        "difference", [{"additional_credits": 3}, {"additional_credits": 0}, {"ttl": 2 * MINUTE}, {"ttl": None}]
    )
    def test_extend_with_one_field_changed_is_refused(self, difference: dict[str, object]) -> None:
        it = world(grant(10))
        command = extend(it.reserve(4), 2, ttl=MINUTE)
        it.do(command)
        with pytest.raises(RequestIdReused) as refusal:
            it.do(replace(command, **difference))
        assert refusal.value.facts["rpc"] == "Extend"

    def test_extend_of_another_reservation_under_the_same_id_is_refused(self) -> None:
        it = world(grant(10))
        command, other = extend(it.reserve(4), 1), it.reserve(4)
        it.do(command)
        with pytest.raises(RequestIdReused):
            it.do(replace(command, reservation_id=other.reservation_id))

    def test_the_same_extension_twice_in_one_batch_acts_once(self) -> None:
        it = world(grant(10))
        command = extend(it.reserve(4), 2)
        it.decide(command, command)
        assert it.balance == Balance(10, 6)

    def test_a_refusal_burns_no_id(self) -> None:
        it = world(grant(4))
        command = extend(it.reserve(4), 1, request_id=new_id())
        with pytest.raises(InsufficientCredits):
            it.do(command)
        it.give(gift(1))
        assert not it.do(command).replayed
