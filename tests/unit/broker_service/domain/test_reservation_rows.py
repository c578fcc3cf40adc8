"""Every row that Reserve, Capture, Release, Charge, Extend and Refund write, and every result, to the last field."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.commands import Capture, Charge, Extend, Refund, Release, Reserve
from broker_service.domain.events import reservation_expired
from broker_service.domain.outcomes import ReservationResult
from broker_service.domain.records import (
    Allocation,
    Balance,
    Counterpart,
    Entry,
    EntryKind,
    GrantKind,
    Operation,
    Reservation,
    ReservationState,
)
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    PROVIDER,
    START,
    World,
    capture,
    charge,
    extend,
    grant,
    refund,
    release,
    reserve,
    world,
)

HOUR = timedelta(hours=1)
LATER = START + HOUR


def written_for(reservation: Reservation, kind: EntryKind, amount: int, description: str, after: int) -> Entry:
    """The entry that a command at LATER writes for a reservation, the account's second."""
    return Entry(
        account_id=ACCOUNT,
        sequence=2,
        kind=kind,
        credits=amount,
        counterpart=Counterpart.EXPIRED if kind is EntryKind.EXPIRY else Counterpart.REDEEMED,
        ledger_credits_after=after,
        time=LATER,
        reservation_id=reservation.reservation_id,
        purchase_id=None,
        description=description,
    )


def record_of(command: Capture | Release | Extend | Refund, kind: str, **amounts: int) -> Operation:
    """The record that a command at LATER leaves."""
    return Operation(ACCOUNT, command.operation_id, kind, command.fingerprint, LATER, **amounts)


def made_by(command: Reserve | Charge, **changes: object) -> Reservation:
    """The reservation of 4 credits of the grant `g` that a command makes at START."""
    reservation = Reservation(
        account_id=ACCOUNT,
        reservation_id=command.reservation_id,
        provider_id=PROVIDER,
        service="sms",
        state=ReservationState.ACTIVE,
        reserved_credits=4,
        captured_credits=0,
        released_credits=0,
        refunded_credits=0,
        allocations=(Allocation("g", 4),),
        fingerprint=command.fingerprint,
        create_time=START,
        expire_time=START + 2 * HOUR,
        resolve_time=None,
        description="a text",
        metadata={"job": "7"},
    )
    return replace(reservation, **changes)


class TestReserve:
    def test_it_writes_the_reservation_its_grant_and_its_account(self) -> None:
        it = world(grant(10))
        before, it.now = it.account, LATER
        command = reserve(4, ttl=HOUR, description="a text", metadata={"job": "7"})
        result = it.do(command)
        reservation = made_by(command, create_time=LATER, expire_time=LATER + HOUR)
        account = replace(before, reserved_credits=4, update_time=LATER)
        assert result == ReservationResult(reservation, Balance(10, 4))
        assert it.written == [
            Changes(account=account, grants=(replace(grant(10), reserved_credits=4),), reservations=(reservation,))
        ]

    def test_a_second_one_adds_to_what_the_first_has_set_aside(self) -> None:
        it = world(grant(10))
        it.reserve(4)
        it.reserve(3)
        assert (it.balance, it.remaining()) == (Balance(10, 7), {"g": (10, 7)})

    def test_a_replay_writes_nothing(self) -> None:
        it = world(grant(10))
        command = reserve(4)
        first = it.do(command)
        assert it.do(command) == replace(first, replayed=True)
        assert it.written[1:] == [Changes()]


def reserved() -> tuple[World, Reservation]:
    """An account with 10 credits, 4 of them reserved, at LATER."""
    it = world(grant(10))
    reservation = it.reserve(4, ttl=2 * HOUR, description="a text", metadata={"job": "7"})
    it.written.clear()
    it.now = LATER
    return it, reservation


