"""Which rows a command has to be decided on."""

import pytest

from broker_service.domain.commands import ChangeAccountState, Command, OpenAccount, RotateToken, Settle
from broker_service.domain.identities import purchase_refund_id_for
from broker_service.domain.purchase_commands import (
    CompleteSandboxPayment,
    PackTerms,
    SettleRefund,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.records import AccountState, PaymentNoticeKind, Reservation
from broker_service.domain.references import References, references_of
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    TICK,
    capture,
    charge,
    extend,
    gift,
    grant,
    refund,
    release,
    reserve,
    world,
)


def a_reservation() -> Reservation:
    return world(grant(10)).reserve(4)


@pytest.mark.parametrize("command", [reserve(1), charge(1)])
def test_what_makes_a_reservation_looks_whether_it_is_there(command: Command) -> None:
    assert references_of([command]) == References(
        accounts={ACCOUNT},
        reservations={command.reservation_id},  # type: ignore[union-attr]
    )


@pytest.mark.parametrize("ask", [capture, release, extend])
def test_what_changes_a_reservation_looks_at_it_and_whether_it_was_done_before(ask: object) -> None:
    command = ask(a_reservation())  # type: ignore[operator]
    assert references_of([command]) == References(
        accounts={ACCOUNT}, reservations={command.reservation_id}, operations={command.operation_id}
    )


def test_a_refund_looks_at_the_reservation_s_grants_too_spent_or_not() -> None:
    command = refund(a_reservation())
    assert references_of([command]) == References(
        accounts={ACCOUNT},
        reservations={command.reservation_id},
        refunds={command.reservation_id},
        operations={command.operation_id},
    )


def test_a_gift_looks_at_its_grant_spent_or_not_and_whether_it_was_given_before() -> None:
    command = gift(1)
    assert references_of([command]) == References(
        accounts={ACCOUNT}, grants={command.grant_id}, operations={command.operation_id}
    )


def test_a_rotation_looks_at_the_tokens_and_whether_it_was_done_before() -> None:
    command = RotateToken("req_1", ACCOUNT, "cus_c", TICK, "hash")
    assert references_of([command]) == References(
        accounts={ACCOUNT}, token_accounts={ACCOUNT}, operations={command.operation_id}
    )


def test_opening_an_account_looks_at_its_tokens_and_at_the_customer_s_trial_of_the_service() -> None:
    command = OpenAccount("req_1", ACCOUNT, "cus_c", "prv_p", "sms", False, 5, "hash")
    assert references_of([command]) == References(
        accounts={ACCOUNT}, token_accounts={ACCOUNT}, trial_claims={("cus_c", "sms")}
    )


def test_a_purchase_looks_whether_it_is_there_and_its_payment_whether_it_ended_before() -> None:
    pack = PackTerms("pck_1", "sms", "prv_p", "", 1, None, "EUR", 1, 0, False, False, False)
    purchase = StartPurchase("req_1", ACCOUNT, pack, "")
    payment = CompleteSandboxPayment("req_1", ACCOUNT, "pur_x", True)
    assert references_of([purchase]) == References(accounts={ACCOUNT}, purchases={purchase.purchase_id})
    assert references_of([payment]) == References(
        accounts={ACCOUNT},
        purchases={"pur_x"},
        operations={payment.operation_id},
        payment_notices={payment.notice.notice_id},
        method_accounts={ACCOUNT},
    )


@pytest.mark.parametrize("kind", [PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED])
def test_the_end_of_a_refund_looks_at_it_if_it_is_the_account_s_own(kind: PaymentNoticeKind) -> None:
    own = purchase_refund_id_for(ACCOUNT, "RefundPurchase", "req_1")
    for refund_id, named in (
        (own, {own}),
        (purchase_refund_id_for("acc_" + "b" * 24, "RefundPurchase", "req_1"), set()),
        ("no refund", set()),
        ("", set()),
    ):
        notice = TakePaymentNotice(ACCOUNT, "stripe", "evt_1", kind, "pur_x", refund_id=refund_id)
        assert references_of([notice]) == References(
            accounts={ACCOUNT}, purchases={"pur_x"}, payment_notices={notice.notice_id}, purchase_refunds=named
        )


def test_a_refund_that_is_paid_otherwise_is_looked_at_and_whether_it_was_done_before() -> None:
    refund_id = purchase_refund_id_for(ACCOUNT, "RefundPurchase", "req_1")
    command = SettleRefund("req_2", ACCOUNT, "pur_x", refund_id, "")
    assert references_of([command]) == References(
        accounts={ACCOUNT},
        purchases={"pur_x"},
        purchase_refunds={refund_id},
        payment_notices={command.notice.notice_id},
        operations={command.operation_id},
    )


@pytest.mark.parametrize("command", [Settle(ACCOUNT), ChangeAccountState(ACCOUNT, AccountState.SUSPENDED, "", "chg_1")])
def test_what_needs_the_account_alone_names_it_alone(command: Command) -> None:
    assert references_of([command]) == References(accounts={ACCOUNT})


def test_a_batch_names_what_each_of_its_commands_names() -> None:
    one, two = reserve(1), charge(1, account_id="acc_" + "b" * 24)
    assert references_of([one, two, Settle("acc_c")]) == References(
        accounts={ACCOUNT, two.account_id, "acc_c"}, reservations={one.reservation_id, two.reservation_id}
    )
    assert references_of([]) == References()
