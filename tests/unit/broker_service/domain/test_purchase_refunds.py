"""Refunds of purchases: what each comes to, and what is written for it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker_service.domain.book import Changes
from broker_service.domain.commission import commission_minor_units
from broker_service.domain.errors import (
    InvariantError,
    NothingToRefund,
    PurchaseNotFound,
    PurchaseNotPaid,
    Refusal,
    RequestIdReused,
)
from broker_service.domain.journal import refund_of, refund_paid_of
from broker_service.domain.purchase_commands import CompleteSandboxPayment, PackTerms, RefundPurchase, StartPurchase
from broker_service.domain.purchase_refunds import PurchaseRefundResult, money_for
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.records import (
    MAX_CREDITS,
    Balance,
    Entry,
    EntryKind,
    JournalKind,
    Posting,
    Purchase,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
    PurchaseState,
)
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    PROVIDER,
    START,
    World,
    charge,
    new_id,
    release,
    reserve,
    world,
)

HOUR = timedelta(hours=1)
TERMS = PackTerms("pck_1", "sms", PROVIDER, "a pack", 100, None, "EUR", 1_001, 2_500, False, False, False)


def bought(**changes: object) -> tuple[World, Purchase]:
    """An account that holds nothing but a purchase, paid at START."""
    it = world()
    command = StartPurchase(new_id(), ACCOUNT, replace(TERMS, **changes), "")
    it.result(command)
    result = it.result(CompleteSandboxPayment(new_id(), ACCOUNT, command.purchase_id, succeeded=True))
    assert isinstance(result, PurchaseResult)
    it.written.clear()
    return it, result.purchase


def asked(purchase: Purchase, request_id: str = "req_1", reason: str = "a mistake") -> RefundPurchase:
    return RefundPurchase(request_id, ACCOUNT, purchase.purchase_id, reason)


def refunded(it: World, command: RefundPurchase) -> PurchaseRefundResult:
    result = it.result(command)
    assert isinstance(result, PurchaseRefundResult)
    return result


class TestMoney:
    @given(
        price=st.integers(1, 10**6) | st.integers(1, 2**62),
        basis_points=st.integers(0, 10_000),
        parts=st.lists(st.integers(1, 50) | st.integers(1, MAX_CREDITS // 20), min_size=1, max_size=20),
        unused=st.integers(0, 50),
        step=st.sampled_from([1, 10, 100]),
    )
    def test_parts_are_exact_whatever_the_rate_the_price_and_the_step(
        self, price: int, basis_points: int, parts: list[int], unused: int, step: int
    ) -> None:
        price *= step
        commission = commission_minor_units(price, basis_points)
        _, purchase = bought()
        purchase = replace(
            purchase,
            credits=sum(parts) + unused,
            price_minor_units=price,
            commission_minor_units=commission,
        )
        for part in parts:
            money = money_for(purchase, part, step_minor_units=step)
            share = money.amount_minor_units - money.commission_minor_units
            assert money.amount_minor_units >= 0
            assert money.commission_minor_units >= 0
            assert share >= 0
            assert money.amount_minor_units % step == 0
            purchase = after(purchase, part, money.amount_minor_units, money.commission_minor_units)
            exact = price * purchase.refunded_credits // purchase.credits
            assert purchase.refunded_minor_units == exact - exact % step
            share_back = purchase.refunded_minor_units - purchase.refunded_commission_minor_units
            assert 0 <= share_back <= price - commission, "nobody gives back more than they got"
            assert 0 <= purchase.refunded_commission_minor_units <= commission
        if unused == 0:
            assert purchase.refunded_minor_units == price
            assert purchase.refunded_commission_minor_units == commission

    @given(
        price=st.integers(1, 10**9),
        basis_points=st.integers(0, 10_000),
        pack_credits=st.integers(1, 10**6),
        step=st.sampled_from([1, 10, 100]),
        data=st.data(),
    )
    def test_the_way_to_the_same_credits_makes_no_difference(
        self, price: int, basis_points: int, pack_credits: int, step: int, data: st.DataObject
    ) -> None:
        _, purchase = bought()
        purchase = replace(
            purchase,
            credits=pack_credits,
            price_minor_units=price,
            commission_minor_units=commission_minor_units(price, basis_points),
        )
        total = data.draw(st.integers(1, pack_credits))
        first = data.draw(st.integers(0, total))
        at_once = money_for(purchase, total, step_minor_units=step)
        one = money_for(purchase, first, step_minor_units=step)
        rest = after(purchase, first, one.amount_minor_units, one.commission_minor_units)
        two = money_for(rest, total - first, step_minor_units=step)
        assert one.amount_minor_units + two.amount_minor_units == at_once.amount_minor_units
        assert one.commission_minor_units + two.commission_minor_units == at_once.commission_minor_units

    @pytest.mark.parametrize(
        ("price", "basis_points", "refunded_credits", "step", "amount", "commission"),
        [
            (1, 0, 99, 1, 0, 0),
            (1, 10_000, 100, 1, 1, 1),
            (1, 2_500, 100, 1, 1, 0),
            (3, 5_000, 50, 1, 1, 0),
            (1_001, 2_500, 1, 1, 10, 2),
            (5_120, 2_500, 67, 10, 3_430, 857),
            (5_120, 2_500, 67, 100, 3_400, 850),
            (5_120, 2_500, 100, 10, 5_120, 1_280),
            # Sold where there was no such step: all credits still make all of the price.
            (5_124, 10_000, 100, 10, 5_124, 5_124),
            (5_120, 10_000, 1, 100, 0, 0),
        ],
    )
    def test_a_part_is_rounded_down(
        self, price: int, basis_points: int, refunded_credits: int, step: int, amount: int, commission: int
    ) -> None:
        _, purchase = bought(price_minor_units=price, commission_basis_points=basis_points)
        money = money_for(purchase, refunded_credits, step_minor_units=step)
        assert (money.amount_minor_units, money.commission_minor_units) == (amount, commission)


def after(purchase: Purchase, part: int, amount: int, commission: int) -> Purchase:
    return replace(
        purchase,
        refunded_credits=purchase.refunded_credits + part,
        refunded_minor_units=purchase.refunded_minor_units + amount,
        refunded_commission_minor_units=purchase.refunded_commission_minor_units + commission,
    )


class TestRows:
    def test_a_refund_writes_the_money_the_credits_and_the_record(self) -> None:
        it, purchase = bought()
        it.do(charge(33))
        it.written.clear()
        it.now = START + HOUR
        command = asked(purchase)
        result = refunded(it, command)
        (changes,) = it.written
        refund = PurchaseRefund(
            account_id=ACCOUNT,
            refund_id=command.refund_id,
            purchase_id=purchase.purchase_id,
            kind=PurchaseRefundKind.REFUND,
            state=PurchaseRefundState.REQUESTED,
            credits=67,
            currency="EUR",
            amount_minor_units=670,
            commission_minor_units=167,
            reason="a mistake",
            fingerprint=command.fingerprint,
            gateway_reference="",
            create_time=START + HOUR,
            resolve_time=None,
        )
        (grant,), (entry,), (journal_entry,), (event,) = (
            changes.grants,
            changes.entries,
            changes.journal_entries,
            changes.events,
        )
        partly = replace(
            purchase,
            state=PurchaseState.PARTIALLY_REFUNDED,
            refunded_credits=67,
            refunded_minor_units=670,
            refunded_commission_minor_units=167,
        )
        assert result == PurchaseRefundResult(partly, refund)
        assert (changes.purchases, changes.purchase_refunds) == ((partly,), (refund,))
        assert (grant.remaining_credits, grant.reserved_credits, changes.account) == (0, 0, it.account)
        assert entry == Entry(
            *(ACCOUNT, 3, EntryKind.PURCHASE_REFUND, -67, entry.counterpart, 0, START + HOUR, None),
            *(purchase.purchase_id, "a mistake"),
        )
        assert entry.counterpart == "refunded_purchase"
        assert journal_entry == refund_of(PROVIDER, refund)
        assert (journal_entry.journal_entry_id, journal_entry.kind) == (
            f"refund:{refund.refund_id}",
            JournalKind.REFUND,
        )
        assert journal_entry.postings == (
            Posting("refunds_in_transit", "EUR", -670),
            Posting(f"provider_payable:{PROVIDER}", "EUR", 503),
            Posting("commission", "EUR", 167),
        )
        assert event.data == {
            "purchase_id": purchase.purchase_id,
            "refund_id": refund.refund_id,
            "kind": "REFUND",
            "purchase_state": "PARTIALLY_REFUNDED",
            "credits": 67,
            "reserved_credits": 0,
            "used_credits": 33,
            "currency": "EUR",
            "amount_minor_units": 670,
            "commission_minor_units": 167,
            "provider_share_minor_units": 503,
            "ledger_credits": 0,
        }
        assert refunded(it, command) == replace(result, replayed=True)
        assert it.written[1:] == [Changes()]

    def test_all_credits_are_the_whole_price(self) -> None:
        it, purchase = bought()
        result = refunded(it, asked(purchase))
        assert (result.purchase.state, result.refund.amount_minor_units) == (PurchaseState.REFUNDED, 1_001)
        assert it.balance == Balance(0, 0)

    def test_what_is_reserved_stays(self) -> None:
        it, purchase = bought()
        reservation = it.do(reserve(40)).reservation
        assert refunded(it, asked(purchase)).refund.credits == 60
        assert it.balance == Balance(40, 40)
        it.do(release(reservation))
        second = refunded(it, asked(purchase, "req_2"))
        assert (second.refund.credits, second.refund.amount_minor_units) == (40, 401)
        assert second.purchase.state is PurchaseState.REFUNDED

    def test_a_refund_that_is_paid_without_a_time_is_none(self) -> None:
        it, purchase = bought()
        refund = refunded(it, asked(purchase)).refund
        with pytest.raises(InvariantError, match=f"refund {refund.refund_id} is paid without a time"):
            refund_paid_of(PROVIDER, refund)

    def test_a_paid_purchase_without_a_grant_stops_everything(self) -> None:
        it, purchase = bought()
        it.book.grants.clear()
        it.book.account = replace(it.account, ledger_credits=0)
        with pytest.raises(InvariantError, match=f"purchase {purchase.purchase_id} is paid and has no grant"):
            it.decide(asked(purchase))


class TestRefusals:
    def refusal(self, it: World, command: RefundPurchase) -> Refusal:
        (outcome,) = it.decide(command)
        assert isinstance(outcome, Refusal)
        return outcome

    def test_an_unknown_purchase(self) -> None:
        refusal = self.refusal(world(), RefundPurchase("req_1", ACCOUNT, "pur_x", ""))
        assert (type(refusal), refusal.facts) == (PurchaseNotFound, {"purchase_id": "pur_x"})

    @pytest.mark.parametrize("state", [PurchaseState.PENDING, PurchaseState.FAILED])
    def test_a_purchase_that_was_not_paid(self, state: PurchaseState) -> None:
        it, purchase = bought()
        it.book.purchases[purchase.purchase_id] = replace(purchase, state=state)
        refusal = self.refusal(it, asked(purchase))
        assert (type(refusal), refusal.facts) == (PurchaseNotPaid, {"purchase_id": purchase.purchase_id})

    def test_a_purchase_that_was_charged_back(self) -> None:
        it, purchase = bought()
        it.book.purchases[purchase.purchase_id] = replace(purchase, state=PurchaseState.CHARGED_BACK)
        refusal = self.refusal(it, asked(purchase))
        assert (type(refusal), refusal.facts) == (NothingToRefund, {"purchase_id": purchase.purchase_id})

    def test_credits_that_are_gone(self) -> None:
        it, purchase = bought()
        it.do(charge(100))
        assert isinstance(self.refusal(it, asked(purchase)), NothingToRefund)

    def test_credits_that_have_expired(self) -> None:
        it, purchase = bought(validity=HOUR)
        it.now = START + HOUR
        assert isinstance(self.refusal(it, asked(purchase)), NothingToRefund)

    def test_another_reason_or_purchase_under_the_same_id(self) -> None:
        it, purchase = bought()
        refunded(it, asked(purchase))
        refusal = self.refusal(it, asked(purchase, reason="another"))
        assert (type(refusal), refusal.facts) == (RequestIdReused, {"request_id": "req_1", "rpc": "RefundPurchase"})
