"""`iap buy`, `iap purchases` and `iap refund`, with a real broker that has checkout pages."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.databases import DatabaseKind, DatabaseMaker
from tests.e2e.http_brokers import HttpBroker, http_broker
from tests.unit.client_stub.command_line import Outcome, iap


@pytest_asyncio.fixture(scope="module")
async def shared_broker(
    session_databases: DatabaseMaker, database_kind: DatabaseKind, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HttpBroker]:
    url = session_databases.make(database_kind)
    async with http_broker(url, tmp_path_factory.mktemp("purchases")) as running:
        yield running


@pytest.fixture
async def broker(shared_broker: HttpBroker) -> HttpBroker:
    """The broker, and another customer with another account there."""
    await shared_broker.open_account()
    return shared_broker


async def by_token(broker: HttpBroker, *arguments: str) -> Outcome:
    """Runs `iap` with nothing but the account's token."""
    return await iap(*arguments, IAP_BROKER=broker.process.address, IAP_ACCOUNT_TOKEN=broker.account_token)


async def test_buy_pays_at_the_sandbox_though_it_has_a_page(broker: HttpBroker) -> None:
    paid = await by_token(broker, "buy", broker.pack_id, "--pay")
    assert (paid.exit_code, paid.errors) == (0, "")
    assert ["state", "paid"] in [line.split() for line in paid.output.splitlines()]
    assert await broker.credits() == 1_000
    failed = (await by_token(broker, "buy", broker.pack_id, "--fail", "--json")).document
    assert failed["purchase"]["state"] == "PURCHASE_STATE_FAILED"
    assert await broker.credits() == 1_000


async def test_what_is_left_unpaid_says_how_to_pay_it_and_where(broker: HttpBroker) -> None:
    left = await by_token(broker, "buy", broker.pack_id, "--no-pay")
    assert left.exit_code == 0
    purchase_id = left.output.split()[1]
    assert f"or at {broker.url}/checkout/{purchase_id}" in left.output
    (line,) = (line for line in left.output.splitlines() if line.startswith("  iap "))
    again = await by_token(broker, *line.split()[1:])
    assert (again.exit_code, again.output.split()[1]) == (0, purchase_id)
    assert await broker.credits() == 1_000
    # Paid is paid, however often the same is asked for.
    assert (await by_token(broker, *line.split()[1:])).exit_code == 0
    assert await broker.credits() == 1_000


async def test_purchases_are_listed_and_refunded_with_the_customer_s_key(broker: HttpBroker) -> None:
    assert (await by_token(broker, "purchases", "--json")).document == {"purchases": []}
    first, second = [
        (await by_token(broker, "buy", broker.pack_id, choice, "--json")).document["purchase"]
        for choice in ("--pay", "--fail")
    ]
    shown = (await by_token(broker, "purchases")).output.splitlines()
    assert [line.split()[0] for line in shown[2:]] == [second["purchase_id"], first["purchase_id"]]
    assert "paid" in shown[3]
    assert shown[3].endswith("EUR 24.90           –")

    refund = ("refund", first["purchase_id"])
    without_key = await by_token(broker, *refund, "--yes")
    assert (without_key.exit_code, "customer's key" in without_key.errors) == (2, True)
    by_key = {"IAP_BROKER": broker.process.address, "IAP_CUSTOMER_KEY": broker.customer_key}
    nobody_asked = await iap(*refund, **by_key)
    assert (nobody_asked.exit_code, "--yes" in nobody_asked.errors) == (2, True)
    assert await broker.credits() == 1_000
    given = await iap(*refund, "--yes", **by_key)
    assert (given.exit_code, given.errors) == (0, "")
    assert ["refund", "EUR", "24.90"] in [line.split() for line in given.output.splitlines()]
    assert await broker.credits() == 0
    again = await iap(*refund, "--yes", **by_key)
    assert (again.exit_code, "nothing" in again.errors) == (1, True)

    by_id = await iap("purchases", "--account-id", first["account_id"], **by_key)
    # What was bought, what was given back of it, and what was never paid.
    assert by_id.output.split().count("24.90") == 3
    assert by_id.output.split().count("refunded") == 2
    wrong_key = {**by_key, "IAP_CUSTOMER_KEY": f"{broker.customer_key}x"}
    refused = await iap("purchases", "--account-id", first["account_id"], **wrong_key)
    assert refused.exit_code == 1