class TestCapture:
    def test_it_writes_what_it_took_and_what_it_gave_back(self) -> None:
        it, reservation = reserved()
        before, command = it.account, capture(reservation, 3)
        result = it.do(command)
        captured = replace(
            reservation,
            state=ReservationState.CAPTURED,
            captured_credits=3,
            released_credits=1,
            allocations=(Allocation("g", 4, 3),),
            resolve_time=LATER,
        )
        assert result == ReservationResult(captured, Balance(7, 0), captured_credits=3, released_credits=1)
        assert it.written == [
            Changes(
                account=replace(before, ledger_credits=7, reserved_credits=0, entry_count=2, update_time=LATER),
                grants=(replace(grant(10), remaining_credits=7),),
                reservations=(captured,),
                entries=(written_for(reservation, EntryKind.CAPTURE, -3, "a text", 7),),
                operations=(record_of(command, "Capture", captured_credits=3, released_credits=1),),
            )
        ]

    def test_kept_open_it_writes_only_what_it_took(self) -> None:
        it, reservation = reserved()
        command = capture(reservation, 3, keep_open=True)
        result = it.do(command)
        captured = replace(reservation, captured_credits=3, allocations=(Allocation("g", 4, 3),))
        assert result == ReservationResult(captured, Balance(7, 1), captured_credits=3)
        assert it.written[0].reservations == (captured,)
        assert it.written[0].grants == (replace(grant(10), remaining_credits=7, reserved_credits=1),)
        assert it.written[0].operations == (record_of(command, "Capture", captured_credits=3),)

    def test_a_further_one_says_what_it_took_itself(self) -> None:
        it, reservation = reserved()
        it.do(capture(reservation, 2, keep_open=True))
        result = it.do(capture(reservation, 1))
        assert (result.captured_credits, result.released_credits) == (1, 1)
        assert (result.reservation.captured_credits, result.reservation.released_credits) == (3, 1)
        assert result.reservation.allocations == (Allocation("g", 4, 3),)

    def test_of_nothing_it_writes_no_entry_and_is_the_account_s_latest_change(self) -> None:
        it, reservation = reserved()
        it.do(capture(reservation, 0))
        (changes,) = it.written
        assert changes.entries == ()
        assert (it.account.update_time, it.account.entry_count, it.balance) == (LATER, 1, Balance(10, 0))

    def test_a_replay_writes_nothing(self) -> None:
        it, reservation = reserved()
        command = capture(reservation, 3)
        first = it.do(command)
        assert it.do(command) == replace(first, replayed=True)
        assert it.written[1:] == [Changes()]

    def test_what_was_reserved_of_a_grant_that_has_expired_is_gone_with_an_entry_of_its_own(self) -> None:
        it = world(grant(4, expire_time=LATER))
        reservation = it.reserve(4, ttl=2 * HOUR, description="a text")
        it.written.clear()
        it.now = LATER
        result = it.do(capture(reservation, 3))
        assert (result.captured_credits, result.released_credits, result.balance) == (3, 1, Balance(0, 0))
        taken = written_for(reservation, EntryKind.CAPTURE, -3, "a text", 1)
        gone = written_for(reservation, EntryKind.EXPIRY, -1, "released after the grant had expired", 0)
        assert it.entries == [taken, replace(gone, sequence=3)]
        assert it.remaining() == {"g": (0, 0)}


class TestRelease:
    def test_it_writes_what_it_gave_back(self) -> None:
        it, reservation = reserved()
        before, command = it.account, release(reservation)
        result = it.do(command)
        released = replace(reservation, state=ReservationState.RELEASED, released_credits=4, resolve_time=LATER)
        assert result == ReservationResult(released, Balance(10, 0), released_credits=4)
        assert it.written == [
            Changes(
                account=replace(before, reserved_credits=0, update_time=LATER),
                grants=(grant(10),),
                reservations=(released,),
                operations=(record_of(command, "Release", released_credits=4),),
            )
        ]

    def test_a_replay_writes_nothing(self) -> None:
        it, reservation = reserved()
        command = release(reservation)
        first = it.do(command)
        assert it.do(command) == replace(first, replayed=True)
        assert it.written[1:] == [Changes()]


