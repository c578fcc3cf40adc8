"""A provider that charges over streams."""

import asyncio
import json
from pathlib import Path

from client_stub.provider import ProviderClient
from deploy.local_mesh import LocalMesh
from deploy.seeding import buy_pack, seed

STREAMS = ("--broker-transport", "pipelined", "--broker-connections", "2")
TEXT = {"to": "+493023125042", "text": "Hello"}


async def test_requests_that_come_together_are_charged_over_streams_and_the_books_agree(tmp_path: Path) -> None:
    async with LocalMesh(tmp_path) as mesh:
        operator_key = await mesh.initialize()
        assert operator_key is not None
        await mesh.broker.start()
        seeded = await seed(mesh.broker.address, operator_key=operator_key)
        await buy_pack(mesh.broker.address, pack_id=seeded.pack_ids[1], account_token=seeded.account_token)
        provider = mesh.add_provider(key=seeded.provider_key, arguments=STREAMS)
        await provider.start()
        async with ProviderClient.connect(provider.address) as client:
            requests = [
                client.serve(service=seeded.service, account_token=seeded.account_token, input=TEXT) for _ in range(5)
            ]
            answers = await asyncio.gather(*requests)
        assert await provider.stop() == 0
        assert await mesh.broker.stop() == 0
        books = await mesh.audit()
    charged = sum(answer.charged_credits for answer in answers)
    assert (books.violations, books.captured_credits, books.reserved_credits) == ((), charged, 0)
    log = [json.loads(line) for line in mesh.broker.log_path.read_text().splitlines()]
    streams = [line for line in log if line["event"] == "pipeline.ended"]
    assert sum(line["operations"] for line in streams) == 10, "each was reserved and captured over a stream"
    assert len(streams) == 2
    moved = ("/Reserve", "/Capture", "/Charge", "/Release")
    assert not [line for line in log if line["event"] == "call" and line["method"].endswith(moved)]
