"""Whole purchases through Stripe: what is asked of it, what it tells, and what comes of both."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import purchase_pb2

from tests.contract.broker_http.shops import StripeShop
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import new_id
from tests.stripe_double.api import Trouble


async def test_a_checkout_session_says_what_is_sold(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start(title="A hundred", return_url="https://shop.example/back")
    path, asked = stripe_shop.stripe.api.requests[-1]
    assert path == "/v1/checkout/sessions"
    expire_time = sale.purchase.create_time.ToSeconds() + 24 * 3_600 - 300
    product = {"name": "A hundred", "description": f"100 credits for {sale.account.service}"}
    assert asked == {
        "mode": "payment",
        "client_reference_id": sale.purchase_id,
        "metadata": {"purchase_id": sale.purchase_id},
        "line_items": {
            "0": {
                "quantity": "1",
                "price_data": {"currency": "eur", "unit_amount": "1000", "product_data": product},
            }
        },
        "adaptive_pricing": {"enabled": "false"},
        "payment_intent_data": {"metadata": {"purchase_id": sale.purchase_id}},
        "success_url": "https://shop.example/back",
        "cancel_url": "https://shop.example/back",
        "expires_at": str(expire_time),
    }
    assert stripe_shop.stripe.api.idempotency_keys[-1] == sale.purchase_id
    assert sale.purchase.gateway == "stripe"


async def test_a_method_is_kept_only_where_the_customer_asks_for_it(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start(saves_method=True)
    _, asked = stripe_shop.stripe.api.requests[-1]
    assert asked["customer_creation"] == "always"
    named = {"purchase_id": sale.purchase_id}
    assert asked["payment_intent_data"] == {"setup_future_usage": "off_session", "metadata": named}


async def test_without_a_return_url_the_payer_comes_to_the_broker_s_page(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    assert sale.session["success_url"] == f"{stripe_shop.url}/checkout/{sale.purchase_id}"


@pytest.mark.parametrize(
    ("price", "currency", "amount"),
    [
        (Money(currency_code="JPY", units=500), "jpy", 500),
        (Money(currency_code="ISK", units=5), "isk", 500),
        (Money(currency_code="UGX", units=60_000), "ugx", 6_000_000),
        (Money(currency_code="MGA", units=123), "mga", 123),
        (Money(currency_code="KWD", units=5, nanos=120_000_000), "kwd", 5_120),
    ],
)
async def test_prices_are_written_and_read_by_stripe_s_rules(
    stripe_shop: StripeShop, price: Money, currency: str, amount: int
) -> None:
    sale, _ = await stripe_shop.paid(price=price)
    assert (sale.session["currency"], sale.session["amount_total"]) == (currency, amount)
    assert await stripe_shop.credits(sale) == 100
    assert (await stripe_shop.refund(sale)).refund == price


async def test_a_price_too_fine_for_stripe_fails_the_purchase(stripe_shop: StripeShop) -> None:
    account = await stripe_shop.world.new_account()
    pack = await stripe_shop.world.new_pack(
        account.service, price=Money(currency_code="KWD", units=5, nanos=124_000_000)
    )
    made = await stripe_shop.create_purchase(account, pack.pack_id)
    assert (made.purchase.state, made.checkout_url) == (purchase_pb2.PURCHASE_STATE_FAILED, "")


async def test_a_currency_that_stripe_does_not_take_is_refused(stripe_shop: StripeShop) -> None:
    account = await stripe_shop.world.new_account()
    pack = await stripe_shop.world.new_pack(account.service, price=Money(currency_code="IQD", units=5))
    refusal = await refusal_of(stripe_shop.create_purchase(account, pack.pack_id))
    assert refusal.reason == "CURRENCY_NOT_SUPPORTED"


async def test_a_payment_puts_the_credits_on_the_account(stripe_shop: StripeShop) -> None:
    sale, payment = await stripe_shop.paid(saves_method=True)
    assert await stripe_shop.credits(sale) == 100
    ((reference,),) = stripe_shop.world.running.sql(
        "SELECT gateway_reference FROM purchases WHERE purchase_id = ?", sale.purchase_id
    )
    assert reference == payment["id"]
    methods = stripe_shop.world.running.sql(
        "SELECT gateway, customer_reference, method_reference FROM payment_methods WHERE account_id = ?",
        sale.account.id,
    )
    assert methods == [("stripe", payment["customer"], payment["payment_method"])]


async def test_a_payment_that_takes_days_is_paid_when_it_has_come(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    assert await stripe_shop.tell("checkout.session.completed", sale.session) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("PENDING", 0)
    stripe_shop.stripe.api.pay(sale.session)
    assert await stripe_shop.tell("checkout.session.async_payment_succeeded", sale.session) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("PAID", 100)


@pytest.mark.parametrize("kind", ["checkout.session.expired", "checkout.session.async_payment_failed"])
async def test_a_session_that_ends_unpaid_fails_the_purchase(stripe_shop: StripeShop, kind: str) -> None:
    sale = await stripe_shop.start()
    assert await stripe_shop.tell(kind, sale.session) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("FAILED", 0)


async def test_a_card_that_is_declined_on_the_page_leaves_the_purchase_open(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    payment = stripe_shop.stripe.api.pay(sale.session) | {"status": "requires_payment_method"}
    assert await stripe_shop.tell("payment_intent.payment_failed", payment) == 200
    assert await stripe_shop.state(sale) == "PENDING"


async def test_a_payment_after_the_session_had_expired_still_counts(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    payment = stripe_shop.stripe.api.pay(sale.session)
    assert await stripe_shop.tell("checkout.session.expired", sale.session) == 200
    assert await stripe_shop.tell("checkout.session.completed", sale.session) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("PAID", 100)
    assert payment["amount_received"] == 1_000


async def test_a_lost_answer_opens_one_session(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    before = len(api.sessions)
    trouble = Trouble("/checkout/sessions", loses_answer=True)
    api.troubles.append(trouble)
    sale = await stripe_shop.start()
    assert trouble.count == 0
    assert len(api.sessions) == before + 1
    assert api.idempotency_keys[-2:] == [sale.purchase_id] * 2


async def test_a_gateway_that_does_not_answer_leaves_a_purchase_that_waits(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    account = await stripe_shop.world.new_account()
    pack = await stripe_shop.world.new_pack(account.service)
    request_id = new_id()
    for status, error in (
        (500, {"kind": "api_error"}),
        (429, {"kind": "rate_limit_error", "code": "rate_limit"}),
        (401, {"kind": "invalid_request_error", "code": "api_key_expired"}),
    ):
        api.troubles.append(Trouble("/checkout/sessions", status=status, error=error))
        refusal = await refusal_of(stripe_shop.create_purchase(account, pack.pack_id, request_id=request_id))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "GATEWAY_UNAVAILABLE")
        assert "expired" not in refusal.message
    made = await stripe_shop.create_purchase(account, pack.pack_id, request_id=request_id)
    assert made.replayed
    assert made.checkout_url


async def test_a_session_that_stripe_refuses_fails_the_purchase(stripe_shop: StripeShop) -> None:
    account = await stripe_shop.world.new_account()
    pack = await stripe_shop.world.new_pack(account.service)
    error = {"kind": "invalid_request_error", "code": "amount_too_small", "param": "line_items"}
    stripe_shop.stripe.api.troubles.append(Trouble("/checkout/sessions", status=400, error=error))
    made = await stripe_shop.create_purchase(account, pack.pack_id)
    assert made.checkout_url == ""
    ((detail,),) = stripe_shop.world.running.sql(
        "SELECT detail FROM payment_notices WHERE purchase_id = ?", made.purchase.purchase_id
    )
    assert "amount_too_small" in detail


async def test_sessions_of_one_request_asked_for_at_once_are_one(stripe_shop: StripeShop) -> None:
    account = await stripe_shop.world.new_account()
    pack = await stripe_shop.world.new_pack(account.service)
    request_id = new_id()
    made = await asyncio.gather(
        *(stripe_shop.create_purchase(account, pack.pack_id, request_id=request_id) for _ in range(4))
    )
    assert len({answer.checkout_url for answer in made}) == 1


async def test_a_refund_is_paid_back_once(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    sale, payment = await stripe_shop.paid()
    trouble = Trouble("/refunds", loses_answer=True)
    api.troubles.append(trouble)
    request_id = new_id()
    made = await stripe_shop.refund(sale, request_id=request_id)
    assert made.refund == Money(currency_code="EUR", units=10)
    assert (await stripe_shop.refund(sale, request_id=request_id)).replayed
    (refund,) = [it for it in api.refunds.values() if it["payment_intent"] == payment["id"]]
    assert trouble.count == 0
    assert (refund["amount"], refund["metadata"]["purchase_id"]) == (1_000, sale.purchase_id)
    assert await refund_states(stripe_shop, sale.purchase_id) == [("PAID", refund["id"])]
    # Stripe tells of it, too.
    assert await stripe_shop.tell("refund.updated", refund) == 200
    assert await stripe_shop.tell("charge.refunded", api.charge_of(payment)) == 200
    assert [row[1] for row in stripe_shop.notices(sale)].count("APPLIED") == 2
    assert await stripe_shop.state(sale) == "REFUNDED"


@pytest.mark.parametrize(
    ("price", "refunded", "at_stripe"),
    [
        # 67 of 100 credits are 3.430… and 8_250.40…; Stripe takes no thousandths, and whole ariary only.
        (
            Money(currency_code="KWD", units=5, nanos=120_000_000),
            Money(currency_code="KWD", units=3, nanos=430_000_000),
            3_430,
        ),
        (Money(currency_code="MGA", units=12_314), Money(currency_code="MGA", units=8_250), 8_250),
    ],
)
async def test_a_part_is_refunded_as_finely_as_stripe_can(
    stripe_shop: StripeShop, price: Money, refunded: Money, at_stripe: int
) -> None:
    sale, payment = await stripe_shop.paid(price=price)
    await stripe_shop.world.reserved(sale.account, 33)
    given = await stripe_shop.refund(sale)
    assert given.refund == refunded
    (refund,) = [it for it in stripe_shop.stripe.api.refunds.values() if it["payment_intent"] == payment["id"]]
    assert refund["amount"] == at_stripe
    assert await refund_states(stripe_shop, sale.purchase_id) == [("PAID", refund["id"])]


async def test_a_refund_that_takes_days_is_paid_when_stripe_says_so(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    sale, payment = await stripe_shop.paid()
    api.refund_status = "pending"
    try:
        await stripe_shop.refund(sale)
    finally:
        api.refund_status = "succeeded"
    (refund,) = [it for it in api.refunds.values() if it["payment_intent"] == payment["id"]]
    assert await stripe_shop.tell("refund.created", refund) == 200
    assert await refund_states(stripe_shop, sale.purchase_id) == [("REQUESTED", "")]
    refund["status"] = "succeeded"
    assert await stripe_shop.tell("refund.updated", refund) == 200
    assert await refund_states(stripe_shop, sale.purchase_id) == [("PAID", refund["id"])]


async def test_a_refund_that_fails_is_kept_for_the_operator(stripe_shop: StripeShop) -> None:
    sale, _ = await stripe_shop.paid()
    error = {"kind": "invalid_request_error", "code": "charge_disputed"}
    stripe_shop.stripe.api.troubles.append(Trouble("/refunds", status=400, error=error))
    await stripe_shop.refund(sale)
    assert [state for state, _ in await refund_states(stripe_shop, sale.purchase_id)] == ["FAILED"]
    (told,) = [row for row in stripe_shop.notices(sale) if row[0] == "REFUND_FAILED"]
    assert "charge_disputed" in told[3]


async def test_a_refund_made_at_stripe_itself_is_kept_for_the_operator(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    sale, payment = await stripe_shop.paid()
    by_hand = api.refund_by_hand(payment, 300)
    assert await stripe_shop.tell("refund.updated", by_hand) == 200
    assert await stripe_shop.tell("charge.refunded", api.charge_of(payment)) == 200
    (told,) = [row for row in stripe_shop.notices(sale) if row[0] == "REFUND_SUCCEEDED"]
    assert told[1] == "IGNORED"
    assert by_hand["id"] in told[3]
    assert await stripe_shop.credits(sale) == 100


@pytest.mark.parametrize("kind", ["charge.dispute.created", "charge.dispute.funds_withdrawn"])
async def test_a_dispute_takes_the_credits_back(stripe_shop: StripeShop, kind: str) -> None:
    sale, payment = await stripe_shop.paid()
    dispute = stripe_shop.stripe.api.dispute(payment)
    assert await stripe_shop.tell(kind, dispute) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("CHARGED_BACK", 0)
    assert await stripe_shop.tell("charge.dispute.funds_withdrawn", dispute) == 200
    assert [row[1] for row in stripe_shop.notices(sale) if row[0] == "CHARGED_BACK"] == ["APPLIED", "IGNORED"]


async def test_a_bank_s_inquiry_is_no_chargeback_yet(stripe_shop: StripeShop) -> None:
    sale, payment = await stripe_shop.paid()
    dispute = stripe_shop.stripe.api.dispute(payment, status="warning_needs_response")
    assert await stripe_shop.tell("charge.dispute.created", dispute) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("PAID", 100)


async def test_a_dispute_waits_until_stripe_says_whose_it_is(stripe_shop: StripeShop) -> None:
    sale, payment = await stripe_shop.paid()
    event = stripe_shop.stripe.event("charge.dispute.created", stripe_shop.stripe.api.dispute(payment))
    stripe_shop.stripe.api.troubles.append(
        Trouble(payment["id"], method="GET", status=500, error={"kind": "api_error"})
    )
    assert (await stripe_shop.stripe.send(stripe_shop.url, event))[0] == 503
    assert await stripe_shop.state(sale) == "PAID"
    assert (await stripe_shop.stripe.send(stripe_shop.url, event))[0] == 200
    assert await stripe_shop.state(sale) == "CHARGED_BACK"


async def test_the_credits_do_not_wait_for_the_payment_method(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    payment = stripe_shop.stripe.api.pay(sale.session)
    stripe_shop.stripe.api.troubles.append(
        Trouble(payment["id"], method="GET", status=401, error={"kind": "api_error"})
    )
    assert await stripe_shop.tell("checkout.session.completed", sale.session) == 200
    assert await stripe_shop.credits(sale) == 100
    sql = "SELECT COUNT(*) FROM payment_methods WHERE account_id = ?"
    assert stripe_shop.world.running.sql(sql, sale.account.id) == [(0,)]


async def test_a_long_session_is_cut_to_what_stripe_allows(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    lifetime = sale.purchase.checkout_expire_time.ToDatetime() - sale.purchase.create_time.ToDatetime()
    assert lifetime == timedelta(hours=24)


async def refund_states(shop: StripeShop, purchase_id: str) -> list[tuple[str, str]]:
    return [
        (state, reference)
        for state, reference in shop.world.running.sql(
            "SELECT state, gateway_reference FROM purchase_refunds WHERE purchase_id = ?", purchase_id
        )
    ]
