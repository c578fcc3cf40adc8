"""`iap topup`, `iap alert` and `iap token`, with a real broker."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from client_stub.accounts import AccountClient
from client_stub.admin import AdminClient
from client_stub.broker import BrokerClient
from client_stub.charge import charge
from deploy.local_mesh import LocalMesh
from deploy.seeding import Seeded, seed
from tests.unit.client_stub.command_line import Outcome, iap


@dataclass(frozen=True, slots=True)
class Market:
    """A broker, its operator, and who sells there."""

    broker: str
    operator_key: str
    seeded: Seeded


@dataclass(frozen=True, slots=True)
class Customer:
    """Runs `iap` with the customer's key, for the customer's account."""

    account_id: str
    account_token: str
    environment: dict[str, str]

    async def tries(self, *arguments: str) -> Outcome:
        return await iap(*arguments, "--account-id", self.account_id, **self.environment)

    async def does(self, *arguments: str) -> Outcome:
        outcome = await self.tries(*arguments)
        assert (outcome.exit_code, outcome.errors) == (0, ""), outcome
        return outcome

    async def available(self) -> str:
        document = (await self.does("balance", "--json")).document
        return str(document["balance"]["available_credits"])


@pytest_asyncio.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    async with LocalMesh(tmp_path_factory.mktemp("market")) as mesh:
        operator_key = await mesh.initialize()
        assert operator_key is not None
        await mesh.broker.start()
        broker = mesh.broker.address
        yield Market(broker, operator_key, await seed(broker, operator_key=operator_key))


@pytest.fixture
async def customer(market: Market) -> Customer:
    async with AdminClient.connect(market.broker, key=market.operator_key) as admin:
        key = (await admin.register_customer(name="Ada")).customer_key
    async with AccountClient.connect(market.broker, key=key) as accounts:
        opened = await accounts.open_account(service=market.seeded.service)
    environment = {"IAP_BROKER": market.broker, "IAP_CUSTOMER_KEY": key}
    return Customer(opened.account.account_id, opened.account_token, environment)


def agree(market: Market, cap: str = "EUR 10") -> tuple[str, ...]:
    return "topup", "--pack", market.seeded.pack_ids[0], "--below", "5", "--monthly-cap", cap


async def test_an_account_is_topped_up_as_agreed_until_it_is_turned_off(market: Market, customer: Customer) -> None:
    assert "topped up  off" in (await customer.does("topup")).output
    refused = await customer.tries(*agree(market), "--yes")
    assert (refused.exit_code, "no payment method" in refused.errors) == (1, True)
    await customer.does("buy", market.seeded.pack_ids[0], "--pay", "--save-payment-method")
    nobody_asked = await customer.tries(*agree(market))
    assert (nobody_asked.exit_code, "--yes" in nobody_asked.errors) == (2, True)
    assert "topped up   active" in (await customer.does(*agree(market), "--yes")).output
    # 22 credits: 2 for trying and a pack of 20.
    async with (
        BrokerClient.connect(market.broker, key=market.seeded.provider_key) as broker,
        charge(broker, account_token=customer.account_token, credits=18),
    ):
        pass
    async with asyncio.timeout(30):
        while await customer.available() != "24":  # noqa: ASYNC110 - seen from outside alone
            await asyncio.sleep(0.2)
    shown = (await customer.does("topup")).output
    assert "EUR 4.99 of EUR 10.00" in shown
    assert "for at most EUR 10.00 in a calendar month." in shown
    assert "topped up   off" in (await customer.does("topup", "--off")).output


async def test_terms_go_together(market: Market, customer: Customer) -> None:
    for arguments in (("--pack", "pck_1"), ("--below", "5"), (*agree(market)[1:], "--off")):
        outcome = await customer.tries("topup", *arguments)
        assert (outcome.exit_code, "go together" in outcome.errors) == (2, True)
    outcome = await customer.tries(*agree(market, "10"))
    assert outcome.exit_code == 2


async def test_an_alert_is_set_and_turned_off(customer: Customer) -> None:
    arguments = ("alert", "--below", "5", "--webhook-url", "http://127.0.0.1:9/low")
    shown = (await customer.does(*arguments)).output
    assert "below 5 credits" in shown
    assert "http://127.0.0.1:9/low" in shown
    assert "signing secret" in shown
    assert (await customer.does("alert", "--below", "0")).output.splitlines()[1].split() == ["alert", "off"]
    refused = await customer.tries("alert", "--below", "5", "--webhook-url", "http://example.com/low")
    assert (refused.exit_code, "webhook_url" in refused.errors) == (1, True)


async def test_another_token_takes_the_place_of_the_first(market: Market, customer: Customer) -> None:
    token = (await customer.does("token", "--json")).document["account_token"]
    by_token = {"IAP_BROKER": market.broker}
    assert (await iap("balance", IAP_ACCOUNT_TOKEN=customer.account_token, **by_token)).exit_code == 1
    assert (await iap("balance", IAP_ACCOUNT_TOKEN=token, **by_token)).exit_code == 0
    without_key = await iap("token", IAP_ACCOUNT_TOKEN=token, **by_token)
    assert (without_key.exit_code, "--account-id" in without_key.errors) == (2, True)
