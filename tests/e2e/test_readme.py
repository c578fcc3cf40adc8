"""What the README shows works as it stands there."""

import asyncio
import os
import re
import shlex
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client_stub.broker import BrokerClient
from client_stub.provider import ProviderClient
from deploy.local_mesh import LocalMesh
from deploy.node_process import NodeCommand, NodeProcess
from deploy.seeding import Seeded, buy_pack, seed
from tests.unit.client_stub.command_line import iap

README = Path(__file__).parents[2] / "README.md"


def block(language: str, containing: str) -> str:
    (found,) = [
        code for code in re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL) if containing in code
    ]
    return str(found)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[LocalMesh]:
    async with LocalMesh(tmp_path) as running:
        yield running


@pytest.fixture
async def operator_key(mesh: LocalMesh) -> str:
    key = await mesh.initialize()
    assert key is not None
    await mesh.broker.start()
    return key


@pytest.fixture
async def seeded(mesh: LocalMesh, operator_key: str) -> Seeded:
    found = await seed(mesh.broker.address, operator_key=operator_key)
    await buy_pack(mesh.broker.address, pack_id=found.pack_ids[0], account_token=found.account_token)
    return found


async def run_python(code: str, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_stubs_alone_charge_an_account(mesh: LocalMesh, seeded: Seeded) -> None:
    output = await run_python(
        block("python", "BrokerServiceStub"),
        {
            "IAP_PROVIDER_KEY": seeded.provider_key,
            "IAP_BROKER": mesh.broker.address,
            "IAP_ACCOUNT_TOKEN": seeded.account_token,
        },
    )
    assert output.splitlines() == ["working …", "charged 2, 20 available"]


async def test_the_client_charges_what_was_used_and_shows_the_offer(mesh: LocalMesh, seeded: Seeded) -> None:
    code = block("python", "InsufficientCreditsError").replace('"127.0.0.1:50051"', "address")
    imports, body = code.split("\n\n", 1)
    program = (
        "import asyncio, os\n"
        f"{imports}\n"
        "async def main(used_credits):\n"
        "    address, provider_key, token = (os.environ[name] for name in ('ADDRESS', 'KEY', 'TOKEN'))\n"
        "    async def work():\n"
        "        return used_credits\n"
        f"{textwrap.indent(body, '    ')}\n"
        "for _ in range(5):\n"
        "    asyncio.run(main(5))\n"
    )
    output = await run_python(
        program, {"ADDRESS": mesh.broker.address, "KEY": seeded.provider_key, "TOKEN": seeded.account_token}
    )
    # 22 credits pay for four times five.
    assert output.splitlines() == ["3 more credits are needed. ['Small pack', 'Large pack']"]
    async with BrokerClient.connect(mesh.broker.address, key=seeded.provider_key) as broker:
        answer = await broker.check_credits(account_token=seeded.account_token, credits=1)
    assert (answer.balance.ledger_credits, answer.balance.reserved_credits) == (2, 0)


async def test_the_service_sold_is_found_and_charged_for(mesh: LocalMesh, operator_key: str, tmp_path: Path) -> None:
    package = tmp_path / "site" / "your_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "rot13.py").write_text(block("python", "class Rot13"))
    metadata = tmp_path / "site" / "your_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: your-package\nVersion: 1.0\n")
    group, line = re.findall(r'\[project\.entry-points\."(.+?)"\]\n(.+)', block("toml", "entry-points"))[0]
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")

    address = mesh.broker.address
    published = await run_python(
        block("python", "IAP_OPERATOR_KEY"), {"IAP_OPERATOR_KEY": operator_key, "IAP_BROKER": address}
    )
    exported = dict(re.findall(r"(IAP_\w+)=(\S+)", published))
    provider_key, account_token = exported["IAP_PROVIDER_KEY"], exported["IAP_ACCOUNT_TOKEN"]

    provider = NodeProcess(
        NodeCommand(
            module="provider_service",
            arguments=("--broker", address, "--services", "rot13", "--journal", f"sqlite:///{tmp_path}/journal.db"),
            environment={"IAP_PROVIDER_KEY": provider_key, "PYTHONPATH": str(tmp_path / "site")},
        ),
        log_path=tmp_path / "rot13.log",
    )
    await provider.start()
    try:
        async with ProviderClient.connect(provider.address) as client:
            served = await client.serve(
                service="rot13", input={"text": "Uryyb" + " " * 1000}, account_token=account_token
            )
    finally:
        assert await provider.stop() == 0
    assert str(served.output["text"]).startswith("Hello")
    assert (served.charged_credits, served.balance.available_credits) == (2, 1)


async def test_a_provider_s_commands_work(mesh: LocalMesh, operator_key: str) -> None:
    broker = {"IAP_BROKER": mesh.broker.address}
    registered = await iap("provider", "register", "You", "--json", IAP_OPERATOR_KEY=operator_key, **broker)
    environment = {
        "IAP_PROVIDER_KEY": registered.document["provider_key"],
        "IAP_PROVIDER_ID": registered.document["provider"]["provider_id"],
    }
    lines = [line for line in block("sh", "IAP_PROVIDER_ID").splitlines() if line.startswith("iap ")]
    assert len(lines) == 7
    for line in lines:
        outcome = await iap(*shlex.split(line)[1:], **environment, **broker)
        assert (outcome.exit_code, outcome.errors) == (0, ""), line


async def test_a_customer_s_commands_work(mesh: LocalMesh, seeded: Seeded) -> None:
    provider = mesh.add_provider(key=seeded.provider_key)
    await provider.start()
    environment = {
        "IAP_BROKER": mesh.broker.address,
        "IAP_PROVIDER": provider.address,
        "IAP_ACCOUNT_TOKEN": seeded.account_token,
    }
    lines = [line for line in block("sh", "iap catalog").splitlines() if line.startswith("iap ")]
    assert len(lines) == 5
    for line in lines:
        arguments = shlex.split(line.replace("PACK_ID", seeded.pack_ids[0]))[1:]
        outcome = await iap(*arguments, **environment)
        assert (outcome.exit_code, outcome.errors) == (0, ""), line
