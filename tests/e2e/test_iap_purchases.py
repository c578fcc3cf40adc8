"""`iap buy`, with a real broker that has checkout pages."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.http_brokers import HttpBroker, http_broker
from tests.unit.client_stub.command_line import Outcome, iap


@pytest.fixture
async def broker(database_url: str, tmp_path: Path) -> AsyncIterator[HttpBroker]:
    async with http_broker(database_url, tmp_path) as running:
        yield running


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
