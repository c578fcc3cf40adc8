"""What becomes of a function's work when the process that did it is killed."""

import asyncio
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from client_stub.provider import ProviderClient
from tests.unit.provider_service.broker_double import ACTIVE, CAPTURED, RELEASED, BrokerDouble
from tests.unit.provider_service.harness import until
from tests.unit.provider_service.provider_process import finish, start

MODULE = """
import asyncio
from dataclasses import dataclass
from pathlib import Path
from provider_service.sdk import Charge, service

@dataclass
class Text:
    text: str

async def work(request: Text, charge: Charge) -> dict[str, str]:
    if not Path("restarted").exists():
        Path("began").touch()
        await asyncio.sleep(60)
    charge.capture(2)
    return {"text": request.text}

resumed = service(name="work", title="Work", unit="piece", price=3, after_crash="resume")(work)
released = service(name="work", title="Work", unit="piece", price=3)(work)
"""


async def serve(directory: Path, broker_address: str, function: str) -> tuple[Process, str]:
    process = await start(
        directory,
        *("--listen", "127.0.0.1:0", "--broker", broker_address, "--service", f"slow:{function}"),
        directory=directory,
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    assert line.startswith("listening on "), (await finish(process))[2]
    return process, line.removeprefix("listening on ").strip()


@pytest.mark.parametrize(("function", "state", "captured"), [("resumed", CAPTURED, 2), ("released", RELEASED, 0)])
async def test_work_that_a_crash_cut_off_ends_as_its_service_says(
    broker: BrokerDouble, broker_address: str, tmp_path: Path, function: str, state: int, captured: int
) -> None:
    (tmp_path / "slow.py").write_text(MODULE)
    killed, address = await serve(tmp_path, broker_address, function)
    async with ProviderClient.connect(address) as client:
        token = broker.open_account(5, service="work")
        call = asyncio.create_task(client.serve(service="work", input={"text": "a"}, account_token=token))
        await until((tmp_path / "began").exists)
        killed.kill()
        await killed.wait()
        call.cancel()
    assert [reservation.state for reservation in broker.reservations] == [ACTIVE]

    (tmp_path / "restarted").touch()
    restarted, _ = await serve(tmp_path, broker_address, function)
    async with asyncio.timeout(30):
        while broker.reservations[0].state == ACTIVE:  # noqa: ASYNC110 - what is waited for is beyond a connection
            await asyncio.sleep(0.01)
    restarted.terminate()
    assert (await finish(restarted))[0] == 0
    assert [reservation.state for reservation in broker.reservations] == [state]
    assert broker.reservations[0].captured_credits == captured
