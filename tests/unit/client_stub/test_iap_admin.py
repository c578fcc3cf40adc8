"""`iap admin`: what the operator does."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, admin_pb2, purchase_pb2, settlement_pb2

from tests.unit.client_stub.command_line import Outcome, iap
from tests.unit.client_stub.scripted_server import ScriptedServer, refusal, serving
from tests.unit.client_stub.terminal import iap_at_terminal

ID = "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EUROS = Money(currency_code="EUR", units=7, nanos=500_000_000)
PROVIDER = admin_pb2.Provider(
    provider_id="prv_1", name="You", state=admin_pb2.PROVIDER_STATE_SUSPENDED, create_time=NOON
)
OWN_RATE = admin_pb2.Provider(provider_id="prv_2", commission_basis_points=1_250, create_time=NOON)
ACCOUNT = account_pb2.Account(account_id="acc_1", service="sms", state=account_pb2.ACCOUNT_STATE_SUSPENDED)
KEY = admin_pb2.Key(key_id="key_1", customer_id="cus_1", title="laptop", create_time=NOON, revoke_time=NOON)
PAYOUT = settlement_pb2.Payout(
    payout_id="pay_1", provider_id="prv_1", amount=EUROS, state=settlement_pb2.PAYOUT_STATE_IN_TRANSIT
)
BALANCE = settlement_pb2.GetProviderBalanceResponse(payable=[EUROS, Money(currency_code="JPY", units=300)])
GIVEN = admin_pb2.GrantCreditsResponse(
    grant=account_pb2.Grant(grant_id="grt_1", kind=account_pb2.GRANT_KIND_TRIAL, credits=5),
    balance={"available_credits": 12},
)
REFUNDED = purchase_pb2.RefundPurchaseResponse(
    purchase=purchase_pb2.Purchase(
        purchase_id="pur_1", state=purchase_pb2.PURCHASE_STATE_PARTIALLY_REFUNDED, refunded_credits=40
    ),
    refund=Money(currency_code="JPY", units=200),
)
NOTICE = admin_pb2.PaymentNotice(
    gateway="stripe",
    kind=admin_pb2.PAYMENT_NOTICE_KIND_REFUND_FAILED,
    purchase_id="pur_1",
    amount=EUROS,
    outcome=admin_pb2.PAYMENT_NOTICE_OUTCOME_WRONG_AMOUNT,
    detail="why",
    times_received=2,
    receive_time=NOON,
)
OWED = admin_pb2.PurchaseRefund(
    refund_id="rfd_1",
    purchase_id="pur_1",
    state=admin_pb2.PURCHASE_REFUND_STATE_FAILED,
    amount=EUROS,
    create_time=NOON,
    resolve_time=NOON,
)
ANSWERS: dict[str, Message] = {
    "AdminService.RegisterCustomer": admin_pb2.RegisterCustomerResponse(
        customer=admin_pb2.Customer(customer_id="cus_1", name="Ada"), customer_key="secret"
    ),
    "AdminService.RegisterProvider": admin_pb2.RegisterProviderResponse(provider=PROVIDER, provider_key="secret"),
    "AdminService.ListProviders": admin_pb2.ListProvidersResponse(providers=[PROVIDER, OWN_RATE]),
    "AdminService.SuspendProvider": admin_pb2.SuspendProviderResponse(provider=PROVIDER),
    "AdminService.ResumeProvider": admin_pb2.ResumeProviderResponse(provider=PROVIDER),
    "AdminService.SetCommission": admin_pb2.SetCommissionResponse(provider=OWN_RATE),
    "AdminService.SuspendAccount": admin_pb2.SuspendAccountResponse(account=ACCOUNT),
    "AdminService.ResumeAccount": admin_pb2.ResumeAccountResponse(account=ACCOUNT),
    "AdminService.IssueKey": admin_pb2.IssueKeyResponse(key=KEY, secret="secret"),
    "AdminService.ListKeys": admin_pb2.ListKeysResponse(keys=[KEY]),
    "AdminService.RevokeKey": admin_pb2.RevokeKeyResponse(key=KEY),
    "AdminService.GrantCredits": GIVEN,
    "AdminService.ListPaymentNotices": admin_pb2.ListPaymentNoticesResponse(notices=[NOTICE, NOTICE]),
    "AdminService.ListOwedRefunds": admin_pb2.ListOwedRefundsResponse(refunds=[OWED]),
    "AdminService.MarkRefundPaid": admin_pb2.MarkRefundPaidResponse(refund=OWED),
    "AdminService.AuditLedger": admin_pb2.AuditLedgerResponse(accounts_checked=1, entries_checked=2),
    "PurchaseService.RefundPurchase": REFUNDED,
    "SettlementService.GetProviderBalance": BALANCE,
    "SettlementService.CreatePayout": settlement_pb2.CreatePayoutResponse(payout=PAYOUT),
    "SettlementService.MarkPayoutPaid": settlement_pb2.MarkPayoutPaidResponse(payout=PAYOUT),
    "SettlementService.MarkPayoutFailed": settlement_pb2.MarkPayoutFailedResponse(payout=PAYOUT),
    "SettlementService.ListPayouts": settlement_pb2.ListPayoutsResponse(payouts=[PAYOUT]),
}
BY_REQUEST_ID = ("--request-id", ID)
# What moves money or credits, with the question that it asks.
MOVING: dict[tuple[str, ...], tuple[Message, str]] = {
    ("payout", "create", "prv_1", "EUR"): (
        settlement_pb2.CreatePayoutRequest(request_id=ID, provider_id="prv_1", currency="EUR"),
        "Pay out all that is payable to prv_1 in EUR, now EUR 7.50?",
    ),
    ("payout", "paid", "pay_1", "--reference", "SEPA 17"): (
        settlement_pb2.MarkPayoutPaidRequest(request_id=ID, payout_id="pay_1", reference="SEPA 17"),
        "Mark pay_1 as paid, for good?",
    ),
    ("payout", "failed", "pay_1", "--reason", "closed"): (
        settlement_pb2.MarkPayoutFailedRequest(request_id=ID, payout_id="pay_1", reason="closed"),
        "Mark pay_1 as failed, so that its amount is payable again?",
    ),
    ("grant", "acc_1", "5", "--kind", "trial", "--priority", "7", "--expire-time", "2026-02-01", "--reason", "sorry"): (
        admin_pb2.GrantCreditsRequest(
            request_id=ID,
            account_id="acc_1",
            credits=5,
            kind=account_pb2.GRANT_KIND_TRIAL,
            priority=7,
            expire_time=datetime(2026, 2, 1, tzinfo=UTC),
            reason="sorry",
        ),
        "Give 5 credits to acc_1?",
    ),
    ("refund", "pur_1", "--reason", "sorry"): (
        purchase_pb2.RefundPurchaseRequest(request_id=ID, purchase_id="pur_1", reason="sorry"),
        "Refund what is unspent of pur_1?",
    ),
    ("owed", "paid", "rfd_1", "--reference", "SEPA 17"): (
        admin_pb2.MarkRefundPaidRequest(request_id=ID, refund_id="rfd_1", reference="SEPA 17"),
        "Mark rfd_1 as paid by you, for good?",
    ),
}
PLAIN: dict[tuple[str, ...], tuple[Message, str]] = {
    ("customer", "register", "Ada", "--email", "a@example.com", *BY_REQUEST_ID): (
        admin_pb2.RegisterCustomerRequest(request_id=ID, name="Ada", email="a@example.com"),
        "export IAP_CUSTOMER_KEY=secret",
    ),
    ("provider", "register", "You", *BY_REQUEST_ID): (
        admin_pb2.RegisterProviderRequest(request_id=ID, name="You"),
        "IAP_PROVIDER_KEY=secret",
    ),
    ("provider", "list"): (admin_pb2.ListProvidersRequest(page_size=1_000), "the broker's"),
    ("provider", "suspend", "prv_1", "--reason", "why"): (
        admin_pb2.SuspendProviderRequest(provider_id="prv_1", reason="why"),
        "suspended",
    ),
    ("provider", "resume", "prv_1"): (admin_pb2.ResumeProviderRequest(provider_id="prv_1"), "prv_1"),
    ("account", "suspend", "acc_1", "--reason", "why"): (
        admin_pb2.SuspendAccountRequest(account_id="acc_1", reason="why"),
        "suspended",
    ),
    ("account", "resume", "acc_1"): (admin_pb2.ResumeAccountRequest(account_id="acc_1"), "acc_1"),
    ("commission", "prv_2", "--basis-points", "0"): (
        admin_pb2.SetCommissionRequest(provider_id="prv_2", commission_basis_points=0),
        "12.50 %",
    ),
    ("commission", "prv_2", "--default"): (admin_pb2.SetCommissionRequest(provider_id="prv_2"), "12.50 %"),
    ("keys", "issue", "--provider-id", "prv_1", "--title", "laptop", *BY_REQUEST_ID): (
        admin_pb2.IssueKeyRequest(request_id=ID, provider_id="prv_1", title="laptop"),
        "secret",
    ),
    ("keys", "issue", "--operator", *BY_REQUEST_ID): (
        admin_pb2.IssueKeyRequest(request_id=ID, operator=True),
        "secret",
    ),
    ("keys", "list"): (admin_pb2.ListKeysRequest(page_size=1_000), "2026-01-31 12:00:00"),
    ("keys", "list", "--customer-id", "cus_1"): (
        admin_pb2.ListKeysRequest(customer_id="cus_1", page_size=1_000),
        "laptop",
    ),
    ("keys", "revoke", "key_1"): (admin_pb2.RevokeKeyRequest(key_id="key_1"), "revoked since 2026-01-31"),
    ("payout", "list", "prv_1"): (
        settlement_pb2.ListPayoutsRequest(provider_id="prv_1", page_size=1_000),
        "in transit",
    ),
    ("notices",): (admin_pb2.ListPaymentNoticesRequest(page_size=100), "refund failed"),
    ("notices", "--outcome", "wrong-amount", "--purchase-id", "pur_1", "--limit", "1"): (
        admin_pb2.ListPaymentNoticesRequest(
            outcome=admin_pb2.PAYMENT_NOTICE_OUTCOME_WRONG_AMOUNT, purchase_id="pur_1", page_size=1
        ),
        "wrong amount",
    ),
    ("owed", "list"): (admin_pb2.ListOwedRefundsRequest(page_size=1_000), "EUR 7.50"),
    ("audit",): (admin_pb2.AuditLedgerRequest(), "1 account, 2 entries: the books agree"),
}


def a_broker() -> ScriptedServer:
    return ScriptedServer(dict(ANSWERS))


async def admin(broker: ScriptedServer, *arguments: str) -> Outcome:
    return await iap("admin", *arguments, IAP_BROKER=broker.target, IAP_OPERATOR_KEY="key_operator")


@pytest.mark.parametrize("arguments", [*PLAIN, *MOVING], ids=" ".join)
async def test_a_command_makes_its_call(arguments: tuple[str, ...]) -> None:
    request = (PLAIN | MOVING)[arguments][0]
    moving = ("--yes", *BY_REQUEST_ID) if arguments in MOVING else ()
    async with serving(a_broker()) as broker:
        table = await admin(broker, *arguments, *moving)
        document = await admin(broker, *arguments, *moving, "--json")
    assert (table.exit_code, table.errors) == (0, "")
    assert document.exit_code == 0
    assert isinstance(document.document, dict)
    assert [call.request for call in broker.calls] == [request, request]
    assert {call.metadata["authorization"] for call in broker.calls} == {"Bearer key_operator"}
    if arguments in PLAIN:
        assert PLAIN[arguments][1] in table.output


@pytest.mark.parametrize("arguments", MOVING, ids=" ".join)
async def test_money_and_credits_move_when_somebody_says_so(arguments: tuple[str, ...]) -> None:
    request, question = MOVING[arguments]
    environment: dict[str, Any] = {"IAP_OPERATOR_KEY": "key_operator"}
    for answer, moved in (("y\n", True), ("n\n", False), ("\n", False)):
        async with serving(a_broker()) as broker:
            outcome = await iap_at_terminal(
                "admin", *arguments, *BY_REQUEST_ID, answer=answer, IAP_BROKER=broker.target, **environment
            )
        assert question in outcome.errors
        assert (outcome.exit_code == 0) is moved
        sent = [call.request for call in broker.calls if type(call.request) is type(request)]
        assert sent == ([request] if moved else [])


@pytest.mark.parametrize("arguments", MOVING, ids=" ".join)
async def test_without_anybody_to_ask_nothing_moves(arguments: tuple[str, ...]) -> None:
    async with serving(a_broker()) as broker:
        outcome = await admin(broker, *arguments)
    assert outcome.exit_code == 2
    assert "say --yes" in outcome.errors
    assert [call for call in broker.calls if "GetProviderBalance" not in call.method] == []


@pytest.mark.parametrize("arguments", MOVING, ids=" ".join)
async def test_a_call_without_an_answer_says_how_to_repeat_it(arguments: tuple[str, ...]) -> None:
    async with serving(ScriptedServer()) as broker:
        for method in ANSWERS:
            broker.scripts[method] = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "too much")
        outcome = await admin(broker, *arguments, "--yes", *BY_REQUEST_ID)
    assert outcome.exit_code == 3
    assert f"--request-id {ID}" in outcome.errors


@pytest.mark.parametrize("arguments", [*PLAIN, *MOVING], ids=" ".join)
async def test_every_command_needs_the_operator_s_key(arguments: tuple[str, ...]) -> None:
    outcome = await iap("admin", *arguments, *(("--yes",) if arguments in MOVING else ()))
    assert outcome.exit_code == 2
    assert "IAP_OPERATOR_KEY" in outcome.errors


async def test_differences_in_the_books_are_named_and_fail_the_command() -> None:
    violation = admin_pb2.AuditViolation(account_id="acc_1", rule="ENTRY_COUNT", description="\x1b[2J0 is stored")
    found = admin_pb2.AuditLedgerResponse(accounts_checked=2, entries_checked=1, violations=[violation])
    async with serving(ScriptedServer({"AdminService.AuditLedger": found})) as broker:
        outcome = await admin(broker, "audit")
        document = await admin(broker, "audit", "--json")
    assert (outcome.exit_code, document.exit_code) == (1, 1)
    assert outcome.output == "ENTRY_COUNT acc_1:  [2J0 is stored\n2 accounts, 1 entry: 1 difference\n"
    assert document.document["violations"][0]["rule"] == "ENTRY_COUNT"


@pytest.mark.parametrize(
    ("rpc", "arguments", "words"),
    [
        ("RegisterCustomer", ("customer", "register", "Ada"), "registered before"),
        ("IssueKey", ("keys", "issue", "--operator"), "issued before"),
    ],
)
async def test_a_secret_is_shown_once(rpc: str, arguments: tuple[str, ...], words: str) -> None:
    answers = {
        "RegisterCustomer": admin_pb2.RegisterCustomerResponse(replayed=True),
        "IssueKey": admin_pb2.IssueKeyResponse(key=KEY, replayed=True),
    }
    async with serving(ScriptedServer({f"AdminService.{rpc}": answers[rpc]})) as broker:
        outcome = await admin(broker, *arguments)
    assert words in outcome.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keys", "issue"), "say whose the key is"),
        (("keys", "issue", "--operator", "--customer-id", "c"), "say whose the key is"),
        (("keys", "list", "--operator", "--customer-id", "c"), "at most one"),
        (("commission", "prv_1"), "either --basis-points or --default"),
        (("commission", "prv_1", "--default", "--basis-points", "1"), "either --basis-points or --default"),
        (("commission", "prv_1", "--basis-points", "10001"), "--basis-points"),
        (("grant", "acc_1", "0", "--yes"), "CREDITS"),
        (("payout", "list", "prv_1", "--csv", "--json"), "either --csv or --json"),
    ],
)
async def test_what_is_wrong_is_named(arguments: tuple[str, ...], words: str) -> None:
    outcome = await iap("admin", *arguments, IAP_OPERATOR_KEY="key_operator")
    assert outcome.exit_code == 2
    assert words in outcome.errors