class TestExpiry:
    def test_a_reservation_that_expires_gives_back_what_was_not_captured(self) -> None:
        it, reservation = reserved()
        it.do(capture(reservation, 1, keep_open=True))
        it.written.clear()
        before, it.now = it.account, reservation.expire_time + HOUR
        it.look()
        expired = replace(
            reservation,
            state=ReservationState.EXPIRED,
            captured_credits=1,
            released_credits=3,
            allocations=(Allocation("g", 4, 1),),
            resolve_time=reservation.expire_time,
        )
        assert it.written == [
            Changes(
                account=replace(before, reserved_credits=0, update_time=it.now),
                grants=(replace(grant(10), remaining_credits=9),),
                reservations=(expired,),
                events=(reservation_expired(before, reservation, released_credits=3),),
            )
        ]

    def test_reservations_expire_in_the_order_of_their_ends_then_of_their_ids(self) -> None:
        it = world(grant(10))
        late, *early = (it.reserve(1, ttl=hours * HOUR).reservation_id for hours in (2, 1, 1, 1))
        it.written.clear()
        it.now += 2 * HOUR
        it.look()
        assert [changes.reservations[0].reservation_id for changes in it.written] == [*sorted(early), late]

    def test_a_grant_that_expires_keeps_what_is_reserved_of_it(self) -> None:
        it = world(replace(grant(10, expire_time=LATER), purchase_id="pur_1"))
        it.reserve(4, ttl=2 * HOUR)
        before, it.now = it.account, LATER
        it.written.clear()
        it.look()
        entry = Entry(
            account_id=ACCOUNT,
            sequence=2,
            kind=EntryKind.EXPIRY,
            credits=-6,
            counterpart=Counterpart.EXPIRED,
            ledger_credits_after=4,
            time=LATER,
            reservation_id=None,
            purchase_id="pur_1",
            description="credits expired",
        )
        assert it.written == [
            Changes(
                account=replace(before, ledger_credits=4, entry_count=2, update_time=LATER),
                grants=(
                    replace(grant(10, expire_time=LATER), purchase_id="pur_1", remaining_credits=4, reserved_credits=4),
                ),
                entries=(entry,),
            )
        ]

    def test_reservations_expire_before_the_grants_that_get_their_credits_back(self) -> None:
        it = world(grant(10, expire_time=LATER))
        it.reserve(4, ttl=HOUR)
        it.written.clear()
        it.now = LATER
        it.look()
        assert [entry.description for entry in it.entries] == [
            "released after the grant had expired",
            "credits expired",
        ]
        assert [entry.credits for entry in it.entries] == [-4, -6]


class TestCharge:
    def test_it_writes_a_captured_reservation_and_its_entry(self) -> None:
        it = world(grant(10))
        before, it.now = it.account, LATER
        command = charge(4, description="a text", metadata={"job": "7"})
        result = it.do(command)
        reservation = made_by(
            command,
            state=ReservationState.CAPTURED,
            captured_credits=4,
            allocations=(Allocation("g", 4, 4),),
            create_time=LATER,
            expire_time=LATER,
            resolve_time=LATER,
        )
        assert result == ReservationResult(reservation, Balance(6, 0), captured_credits=4)
        assert it.written == [
            Changes(
                account=replace(before, ledger_credits=6, entry_count=2, update_time=LATER),
                grants=(replace(grant(10), remaining_credits=6),),
                reservations=(reservation,),
                entries=(written_for(reservation, EntryKind.CAPTURE, -4, "a text", 6),),
            )
        ]

    def test_a_replay_writes_nothing(self) -> None:
        it = world(grant(10))
        command = charge(4)
        first = it.do(command)
        assert it.do(command) == replace(first, replayed=True)
        assert it.written[1:] == [Changes()]


