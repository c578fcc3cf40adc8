"""`completion` as it is sold: a broker and a provider as processes, and the double of an endpoint behind them.

The endpoint is set by its URL and key alone, as a real one would be.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from iap.broker.v1.broker_pb2 import Balance

from client_stub.accounts import AccountClient
from client_stub.admin import AdminClient
from client_stub.catalog import CatalogClient
from client_stub.errors import InsufficientCreditsError, ServiceFailedError
from client_stub.provider import ProviderClient
from client_stub.structs import from_struct
from deploy.local_mesh import LocalMesh
from deploy.node_process import NodeCommand, NodeProcess
from tests.chat_double.double import KEY, ChatDouble, Script, running_chat_double

# A credit for each token. The prompt is two words of eight bytes: at least 3 tokens, about 6, at most 8 + 16 + 10.
PRICES = "[models.double-1]\ninput = 1000\noutput = 1000\n"
OPTIONS = ("--option", "completion.prompt_overhead=10", "--option", "completion.max_tokens=100")
HI = {"prompt": "Hi there"}
QUOTE = 34 + 100


@dataclass
class Market:
    """A provider that sells completions, and accounts of its customers."""

    mesh: LocalMesh
    double: ChatDouble
    provider: NodeProcess
    operator_key: str

    async def open_account(self, credits: int) -> str:  # noqa: A002 - the contract's word
        """Opens an account with so many credits; returns its token."""
        broker = self.mesh.broker.address
        async with AdminClient.connect(broker, key=self.operator_key) as admin:
            customer = await admin.register_customer(name="Ada")
            async with AccountClient.connect(broker, key=customer.customer_key) as accounts:
                opened = await accounts.open_account(service="completion")
            await admin.grant_credits(account_id=opened.account.account_id, credits=credits)
        return opened.account_token

    async def balance(self, token: str) -> Balance:
        async with AccountClient.connect(self.mesh.broker.address) as accounts:
            return (await accounts.get_balance(account_token=token)).balance

    async def wait_for(self, token: str, *, reserved_credits: int, available_credits: int) -> None:
        async with asyncio.timeout(20):
            while True:
                balance = await self.balance(token)
                if (balance.reserved_credits, balance.available_credits) == (reserved_credits, available_credits):
                    return
                await asyncio.sleep(0.05)

    async def settled_credits(self, token: str) -> int:
        """Waits until nothing is reserved, and returns what is available then."""
        async with asyncio.timeout(20):
            while (balance := await self.balance(token)).reserved_credits:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.05)
        return int(balance.available_credits)


@pytest_asyncio.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    directory = tmp_path_factory.mktemp("completion")
    async with running_chat_double() as double, LocalMesh(directory) as mesh:
        operator_key = await mesh.initialize()
        assert operator_key is not None
        await mesh.broker.start()
        provider_key = await publish(mesh, operator_key)
        async with selling(mesh, double, provider_key) as provider:
            yield Market(mesh, double, provider, operator_key)
        assert (await mesh.audit()).violations == ()
        assert "s3cret" not in provider.log_path.read_text()


async def publish(mesh: LocalMesh, operator_key: str) -> str:
    async with AdminClient.connect(mesh.broker.address, key=operator_key) as admin:
        provider_key = (await admin.register_provider(name="Texts Ltd")).provider_key
    async with CatalogClient.connect(mesh.broker.address, key=provider_key) as catalog:
        await catalog.create_service(service="completion", title="Text completions", unit_name="thousand tokens")
    return provider_key


@asynccontextmanager
async def selling(mesh: LocalMesh, double: ChatDouble, provider_key: str) -> AsyncIterator[NodeProcess]:
    prices = mesh.directory / "prices.toml"
    prices.write_text(PRICES)
    journal = f"sqlite:///{mesh.directory}/journal.db"
    arguments = ("--broker", mesh.broker.address, "--journal", journal, "--services", "completion", *OPTIONS)
    environment = {
        "IAP_PROVIDER_KEY": provider_key,
        "IAP_PROVIDER_COMPLETION_URL": double.url,
        "IAP_PROVIDER_COMPLETION_KEY": KEY,
        "IAP_PROVIDER_COMPLETION_PRICES": str(prices),
    }
    provider = NodeProcess(
        NodeCommand(module="provider_service", arguments=arguments, environment=environment),
        log_path=mesh.directory / "provider.log",
    )
    await provider.start()
    try:
        yield provider
        assert await provider.stop() == 0
    finally:
        provider.kill_now()


@pytest_asyncio.fixture
async def client(market: Market) -> AsyncIterator[ProviderClient]:
    market.double.asked.clear()
    market.double.left.clear()
    async with ProviderClient.connect(market.provider.address) as client:
        yield client


async def test_the_worst_case_is_reserved_and_the_real_usage_captured(market: Market, client: ProviderClient) -> None:
    token = await market.open_account(200)
    gate = asyncio.Event()
    market.double.play(Script(gate=gate))
    assert (await client.quote(service="completion", input=HI)).credits == QUOTE
    serving = asyncio.create_task(client.serve(service="completion", input=HI, account_token=token))
    await market.wait_for(token, reserved_credits=QUOTE, available_credits=200 - QUOTE)
    gate.set()
    served = await serving
    assert served.charged_credits == 12
    assert (served.balance.available_credits, served.balance.reserved_credits) == (188, 0)
    assert from_struct(served.output) == {
        "text": "Hello there!",
        "finish_reason": "stop",
        "model": "double-1",
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "estimated": False},
    }
    (asked,) = market.double.asked
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body["messages"] == [{"role": "user", "content": "Hi there"}]


async def test_an_endpoint_that_refuses_costs_nothing(market: Market, client: ProviderClient) -> None:
    token = await market.open_account(200)
    market.double.play(Script(status=401, body=b'{"error": {"message": "wrong key"}}'))
    with pytest.raises(ServiceFailedError) as caught:
        await client.serve(service="completion", input=HI, account_token=token)
    assert caught.value.message == (
        "the text was not completed: the language model cannot be used at the moment; nothing was charged"
    )
    await market.wait_for(token, reserved_credits=0, available_credits=200)


async def test_a_stream_is_charged_by_the_figures_in_its_end(market: Market, client: ProviderClient) -> None:
    token = await market.open_account(200)
    hold = asyncio.Event()
    market.double.play(Script(hold=hold))
    async with aclosing(client.serve_stream(service="completion", input=HI, account_token=token)) as answers:
        first = await anext(answers)
        hold.set()
        rest = [answer async for answer in answers]
    assert from_struct(first.chunk) == {"text": "Hello"}
    *others, settled, last = rest
    assert "".join(str(from_struct(answer.chunk)["text"]) for answer in others) == " there!"
    assert from_struct(settled.chunk) == {
        "text": "",
        "finish_reason": "stop",
        "model": "double-1",
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "estimated": False},
    }
    assert [answer.charged_credits for answer in (first, settled, last)] == [4, 12, 12]
    assert (last.balance.available_credits, last.balance.reserved_credits) == (188, 0)


async def test_credits_that_run_out_end_the_stream_and_the_request_behind_it(
    market: Market, client: ProviderClient
) -> None:
    token = await market.open_account(20)
    market.double.play(Script(pieces=[" nothing"] * 200, delay_seconds=0.01))
    chunks: list[Any] = []

    async def read() -> None:
        async for answer in client.serve_stream(service="completion", input=HI, account_token=token):
            chunks.append(answer)  # noqa: PERF401 - those before the failure count

    with pytest.raises(InsufficientCreditsError) as caught:
        await read()
    # Six for the prompt and two for each word are set aside, of which three and one are certain.
    assert len(chunks) == 7
    assert chunks[-1].charged_credits == 10
    assert caught.value.offer is not None
    await market.wait_for(token, reserved_credits=0, available_credits=10)
    async with asyncio.timeout(10):
        await market.double.left.wait()


async def test_a_caller_that_leaves_ends_the_request_behind_it(market: Market, client: ProviderClient) -> None:
    token = await market.open_account(200)
    market.double.play(Script(hold=asyncio.Event()))
    async with aclosing(client.serve_stream(service="completion", input=HI, account_token=token)) as answers:
        assert (await anext(answers)).charged_credits == 4
    async with asyncio.timeout(10):
        await market.double.left.wait()
    # The chunk counts if the provider has seen its write end before the caller left.
    credits_left = await market.settled_credits(token)
    assert credits_left in {196, 200}

    market.double.left.clear()
    market.double.play(Script(gate=asyncio.Event()))
    serving = asyncio.create_task(client.serve(service="completion", input=HI, account_token=token))
    async with asyncio.timeout(10):
        while len(market.double.asked) < 2:  # noqa: ASYNC110 - what is waited for is beyond two connections
            await asyncio.sleep(0.01)
        serving.cancel()
        await market.double.left.wait()
    assert await market.settled_credits(token) == credits_left
