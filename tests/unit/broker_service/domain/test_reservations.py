"""Reserve, capture, release: amounts, states, replays and time."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.book import Book
from broker_service.domain.decide import decide_batch
from broker_service.domain.errors import (
    AccountNotFound,
    AccountSuspended,
    CaptureExceedsReservation,
    InsufficientCredits,
    InvalidField,
    ProviderSuspended,
    Refusal,
    RequestIdReused,
    ReservationCaptured,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)
from broker_service.domain.records import (
    MAX_CREDITS,
    AccountState,
    Balance,
    Counterpart,
    EntryKind,
    ReservationState,
)
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    START,
    TICK,
    capture,
    grant,
    new_id,
    release,
    reserve,
    world,
)


class TestAmounts:
    def test_reserve_sets_credits_aside_and_writes_no_entry(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        assert it.balance == Balance(10, 4)
        assert (reservation.state, reservation.open_credits) == (ReservationState.ACTIVE, 4)
        assert not [entry for changes in it.written for entry in changes.entries]

    @pytest.mark.parametrize("amount", [1, 10, MAX_CREDITS])
    def test_reserve_of_all_there_is_leaves_nothing(self, amount: int) -> None:
        it = world(grant(amount))
        it.reserve(amount)
        assert it.balance.available_credits == 0

    def test_reserve_of_one_too_many_is_refused_with_what_is_missing(self) -> None:
        it = world(grant(10))
        it.reserve(4)
        with pytest.raises(InsufficientCredits) as refusal:
            it.reserve(7)
        assert refusal.value.facts == {"available": 6, "required": 7, "missing": 1}
        assert it.balance == Balance(10, 4)

    @pytest.mark.parametrize(("amount", "left"), [(0, 10), (1, 9), (4, 6), (None, 6)])
    def test_capture_takes_and_gives_back_the_rest(self, amount: int | None, left: int) -> None:
        it = world(grant(10))
        result = it.do(capture(it.reserve(4), amount))
        assert it.balance == Balance(left, 0)
        assert (result.captured_credits, result.released_credits) == (10 - left, 4 - (10 - left))
        assert result.reservation.state is ReservationState.CAPTURED
        assert result.reservation.resolve_time == it.now

    def test_capture_writes_one_entry_to_redeemed_and_none_for_zero(self) -> None:
        it = world(grant(10))
        it.do(capture(it.reserve(4, description="a text"), 3))
        it.do(capture(it.reserve(4), 0))
        (entry,) = [entry for changes in it.written for entry in changes.entries]
        assert (entry.kind, entry.credits, entry.counterpart) == (EntryKind.CAPTURE, -3, Counterpart.REDEEMED)
        assert (entry.sequence, entry.ledger_credits_after, entry.description) == (2, 7, "a text")

    def test_capture_of_one_too_many_is_refused(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        with pytest.raises(CaptureExceedsReservation) as refusal:
            it.do(capture(reservation, 5))
        assert refusal.value.facts == {
            "reservation_id": reservation.reservation_id,
            "reserved": 4,
            "required": 5,
        }
        assert it.balance == Balance(10, 4)

    def test_captures_kept_open_take_bit_by_bit(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(6)
        it.do(capture(reservation, 2, keep_open=True))
        assert it.balance == Balance(8, 4)
        it.do(capture(reservation, 3, keep_open=True))
        with pytest.raises(CaptureExceedsReservation):
            it.do(capture(reservation, 2, keep_open=True))
        last = it.do(release(reservation)).reservation
        assert it.balance == Balance(5, 0)
        assert (last.captured_credits, last.released_credits, last.state) == (5, 1, ReservationState.RELEASED)

    def test_release_gives_everything_back(self) -> None:
        it = world(grant(10))
        result = it.do(release(it.reserve(4)))
        assert it.balance == Balance(10, 0)
        assert (result.released_credits, result.reservation.state) == (4, ReservationState.RELEASED)


class TestStates:
    @pytest.mark.parametrize("ask", [capture, release])
    def test_captured_refuses(self, ask: object) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.do(capture(reservation))
        with pytest.raises(ReservationCaptured):
            it.do(ask(reservation))  # type: ignore[operator]

    @pytest.mark.parametrize("ask", [capture, release])
    def test_released_refuses(self, ask: object) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.do(release(reservation))
        with pytest.raises(ReservationReleased):
            it.do(ask(reservation))  # type: ignore[operator]

    @pytest.mark.parametrize("ask", [capture, release])
    def test_expired_refuses(self, ask: object) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=timedelta(seconds=1))
        it.now += timedelta(seconds=1)
        with pytest.raises(ReservationExpired) as refusal:
            it.do(ask(reservation))  # type: ignore[operator]
        assert refusal.value.facts["expire_time"] == "2026-01-01T00:00:01Z"

    @pytest.mark.parametrize("ask", [capture, release])
    def test_unknown_and_another_providers_look_the_same(self, ask: object) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        for change in ({"reservation_id": "rsv_x"}, {"provider_id": "prv_other"}):
            with pytest.raises(ReservationNotFound):
                it.do(ask(reservation, **change))  # type: ignore[operator]
        assert it.balance == Balance(10, 4)

    def test_unknown_account_refuses(self) -> None:
        verdict = decide_batch({ACCOUNT: Book(ACCOUNT)}, [reserve(1)], START)
        assert isinstance(verdict.outcomes[0], AccountNotFound)

    def test_suspended_before_reserve_refuses(self) -> None:
        with pytest.raises(AccountSuspended):
            world(grant(10), state=AccountState.SUSPENDED).reserve(1)
        with pytest.raises(ProviderSuspended):
            world(grant(10)).reserve(1, provider_suspended=True)

    def test_suspended_after_reserve_can_still_be_captured(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4)
        it.book.account = replace(it.account, state=AccountState.SUSPENDED)
        it.do(capture(reservation))
        assert it.balance == Balance(6, 0)

    def test_refusals_come_in_the_contracts_order(self) -> None:
        it = world(grant(10), state=AccountState.SUSPENDED)
        with pytest.raises(InvalidField, match="ttl"):
            it.reserve(99, provider_suspended=True, ttl=timedelta(days=31))
        with pytest.raises(ProviderSuspended):
            it.reserve(99, provider_suspended=True)
        with pytest.raises(AccountSuspended):
            it.reserve(99)


class TestReplays:
    def test_reserve_again_gets_the_first_reservation_as_it_now_stands(self) -> None:
        it = world(grant(10))
        command = reserve(4)
        first = it.do(command).reservation
        it.do(capture(first, 1))
        again = it.do(command)
        assert again.replayed
        assert again.reservation.state is ReservationState.CAPTURED
        assert again.balance == it.balance == Balance(9, 0)

    @pytest.mark.parametrize(
        "difference",
        [{"credits": 5}, {"ttl": timedelta(seconds=9)}, {"description": "b"}, {"metadata": {"a": "b"}}],
    )
    def test_reserve_with_one_field_changed_is_refused(self, difference: dict[str, object]) -> None:
        it = world(grant(10))
        command = reserve(4)
        it.do(command)
        with pytest.raises(RequestIdReused):
            it.do(replace(command, **difference))

    def test_a_services_terms_may_change_between_tries(self) -> None:
        it = world(grant(10))
        command = reserve(4)
        it.do(command)
        assert it.do(replace(command, default_ttl=timedelta(seconds=1), max_ttl=timedelta(seconds=2))).replayed

    def test_capture_again_gets_the_first_amounts(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(6)
        command = capture(reservation, 2, keep_open=True)
        it.do(command)
        it.do(capture(reservation, 1))
        again = it.do(command)
        assert (again.captured_credits, again.released_credits, again.replayed) == (2, 0, True)
        assert again.reservation.captured_credits == 3

    @pytest.mark.parametrize("difference", [{"credits": 1}, {"credits": None}, {"keep_open": True}])
    def test_capture_with_one_field_changed_is_refused(self, difference: dict[str, object]) -> None:
        it = world(grant(10))
        command = capture(it.reserve(4), 2)
        it.do(command)
        with pytest.raises(RequestIdReused):
            it.do(replace(command, **difference))

    def test_capture_of_another_reservation_under_the_same_id_is_refused(self) -> None:
        it = world(grant(10))
        command, other = capture(it.reserve(4)), it.reserve(4)
        it.do(command)
        with pytest.raises(RequestIdReused):
            it.do(replace(command, reservation_id=other.reservation_id))

    def test_release_again_answers_and_with_another_reason_is_refused(self) -> None:
        it = world(grant(10))
        command = release(it.reserve(4), reason="a")
        it.do(command)
        again = it.do(command)
        assert (again.replayed, again.released_credits) == (True, 4)
        with pytest.raises(RequestIdReused):
            it.do(replace(command, reason="b"))

    def test_one_id_serves_different_rpcs(self) -> None:
        it = world(grant(10))
        request_id = new_id()
        reservation = it.reserve(4, request_id=request_id)
        it.do(capture(reservation, 1, keep_open=True, request_id=request_id))
        it.do(release(reservation, request_id=request_id))
        assert it.balance == Balance(9, 0)

    def test_a_refusal_burns_no_id(self) -> None:
        it = world(grant(3))
        command = reserve(4)
        with pytest.raises(InsufficientCredits):
            it.do(command)
        it.book.grants["more"] = grant(1, "more")
        it.book.account = replace(it.account, ledger_credits=4)
        assert not it.do(command).replayed

    def test_replay_answers_before_suspension_state_and_credits(self) -> None:
        it = world(grant(4))
        command = reserve(4)
        reservation = it.do(command).reservation
        captured = capture(reservation)
        it.do(captured)
        it.book.account = replace(it.account, state=AccountState.SUSPENDED)
        assert it.do(replace(command, provider_suspended=True)).replayed
        assert it.do(captured).replayed


class TestTime:
    def test_expiry_is_exact(self) -> None:
        it = world(grant(10))
        reservation = it.reserve(4, ttl=timedelta(seconds=5))
        it.now = reservation.expire_time - TICK
        assert it.look() == Balance(10, 4)
        it.now = reservation.expire_time
        assert it.look() == Balance(10, 0)
        after = it.book.reservations[reservation.reservation_id]
        assert (after.state, after.released_credits) == (ReservationState.EXPIRED, 4)
        assert after.resolve_time == reservation.expire_time

    def test_expired_credits_can_be_reserved_at_once(self) -> None:
        it = world(grant(10))
        it.reserve(10, ttl=timedelta(seconds=5))
        it.now += timedelta(seconds=5)
        it.reserve(10)
        assert it.balance == Balance(10, 10)

    def test_default_ttl_is_the_services(self) -> None:
        it = world(grant(10))
        assert it.reserve(1, default_ttl=timedelta(seconds=7)).expire_time == START + timedelta(seconds=7)

    def test_a_ttl_of_exactly_the_longest_is_taken(self) -> None:
        it = world(grant(10))
        it.reserve(1, ttl=timedelta(seconds=9), max_ttl=timedelta(seconds=9))
        with pytest.raises(InvalidField):
            it.reserve(1, ttl=timedelta(seconds=9, microseconds=1), max_ttl=timedelta(seconds=9))

    def test_time_never_runs_backwards_on_an_account(self) -> None:
        it = world(grant(10))
        it.now += timedelta(hours=1)
        first = it.reserve(1)
        it.now -= timedelta(minutes=30)
        assert it.reserve(1).create_time == first.create_time


class TestBatches:
    def test_big_refused_before_small_accepted(self) -> None:
        it = world(grant(10))
        refused, accepted = it.decide(reserve(11), reserve(10))
        assert isinstance(refused, InsufficientCredits)
        assert not isinstance(accepted, Refusal)

    def test_same_id_twice_in_one_batch_acts_once(self) -> None:
        it = world(grant(10))
        command = reserve(4)
        first, second = it.decide(command, command)
        assert not isinstance(first, Refusal)
        assert not isinstance(second, Refusal)
        assert (first.replayed, second.replayed) == (False, True)
        assert it.balance == Balance(10, 4)

    def test_a_thousand_commands_on_one_account_take_what_is_there(self) -> None:
        it = world(grant(600))
        outcomes = it.decide(*(reserve(1) for _ in range(1_000)))
        assert sum(isinstance(outcome, InsufficientCredits) for outcome in outcomes) == 400
        assert it.balance == Balance(600, 600)

    def test_an_empty_batch_changes_nothing(self) -> None:
        it = world(grant(10))
        assert it.decide() == []
        assert it.written == []

    def test_a_batch_happens_at_one_instant_and_never_before_the_last_change_of_its_accounts(self) -> None:
        it = world(grant(10))
        later = START + timedelta(hours=1)
        for clock, instant in ((START, START), (later, later), (START, later)):
            verdict = decide_batch({ACCOUNT: it.book}, [reserve(1), reserve(1)], clock)
            assert verdict.now == instant
            assert [changes.reservations[0].create_time for changes in verdict.changes][-2:] == [instant, instant]
