"""What the README shows works as it stands there."""

import asyncio
import os
import re
import shlex
import sys
import textwrap
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from client_stub.broker import BrokerClient
from client_stub.provider import ProviderClient
from deploy.local_mesh import LocalMesh
from deploy.node_process import NodeCommand, NodeProcess
from deploy.seeding import Seeded, buy_pack, seed
from provider_service.service_choice import SERVICES_GROUP
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


async def publish(address: str, operator_key: str) -> tuple[str, str]:
    """Publishes rot13; returns the provider's key and the token of an account with three credits."""
    operator = {"IAP_BROKER": address, "IAP_OPERATOR_KEY": operator_key}
    registered = await iap("provider", "register", "You", "--json", **operator)
    provider_key = registered.document["provider_key"]
    service = ("rot13", "--title", "ROT13 as a service", "--unit-name", "thousand characters", "--trial-credits", "3")
    published = await iap("provider", "service", *service, IAP_BROKER=address, IAP_PROVIDER_KEY=provider_key)
    assert published.exit_code == 0
    customer = await iap("admin", "customer", "register", "Ada", "--json", **operator)
    customer_key = customer.document["customer_key"]
    account = await iap("open", "rot13", "--json", IAP_BROKER=address, IAP_CUSTOMER_KEY=customer_key)
    return provider_key, account.document["account_token"]


def test_a_package_announces_the_service_sold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "your_package").mkdir()
    (tmp_path / "your_package" / "rot13.py").write_text(block("python", "@service"))
    monkeypatch.syspath_prepend(tmp_path)
    group, name, value = re.findall(
        r'\[project\.entry-points\."(.+?)"\]\n(.+?) = "(.+)"', block("toml", "entry-points")
    )[0]
    assert group == SERVICES_GROUP
    assert EntryPoint(name=name, group=group, value=value).load().create_service({}).name == name


async def test_the_service_sold_is_found_and_charged_for(mesh: LocalMesh, operator_key: str, tmp_path: Path) -> None:
    code = block("python", "@service")
    assert len([line for line in code.splitlines() if line.strip()]) < 30
    site = tmp_path / "site"
    site.mkdir()
    (site / "rot13.py").write_text(code)
    serve, use = block("sh", "--service rot13:rot13").splitlines()
    provider_key, account_token = await publish(mesh.broker.address, operator_key)
    provider = NodeProcess(
        NodeCommand(
            module="provider_service",
            arguments=(
                *("--broker", mesh.broker.address, "--journal", f"sqlite:///{tmp_path}/journal.db"),
                *shlex.split(serve)[2:],
            ),
            environment={"IAP_PROVIDER_KEY": provider_key, "PYTHONPATH": str(site)},
        ),
        log_path=tmp_path / "rot13.log",
    )
    await provider.start()
    try:
        environment = {"IAP_PROVIDER": provider.address, "IAP_ACCOUNT_TOKEN": account_token}
        outcome = await iap(*shlex.split(use)[1:], "--json", **environment)
        async with ProviderClient.connect(provider.address) as client:
            longer = await client.serve(service="rot13", input={"text": " " * 1001}, account_token=account_token)
    finally:
        assert await provider.stop() == 0
    assert outcome.document["output"] == {"text": "Hello"}
    assert (longer.charged_credits, longer.balance.available_credits) == (2, 0)


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
