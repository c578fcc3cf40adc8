"""The books as the clients were told them, added up from their journals alone, in the plainest way there is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from iap.broker.v1 import account_pb2, broker_pb2

from tests.chaos.clients import SHORT_TTL
from tests.chaos.journal import Record
from tests.contract.broker_world.world import Amounts

# Of each entry of a statement: its kind, its reservation, its credits.
EntryLine = tuple[int, str, int]


@dataclass(slots=True)
class ToldReservation:
    """What is known of a reservation. `lives_shortly`: it has expired by now, unless it was ended before."""

    account_id: str
    lives_shortly: bool = False
    state: int = broker_pb2.RESERVATION_STATE_ACTIVE
    reserved: int = 0
    captured: int = 0
    released: int = 0
    refunded: int = 0

    def end(self, state: int) -> int:
        """Releases what is left; returns how much that was."""
        left = self.reserved - self.captured
        self.state, self.released = state, left
        return left


@dataclass(slots=True)
class ToldAccount:
    """What is known of an account."""

    entries: Counter[EntryLine] = field(default_factory=Counter)
    ledger: int = 0

    def enter(self, kind: int, reservation_id: str, amount: int) -> None:
        self.entries[kind, reservation_id, amount] += 1
        self.ledger += amount


class ToldBooks:
    """All accounts and reservations. Holds each answer to what its request asked for."""

    def __init__(self, trial_credits: dict[str, int]) -> None:
        self.accounts = {account_id: ToldAccount() for account_id in trial_credits}
        self.reservations: dict[str, ToldReservation] = {}
        for account_id, amount in trial_credits.items():
            self.accounts[account_id].enter(account_pb2.ENTRY_KIND_TRIAL, "", amount)

    def add(self, records: Iterable[Record]) -> None:
        """Adds a client's records, all of them settled, in the order in which it made its requests."""
        for record in records:
            assert not record.unanswered
            if record.response is not None:
                getattr(self, f"_add_{record.rpc.lower()}")(record.request, record.response)

    def expire(self) -> None:
        """Ends what lived for a second."""
        for told in self.reservations.values():
            if told.lives_shortly and told.state == broker_pb2.RESERVATION_STATE_ACTIVE:
                told.end(broker_pb2.RESERVATION_STATE_EXPIRED)

    def balance(self, account_id: str) -> Amounts:
        """Returns the ledger, reserved and available credits."""
        active = broker_pb2.RESERVATION_STATE_ACTIVE
        reservations = [it for it in self.reservations.values() if (it.account_id, it.state) == (account_id, active)]
        reserved = sum(it.reserved - it.captured for it in reservations)
        ledger = self.accounts[account_id].ledger
        return ledger, reserved, ledger - reserved

    def captured_credits(self) -> int:
        return sum(it.captured for it in self.reservations.values())

    def _add_reserve(self, request: Any, response: Any) -> None:
        short = request.ttl.ToTimedelta() <= SHORT_TTL
        self._new(
            response.reservation, ToldReservation(response.reservation.account_id, short, reserved=request.credits)
        )

    def _add_charge(self, request: Any, response: Any) -> None:
        made = response.reservation
        told = ToldReservation(made.account_id, reserved=request.credits)
        self._new(made, told)
        self._capture(made.reservation_id, request.credits)
        told.end(broker_pb2.RESERVATION_STATE_CAPTURED)

    def _add_extend(self, request: Any, _response: Any) -> None:
        self.reservations[request.reservation_id].reserved += request.additional_credits

    def _add_capture(self, request: Any, response: Any) -> None:
        told = self.reservations[request.reservation_id]
        left = told.reserved - told.captured
        asked = request.credits if request.HasField("credits") else left
        assert response.captured_credits == asked
        assert response.released_credits == (0 if request.keep_open else left - asked)
        self._capture(request.reservation_id, asked)
        if not request.keep_open:
            told.end(broker_pb2.RESERVATION_STATE_CAPTURED)

    def _add_release(self, request: Any, _response: Any) -> None:
        self.reservations[request.reservation_id].end(broker_pb2.RESERVATION_STATE_RELEASED)

    def _add_refund(self, request: Any, response: Any) -> None:
        told = self.reservations[request.reservation_id]
        asked = request.credits if request.HasField("credits") else told.captured - told.refunded
        assert response.refunded_credits == asked
        told.refunded += asked
        self.accounts[told.account_id].enter(account_pb2.ENTRY_KIND_REFUND, request.reservation_id, asked)

    def _add_grantcredits(self, request: Any, response: Any) -> None:
        assert response.grant.credits == request.credits
        self.accounts[request.account_id].enter(account_pb2.ENTRY_KIND_PROMOTIONAL, "", request.credits)

    def _new(self, made: broker_pb2.Reservation, told: ToldReservation) -> None:
        assert self.reservations.setdefault(made.reservation_id, told) is told, "one request, one reservation"

    def _capture(self, reservation_id: str, amount: int) -> None:
        told = self.reservations[reservation_id]
        told.captured += amount
        if amount:
            self.accounts[told.account_id].enter(account_pb2.ENTRY_KIND_CAPTURE, reservation_id, -amount)
