"""Notices of gateways: whose they are, how old, how often they come, in which order, and what is not to be taken."""

import asyncio
import json
import time

import pytest

from tests.contract.broker_http.shops import StripeShop, stripe_settings
from tests.contract.broker_http.web import Web
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import new_world
from tests.databases import unreadable
from tests.stripe_double.server import WEBHOOK_SECRET, post_notice, running_stripe, sign


async def test_a_notice_with_a_wrong_signature_pays_nothing(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    stripe_shop.stripe.api.pay(sale.session)
    event = stripe_shop.stripe.event("checkout.session.completed", sale.session)
    status, answer = await stripe_shop.stripe.send(stripe_shop.url, event, secret="whsec_of_somebody_else")
    assert (status, answer) == (400, {"error": "not a valid notice"})
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("PENDING", 0)
    assert stripe_shop.notices(sale) == []


async def test_a_notice_changed_on_its_way_pays_nothing(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    stripe_shop.stripe.api.pay(sale.session)
    event = stripe_shop.stripe.event("checkout.session.expired", sale.session)
    signature = sign(json.dumps(event).encode(), WEBHOOK_SECRET, int(time.time()))
    forged = json.dumps(event | {"type": "checkout.session.completed"}).encode()
    assert (await post_notice(stripe_shop.url, forged, {"stripe-signature": signature}))[0] == 400
    assert await stripe_shop.state(sale) == "PENDING"


async def test_a_notice_recorded_and_played_again_later_is_refused(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    stripe_shop.stripe.api.pay(sale.session)
    event = stripe_shop.stripe.event("checkout.session.completed", sale.session)
    assert (await stripe_shop.stripe.send(stripe_shop.url, event, age_seconds=305))[0] == 400
    assert await stripe_shop.state(sale) == "PENDING"
    assert (await stripe_shop.stripe.send(stripe_shop.url, event, age_seconds=290))[0] == 200
    assert await stripe_shop.state(sale) == "PAID"


@pytest.mark.parametrize(
    "signature",
    [None, "", "nonsense", "t=1", "t=x,v1=y", "v1=" + "0" * 64, "t=99999999999,v1=", "t=,v1=", "t=1,v0=" + "0" * 64],
)
async def test_a_signature_of_another_form_is_refused(stripe_shop: StripeShop, signature: str | None) -> None:
    headers = {} if signature is None else {"stripe-signature": signature}
    assert (await post_notice(stripe_shop.url, b"{}", headers))[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"id": 1, "type": "checkout.session.completed"}',
        b'{"id": "evt_1", "type": "checkout.session.completed"}',
        b'{"id": "evt_1", "type": "checkout.session.completed", "data": {}}',
        b'{"id": "evt_1", "type": "checkout.session.completed", "data": {"object": {"id": 7}}}',
        b'{"id": "evt_1", "type": "checkout.session.completed", "data": {"object": {"id": "x", "metadata": []}}}',
        b'{"id": "evt_1", "type": "refund.updated", "data": {"object": {"id": "x", "amount": "12"}}}',
    ],
)
async def test_what_is_signed_and_cannot_be_understood_is_refused(stripe_shop: StripeShop, body: bytes) -> None:
    try:
        signature = sign(body, WEBHOOK_SECRET, int(time.time()))
    except ValueError:
        signature = ""
    status, answer = await post_notice(stripe_shop.url, body, {"stripe-signature": signature})
    assert (status, answer) == (400, {"error": "not a valid notice"})


@pytest.mark.parametrize("kind", ["customer.created", "invoice.paid", "payment_intent.created", "v2.whatever"])
async def test_events_of_no_interest_are_taken_and_forgotten(stripe_shop: StripeShop, kind: str) -> None:
    event = stripe_shop.stripe.event(kind, {"id": "in_1"})
    assert await stripe_shop.stripe.send(stripe_shop.url, event) == (200, {"taken": 0})


async def test_what_others_sell_with_the_same_stripe_account_is_left_alone(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    theirs = {"id": "cs_theirs", "payment_status": "paid", "metadata": {}, "client_reference_id": "order-1"}
    payment = api._new_payment(500, "eur", {})
    for kind, subject in (
        ("checkout.session.completed", theirs),
        ("checkout.session.expired", theirs),
        ("payment_intent.succeeded", payment),
        ("payment_intent.payment_failed", payment),
        ("refund.updated", api.refund_by_hand(payment, 100)),
        ("charge.refunded", api.charge_of(payment)),
        ("charge.dispute.created", api.dispute(payment)),
        ("charge.dispute.created", api.dispute(payment) | {"payment_intent": None}),
    ):
        event = stripe_shop.stripe.event(kind, subject)
        assert await stripe_shop.stripe.send(stripe_shop.url, event) == (200, {"taken": 0}), kind


async def test_a_notice_of_an_unknown_purchase_is_kept(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    session = stripe_shop.stripe.api.sessions[sale.session["id"]]
    unknown = "pur_000000000000000000000000_000000000000000000000001"
    gone = session | {"metadata": {"purchase_id": unknown}, "payment_status": "paid"}
    event = stripe_shop.stripe.event("checkout.session.completed", gone)
    for _ in range(2):
        assert (await stripe_shop.stripe.send(stripe_shop.url, event))[0] == 200
    rows = stripe_shop.world.running.sql(
        "SELECT outcome, times_received FROM payment_notices WHERE purchase_id = ?", unknown
    )
    assert rows == [("UNKNOWN_PURCHASE", 2)]


async def test_a_notice_that_comes_again_pays_once(stripe_shop: StripeShop) -> None:
    sale, payment = await stripe_shop.paid()
    event = stripe_shop.stripe.event("checkout.session.completed", sale.session)
    sent = await asyncio.gather(*(stripe_shop.stripe.send(stripe_shop.url, event) for _ in range(6)))
    assert {status for status, _ in sent} == {200}
    assert await stripe_shop.credits(sale) == 100
    outcomes = [(outcome, times) for _, outcome, times, _ in stripe_shop.notices(sale)]
    assert sorted(outcomes) == [("APPLIED", 1), ("IGNORED", 6)]
    assert payment["amount_received"] == 1_000


async def test_notices_out_of_order_end_the_same(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    sale = await stripe_shop.start()
    payment = api.pay(sale.session)
    dispute = api.dispute(payment)
    # The chargeback is told of before the payment: it waits for it.
    early = stripe_shop.stripe.event("charge.dispute.created", dispute)
    assert (await stripe_shop.stripe.send(stripe_shop.url, early))[0] == 200
    assert await stripe_shop.tell("checkout.session.expired", sale.session) == 200
    assert await stripe_shop.tell("checkout.session.completed", sale.session) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("CHARGED_BACK", 0)
    assert await stripe_shop.tell("charge.dispute.funds_withdrawn", dispute) == 200
    assert await stripe_shop.tell("checkout.session.completed", sale.session) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("CHARGED_BACK", 0)


@pytest.mark.parametrize(
    "wrong", [{"amount_total": 999}, {"amount_total": 0}, {"currency": "usd"}, {"amount_total": -1}, {"currency": "x"}]
)
async def test_a_payment_of_another_amount_is_kept_and_pays_nothing(
    stripe_shop: StripeShop, wrong: dict[str, object]
) -> None:
    sale = await stripe_shop.start()
    stripe_shop.stripe.api.pay(sale.session)
    assert await stripe_shop.tell("checkout.session.completed", sale.session | wrong) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("PENDING", 0)
    assert [outcome for _, outcome, _, _ in stripe_shop.notices(sale)] == ["WRONG_AMOUNT"]


async def test_a_payment_without_the_customer_is_told_of_by_its_payment_intent(stripe_shop: StripeShop) -> None:
    api = stripe_shop.stripe.api
    sale = await stripe_shop.start()
    payment = api._new_payment(1_000, "eur", {"purchase_id": sale.purchase_id, "off_session": "true"})
    failed = payment | {"last_payment_error": {"code": "card_declined", "decline_code": "expired_card"}}
    assert await stripe_shop.tell("payment_intent.payment_failed", failed) == 200
    assert await stripe_shop.state(sale) == "FAILED"
    (told,) = stripe_shop.notices(sale)
    assert "expired_card" in told[3]
    paid = payment | {"status": "succeeded", "amount_received": 1_000, "customer": "cus_1", "payment_method": "pm_1"}
    assert await stripe_shop.tell("payment_intent.succeeded", paid) == 200
    assert (await stripe_shop.state(sale), await stripe_shop.credits(sale)) == ("PAID", 100)


async def test_the_page_of_a_purchase_at_stripe_shows_its_state_and_has_no_buttons(stripe_shop: StripeShop) -> None:
    sale = await stripe_shop.start()
    async with Web(stripe_shop.url) as web:
        path = f"/checkout/{sale.purchase_id}"
        page = await web.get(path)
        assert "Waiting for your payment" in page.words
        assert f'href="{sale.session["url"]}"' in page.text
        assert "<form" not in page.text
        form = {"request_id": "6fa459ea-ee8a-3ca4-894e-db77e160355e", "outcome": "pay"}
        pressed = await web.ask("POST", path, body=form)
        assert (pressed.status, "stripe" in pressed.words) == (409, True)
        assert await stripe_shop.credits(sale) == 0
        stripe_shop.stripe.api.pay(sale.session)
        await stripe_shop.tell("checkout.session.completed", sale.session)
        assert "Paid. Thank you!" in (await web.get(path)).words


@pytest.mark.parametrize("gateway", ["nobody", "Stripe", "%00", "%2e%2e", "stripe%2f", "a" * 3_000])
async def test_an_unknown_gateway_is_a_404(web: Web, gateway: str) -> None:
    answer = await web.ask("POST", f"/notices/{gateway}", body=b"{}")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")


async def test_a_gateway_that_is_not_configured_is_a_404(web: Web) -> None:
    assert (await web.ask("POST", "/notices/stripe", body=b"{}")).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_notices_are_posted(web: Web, method: str) -> None:
    answer = await web.ask(method, "/notices/sandbox")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_a_notice_that_is_too_large_is_refused_before_it_is_read(stripe_shop: StripeShop) -> None:
    announced = await raw_answer(stripe_shop.url, b"content-length: 1048577\r\n\r\n")
    assert announced.startswith(b"HTTP/1.1 413 ")
    # Also if nothing says how large it will be.
    chunk = f"{300_000:x}\r\n".encode() + b"x" * 300_000 + b"\r\n"
    assert (await raw_answer(stripe_shop.url, b"transfer-encoding: chunked\r\n\r\n" + 5 * chunk)).startswith(
        b"HTTP/1.1 413 "
    )


async def test_a_notice_that_cannot_be_kept_is_to_come_again(database_url: str) -> None:
    async with running_stripe() as stripe, running_broker(database_url, **stripe_settings(stripe.url)) as running:
        shop = StripeShop(await new_world(running), stripe)
        stripe.api.clock = running.clock
        sale = await shop.start()
        stripe.api.pay(sale.session)
        event = stripe.event("checkout.session.completed", sale.session)
        with unreadable(database_url, "purchases"):
            status, answer = await stripe.send(shop.url, event)
            assert status == 503
            assert "purchases" not in str(answer)
        assert await shop.state(sale) == "PENDING"
        assert (await stripe.send(shop.url, event))[0] == 200
        assert (await shop.state(sale), await shop.credits(sale)) == ("PAID", 100)


async def raw_answer(url: str, rest: bytes) -> bytes:
    """Posts a notice, the rest of it as given; returns the first line that is answered."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /notices/stripe HTTP/1.1\r\nhost: x\r\n" + rest)
    try:
        async with asyncio.timeout(10):
            return await reader.readline()
    finally:
        writer.transport.abort()
