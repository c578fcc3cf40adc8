"""A broker that goes live: what the sandbox sold before is no way to credits, nor to anywhere else, any more."""

from datetime import timedelta

from iap.broker.v1 import purchase_pb2

from tests.contract.broker_http.shops import ANY_PORT, stripe_settings
from tests.contract.broker_http.web import Web
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import call, new_id, new_world
from tests.stripe_double.server import running_stripe


async def test_a_broker_that_changed_from_the_sandbox_to_stripe_completes_and_shows_no_sandbox_purchase(
    database_url: str,
) -> None:
    async with running_broker(database_url, http_listen=ANY_PORT) as running:
        world = await new_world(running)
        account = await world.new_account()
        pack = await world.new_pack(account.service)
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=new_id(), pack_id=pack.pack_id, account_token=account.token, return_url="https://evil.example/"
        )
        purchase_id = (await call(world.stubs.purchases.CreatePurchase, request)).purchase.purchase_id
    form = {"request_id": new_id(), "outcome": "pay"}
    complete = purchase_pb2.CompleteSandboxPaymentRequest(
        request_id=new_id(), purchase_id=purchase_id, outcome=purchase_pb2.SANDBOX_OUTCOME_SUCCEEDED
    )
    async with running_stripe() as stripe:
        settings = stripe_settings(stripe.url)
        async with running_broker(database_url, world.clock, **settings) as running, Web(running.http_url) as web:
            for span in (timedelta(), timedelta(hours=24)):
                running.clock.move(span)
                for path in (f"/checkout/{purchase_id}", f"/checkout/{purchase_id}?done=1"):
                    shown, posted = await web.get(path), await web.ask("POST", path, body=form)
                    assert (shown.status, posted.status) == (404, 404)
                    assert "evil.example" not in shown.text + posted.text
                refusal = await refusal_of(call(running.stubs.purchases.CompleteSandboxPayment, complete))
                assert refusal.reason == "GATEWAY_UNAVAILABLE"
            assert running.sql("SELECT purchases.state, ledger_credits FROM purchases, accounts") == [("PENDING", 100)]