class TestExtend:
    def test_for_time_it_writes_the_reservation_and_the_time_of_the_account_s_change(self) -> None:
        it, reservation = reserved()
        before, command = it.account, extend(reservation, ttl=3 * HOUR)
        result = it.do(command)
        extended = replace(reservation, expire_time=LATER + 3 * HOUR)
        assert result == ReservationResult(extended, Balance(10, 4))
        assert it.written == [
            Changes(
                account=replace(before, update_time=LATER),
                reservations=(extended,),
                operations=(record_of(command, "Extend"),),
            )
        ]

    def test_for_credits_it_writes_the_grants_that_pay_too(self) -> None:
        it, reservation = reserved()
        before, command = it.account, extend(reservation, 2, ttl=3 * HOUR)
        result = it.do(command)
        extended = replace(
            reservation, reserved_credits=6, allocations=(Allocation("g", 6),), expire_time=LATER + 3 * HOUR
        )
        assert result == ReservationResult(extended, Balance(10, 6))
        assert it.written == [
            Changes(
                account=replace(before, reserved_credits=6, update_time=LATER),
                grants=(replace(grant(10), reserved_credits=6),),
                reservations=(extended,),
                operations=(record_of(command, "Extend"),),
            )
        ]

    def test_after_a_capture_and_a_refund_it_says_that_it_moved_nothing(self) -> None:
        it, reservation = reserved()
        it.do(capture(reservation, 3, keep_open=True))
        it.do(refund(reservation, 2))
        result = it.do(extend(reservation, 1))
        assert (result.captured_credits, result.released_credits, result.refunded_credits) == (0, 0, 0)

    def test_a_replay_writes_nothing(self) -> None:
        it, reservation = reserved()
        command = extend(reservation, 2)
        first = it.do(command)
        assert it.do(command) == replace(first, replayed=True)
        assert it.written[1:] == [Changes()]


class TestRefund:
    def test_it_writes_what_it_gave_back(self) -> None:
        it, reservation = reserved()
        captured = it.do(capture(reservation)).reservation
        it.written.clear()
        it.now, before = LATER, it.account
        command = refund(captured, 3, reason="not delivered")
        result = it.do(command)
        refunded = replace(captured, refunded_credits=3, allocations=(Allocation("g", 4, 4, 3),))
        entry = written_for(reservation, EntryKind.REFUND, 3, "not delivered", 9)
        assert result == ReservationResult(refunded, Balance(9, 0), refunded_credits=3)
        assert it.written == [
            Changes(
                account=replace(before, ledger_credits=9, entry_count=3, update_time=LATER),
                grants=(replace(grant(10), remaining_credits=9),),
                reservations=(refunded,),
                entries=(replace(entry, sequence=3),),
                operations=(record_of(command, "Refund", refunded_credits=3),),
            )
        ]

    def test_a_further_one_says_what_it_gave_back_itself(self) -> None:
        it, reservation = reserved()
        it.do(capture(reservation))
        it.do(refund(reservation, 1))
        result = it.do(refund(reservation, 2))
        assert (result.refunded_credits, result.reservation.refunded_credits) == (2, 3)
        assert result.reservation.allocations == (Allocation("g", 4, 4, 3),)

    def test_after_a_capture_and_a_release_it_says_only_what_it_gave_back(self) -> None:
        it, reservation = reserved()
        it.do(capture(reservation, 3, keep_open=True))
        it.do(release(reservation))
        result = it.do(refund(reservation, 2))
        assert (result.captured_credits, result.released_credits, result.refunded_credits) == (0, 0, 2)

    def test_what_came_of_a_grant_that_has_expired_is_gone_with_an_entry_of_its_own(self) -> None:
        it = world(grant(2, "short", expire_time=LATER, kind=GrantKind.TRIAL), grant(4, "long"))
        reservation = it.do(charge(4)).reservation
        it.written.clear()
        it.now = LATER
        it.do(refund(reservation, reason="not delivered"))
        back = written_for(reservation, EntryKind.REFUND, 4, "not delivered", 6)
        gone = written_for(reservation, EntryKind.EXPIRY, -2, "refunded after the grant had expired", 4)
        assert it.entries == [replace(back, sequence=4), replace(gone, sequence=5)]
        (changes,) = it.written
        assert changes.grants == (grant(4, "long"),)

    def test_a_replay_writes_nothing(self) -> None:
        it, reservation = reserved()
        it.do(capture(reservation))
        command = refund(reservation, 3)
        first = it.do(command)
        assert it.do(command) == replace(first, replayed=True)
        assert it.written[2:] == [Changes()]


@pytest.mark.parametrize("clock", [START - HOUR, START])
def test_what_happens_while_the_clock_is_behind_happens_at_the_account_s_last_change(clock: datetime) -> None:
    it, reservation = reserved()
    it.do(capture(reservation, 1, keep_open=True))
    it.now = clock
    it.do(release(reservation))
    assert it.book.reservations[reservation.reservation_id].resolve_time == LATER
    assert it.written[-1].operations[0].time == LATER
