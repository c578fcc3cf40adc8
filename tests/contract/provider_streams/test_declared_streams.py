"""A function that yields, sold at a real broker."""

from collections.abc import AsyncGenerator

from client_stub.errors import InsufficientCreditsError
from client_stub.provider import ProviderClient
from provider_service.sdk import StreamCharge, service
from tests.contract.broker_world.world import World
from tests.contract.provider_streams.streaming import receive
from tests.unit.provider_service.harness import providing
from tests.unit.provider_service.sdk.example_functions import Text


async def spell(request: Text, charge: StreamCharge) -> AsyncGenerator[dict[str, str], None]:
    for letter in request.text:
        await charge.meter(2)
        yield {"letter": letter}


async def test_a_function_that_yields_is_paid_chunk_by_chunk(paying_world: World) -> None:
    name = await paying_world.new_service()
    spelling = service(name=name, title="Spelling", unit="letter", price=lambda request: 2 * len(request.text))(spell)
    account = await paying_world.new_account(service=name)
    pack = await paying_world.new_pack(name, pack_credits=5)
    await paying_world.buy(account, pack.pack_id)
    async with (
        providing(str(paying_world.running.address), [spelling], key=paying_world.provider.key) as provider,
        ProviderClient.connect(provider.address) as client,
    ):
        short = await receive(client.serve_stream(service=name, input={"text": "a"}, account_token=account.token))
        long = await receive(client.serve_stream(service=name, input={"text": "abc"}, account_token=account.token))
        await provider.settle()
    assert (short.chunks, short.paid_credits, short.error) == ([{"letter": "a"}], 2, None)
    assert (long.chunks, long.paid_credits) == ([{"letter": "a"}], 2)
    assert isinstance(long.error, InsufficientCreditsError)
    assert (await paying_world.balance(account))[:2] == (1, 0)
