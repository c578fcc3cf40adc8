"""What the broker asks of Stripe without a customer, against a double that is a real server."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.records import (
    PaymentNoticeKind,
    Purchase,
    PurchaseOrigin,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
    PurchaseState,
)
from broker_service.payments.gateway import GatewayError, PaymentDeclinedError, PaymentMethod
from broker_service.payments.stripe_gateway import StripeGateway
from tests.stripe_double.api import (
    CARD_DECLINED,
    CARD_GOOD,
    CARD_NEEDS_CUSTOMER,
    CARD_SLOW,
    SECRET_KEY,
    Trouble,
)
from tests.stripe_double.server import WEBHOOK_SECRET, StripeDouble, running_stripe

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SUCCEEDED, FAILED = PaymentNoticeKind.SUCCEEDED, PaymentNoticeKind.FAILED


@pytest.fixture
async def stripe() -> AsyncIterator[StripeDouble]:
    async with running_stripe() as double:
        double.api.clock = lambda: NOW
        yield double


@pytest.fixture
async def gateway(stripe: StripeDouble) -> AsyncIterator[StripeGateway]:
    made = new_gateway(stripe.url)
    yield made
    await made.close()


def new_gateway(api_url: str, secret_key: str = SECRET_KEY) -> StripeGateway:
    return StripeGateway(
        secret_key=secret_key, webhook_secret=WEBHOOK_SECRET, api_url=api_url, own_url="https://pay.example"
    )


def purchase(**changed: object) -> Purchase:
    made = Purchase(
        account_id="acc_1",
        purchase_id="pur_1",
        provider_id="prv_1",
        service="sms",
        pack_id="pck_1",
        pack_title="Pack",
        credits=100,
        validity=None,
        currency="EUR",
        price_minor_units=1_000,
        commission_minor_units=250,
        state=PurchaseState.PENDING,
        fingerprint="",
        create_time=NOW,
        pay_time=None,
        origin=PurchaseOrigin.AUTO_TOP_UP,
        gateway="stripe",
        gateway_reference="",
        checkout_url="",
        return_url="",
        checkout_expire_time=NOW + timedelta(hours=24),
    )
    return replace(made, **changed)


def refund(**changed: object) -> PurchaseRefund:
    made = PurchaseRefund(
        account_id="acc_1",
        refund_id="ref_1",
        purchase_id="pur_1",
        kind=PurchaseRefundKind.REFUND,
        state=PurchaseRefundState.REQUESTED,
        credits=50,
        currency="EUR",
        amount_minor_units=500,
        commission_minor_units=125,
        reason="",
        fingerprint="",
        gateway_reference="",
        create_time=NOW,
        resolve_time=None,
    )
    return replace(made, **changed)


async def test_a_charge_takes_the_price(stripe: StripeDouble, gateway: StripeGateway) -> None:
    method = PaymentMethod("cus_1", CARD_GOOD)
    notice = await gateway.charge(purchase(), method)
    assert notice is not None
    (payment,) = stripe.api.payments.values()
    assert (notice.kind, notice.purchase_id, notice.gateway_reference) == (SUCCEEDED, "pur_1", payment["id"])
    assert (notice.currency, notice.amount_minor_units, notice.method) == ("EUR", 1_000, method)
    assert stripe.api.idempotency_keys == ["pur_1"]
    assert payment["metadata"] == {"purchase_id": "pur_1", "off_session": "true"}


@pytest.mark.parametrize(
    ("card", "detail"), [(CARD_DECLINED, "insufficient_funds"), (CARD_NEEDS_CUSTOMER, "authentication_required")]
)
async def test_a_charge_that_is_declined_fails_the_purchase(gateway: StripeGateway, card: str, detail: str) -> None:
    first = await gateway.charge(purchase(), PaymentMethod("cus_1", card))
    assert first is not None
    assert (first.kind, first.detail) == (FAILED, detail)
    # The same answer to the same question, now with the payment that was refused.
    again = await gateway.charge(purchase(), PaymentMethod("cus_1", card))
    assert again is not None
    assert (again.kind, again.detail, again.gateway_event_id) == (FAILED, detail, first.gateway_event_id)


async def test_a_charge_that_takes_days_says_nothing_yet(gateway: StripeGateway) -> None:
    assert await gateway.charge(purchase(), PaymentMethod("cus_1", CARD_SLOW)) is None


async def test_a_charge_whose_answer_is_lost_is_taken_once(stripe: StripeDouble, gateway: StripeGateway) -> None:
    # More often than the library itself tries again.
    stripe.api.troubles.append(Trouble("/payment_intents", count=3, loses_answer=True))
    method = PaymentMethod("cus_1", CARD_GOOD)
    with pytest.raises(GatewayError):
        await gateway.charge(purchase(), method)
    notice = await gateway.charge(purchase(), method)
    assert notice is not None
    assert notice.kind is SUCCEEDED
    assert len(stripe.api.payments) == 1


@pytest.mark.parametrize("card", [CARD_GOOD, CARD_DECLINED, CARD_SLOW])
async def test_a_charge_asked_for_again_after_days_is_taken_once(
    stripe: StripeDouble, gateway: StripeGateway, card: str
) -> None:
    first = await gateway.charge(purchase(), PaymentMethod("cus_1", card))
    stripe.api.forget_keys()
    again = await gateway.charge(purchase(), PaymentMethod("cus_1", card))
    assert len(stripe.api.payments) == 1
    assert (first is None) == (again is None)
    if first is not None and again is not None:
        assert (first.kind, first.detail, first.amount_minor_units) == (
            again.kind,
            again.detail,
            again.amount_minor_units,
        )


async def test_a_refund_asked_for_again_after_days_is_paid_once(stripe: StripeDouble, gateway: StripeGateway) -> None:
    checkout = await gateway.create_checkout(purchase())
    payment = stripe.api.pay(stripe.api.sessions[checkout.gateway_reference])
    paid = purchase(gateway_reference=payment["id"])
    first = await gateway.refund(paid, refund())
    stripe.api.forget_keys()
    assert await gateway.refund(paid, refund()) == first
    await gateway.refund(paid, refund(refund_id="ref_2"))
    assert [it["amount"] for it in stripe.api.refunds.values()] == [500, 500]


async def test_what_cannot_be_looked_for_is_not_asked_for(stripe: StripeDouble, gateway: StripeGateway) -> None:
    """A refund or charge that may be there already must not be made a second time."""
    error = {"kind": "invalid_request_error", "code": "some_code"}
    for path in ("/refunds", "/payment_intents"):
        stripe.api.troubles.append(Trouble(path, method="GET", status=400, error=error))
    with pytest.raises(GatewayError):
        await gateway.refund(purchase(gateway_reference="pi_1"), refund())
    with pytest.raises(GatewayError):
        await gateway.charge(purchase(), PaymentMethod("cus_1", CARD_GOOD))
    assert stripe.api.requests == []


async def test_a_charge_too_fine_for_stripe_is_not_asked_for(stripe: StripeDouble, gateway: StripeGateway) -> None:
    fine = purchase(currency="KWD", price_minor_units=5_124)
    notice = await gateway.charge(fine, PaymentMethod("cus_1", CARD_GOOD))
    assert notice is not None
    assert (notice.kind, "KWD" in notice.detail) == (FAILED, True)
    assert stripe.api.requests == []


async def test_a_refund_too_fine_for_stripe_fails(stripe: StripeDouble, gateway: StripeGateway) -> None:
    notice = await gateway.refund(purchase(currency="KWD"), refund(currency="KWD", amount_minor_units=5_124))
    assert notice is not None
    assert (notice.kind, notice.refund_id) == (PaymentNoticeKind.REFUND_FAILED, "ref_1")
    assert stripe.api.requests == []


async def test_a_refund_finds_the_payment_of_a_session(stripe: StripeDouble, gateway: StripeGateway) -> None:
    checkout = await gateway.create_checkout(purchase())
    payment = stripe.api.pay(stripe.api.sessions[checkout.gateway_reference])
    notice = await gateway.refund(purchase(gateway_reference=checkout.gateway_reference), refund())
    assert notice is not None
    (made,) = stripe.api.refunds.values()
    assert (made["payment_intent"], made["amount"]) == (payment["id"], 500)
    assert (notice.kind, notice.gateway_reference) == (PaymentNoticeKind.REFUND_SUCCEEDED, made["id"])
    assert (notice.currency, notice.amount_minor_units) == ("EUR", 500)


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        (timedelta(minutes=1), timedelta(minutes=35)),
        (timedelta(hours=2), timedelta(hours=2)),
        (timedelta(hours=24), timedelta(hours=23, minutes=55)),
        (timedelta(days=30), timedelta(hours=23, minutes=55)),
    ],
)
async def test_a_session_lives_as_long_as_stripe_allows(
    stripe: StripeDouble, gateway: StripeGateway, lifetime: timedelta, expected: timedelta
) -> None:
    await gateway.create_checkout(purchase(checkout_expire_time=NOW + lifetime))
    assert stripe.api.requests[-1][1]["expires_at"] == str(int((NOW + expected).timestamp()))


async def test_the_same_checkout_is_the_same_session(stripe: StripeDouble, gateway: StripeGateway) -> None:
    first = await gateway.create_checkout(purchase())
    of_another_process = new_gateway(stripe.url)
    assert await of_another_process.create_checkout(purchase()) == first
    await of_another_process.close()
    assert len(stripe.api.sessions) == 1


async def test_what_is_asked_otherwise_under_the_same_id_is_unclear(gateway: StripeGateway) -> None:
    await gateway.create_checkout(purchase())
    with pytest.raises(GatewayError):
        await gateway.create_checkout(purchase(price_minor_units=2_000))


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", PaymentDeclinedError),
        (402, "card_error", PaymentDeclinedError),
        (403, "invalid_request_error", GatewayError),
        (404, "invalid_request_error", PaymentDeclinedError),
        (409, "invalid_request_error", GatewayError),
        (429, "rate_limit_error", GatewayError),
        (500, "api_error", GatewayError),
        (503, "api_error", GatewayError),
    ],
)
async def test_a_refusal_is_told_from_an_unclear_answer(
    stripe: StripeDouble, gateway: StripeGateway, status: int, kind: str, raised: type[Exception]
) -> None:
    stripe.api.troubles.append(Trouble("/sessions", status=status, error={"kind": kind, "code": "some_code"}))
    with pytest.raises(raised, match=r"\bStripe\b") as error:
        await gateway.create_checkout(purchase())
    assert "message of" not in str(error.value)


async def test_a_wrong_key_is_unclear_and_is_not_told(stripe: StripeDouble) -> None:
    gateway = new_gateway(stripe.url, "sk_live_of_somebody_else")
    with pytest.raises(GatewayError) as error:
        await gateway.create_checkout(purchase())
    await gateway.close()
    assert "sk_live" not in str(error.value)


async def test_nobody_there_is_unclear() -> None:
    gateway = new_gateway("http://127.0.0.1:1")
    with pytest.raises(GatewayError):
        await gateway.create_checkout(purchase())
    await gateway.close()
