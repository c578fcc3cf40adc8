"""`iap topup`, `iap alert` and `iap token`, with a real broker."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client_stub.broker import BrokerClient
from client_stub.charge import charge
from deploy.local_mesh import LocalMesh
from deploy.seeding import Seeded, seed
from tests.unit.client_stub.command_line import Outcome, iap


@dataclass(frozen=True, slots=True)
class Customer:
    """Runs `iap` with the customer's key, for the customer's account."""

    account_id: str
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


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[LocalMesh]:
    async with LocalMesh(tmp_path) as running:
        yield running


@pytest.fixture
async def seeded(mesh: LocalMesh) -> Seeded:
    operator_key = await mesh.initialize()
    assert operator_key is not None
    await mesh.broker.start()
    return await seed(mesh.broker.address, operator_key=operator_key)


@pytest.fixture
def customer(mesh: LocalMesh, seeded: Seeded) -> "Customer":
    return Customer(seeded.account_id, {"IAP_BROKER": mesh.broker.address, "IAP_CUSTOMER_KEY": seeded.customer_key})


def agree(seeded: Seeded, cap: str = "EUR 10") -> tuple[str, ...]:
    return "topup", "--pack", seeded.pack_ids[0], "--below", "5", "--monthly-cap", cap


async def test_an_account_is_topped_up_as_agreed_until_it_is_turned_off(
    mesh: LocalMesh, seeded: Seeded, customer: Customer
) -> None:
    assert "topped up  off" in (await customer.does("topup")).output
    refused = await customer.tries(*agree(seeded), "--yes")
    assert (refused.exit_code, "no payment method" in refused.errors) == (1, True)
    await customer.does("buy", seeded.pack_ids[0], "--pay", "--save-payment-method")
    nobody_asked = await customer.tries(*agree(seeded))
    assert (nobody_asked.exit_code, "--yes" in nobody_asked.errors) == (2, True)
    assert "topped up   active" in (await customer.does(*agree(seeded), "--yes")).output
    # 22 credits: 2 for trying and a pack of 20.
    async with (
        BrokerClient.connect(mesh.broker.address, key=seeded.provider_key) as broker,
        charge(broker, account_token=seeded.account_token, credits=18),
    ):
        pass
    async with asyncio.timeout(30):
        while await customer.available() != "24":  # noqa: ASYNC110 - seen from outside alone
            await asyncio.sleep(0.2)
    shown = (await customer.does("topup")).output
    assert "EUR 4.99 of EUR 10.00" in shown
    assert "for at most EUR 10.00 in a calendar month." in shown
    assert "topped up   off" in (await customer.does("topup", "--off")).output


async def test_terms_go_together(seeded: Seeded, customer: Customer) -> None:
    for arguments in (("--pack", "pck_1"), ("--below", "5"), (*agree(seeded)[1:], "--off")):
        outcome = await customer.tries("topup", *arguments)
        assert (outcome.exit_code, "go together" in outcome.errors) == (2, True)
    outcome = await customer.tries(*agree(seeded, "10"))
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


async def test_another_token_takes_the_place_of_the_first(mesh: LocalMesh, seeded: Seeded, customer: Customer) -> None:
    token = (await customer.does("token", "--json")).document["account_token"]
    by_token = {"IAP_BROKER": mesh.broker.address}
    assert (await iap("balance", IAP_ACCOUNT_TOKEN=seeded.account_token, **by_token)).exit_code == 1
    assert (await iap("balance", IAP_ACCOUNT_TOKEN=token, **by_token)).exit_code == 0
    without_key = await iap("token", IAP_ACCOUNT_TOKEN=token, **by_token)
    assert (without_key.exit_code, "--account-id" in without_key.errors) == (2, True)
