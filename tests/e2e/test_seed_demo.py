"""`iap-broker seed-demo`: a new database is made ready for any gRPC client with one command."""

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from iap.broker.v1 import account_pb2, account_pb2_grpc, broker_pb2, broker_pb2_grpc, catalog_pb2, catalog_pb2_grpc

from deploy.node_process import NodeCommand, NodeProcess
from tests.databases import run_sql
from tests.forked_commands import run_forked
from tests.forked_programs import BROKER


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_forked(BROKER, *arguments, environment=os.environ)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.output, done.errors)


def seed(database: str) -> dict[str, Any]:
    done = run("seed-demo", "--database", database, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done
    seeded: dict[str, Any] = json.loads(done.stdout)
    return seeded


@pytest.fixture
def database(database_url: str) -> str:
    assert run("init", "--database", database_url).returncode == 0
    return database_url


async def reserve(channel: grpc.aio.Channel, seeded: dict[str, Any], amount: int) -> int:
    """Charges an amount with what was printed; returns the credits that are left."""
    broker, key = broker_pb2_grpc.BrokerServiceStub(channel), (("authorization", f"Bearer {seeded['provider_key']}"),)
    charged = await broker.Charge(
        broker_pb2.ChargeRequest(request_id=str(uuid.uuid4()), account_token=seeded["account_token"], credits=amount),
        metadata=key,
        timeout=10,
    )
    available_credits: int = charged.balance.available_credits
    return available_credits


async def test_what_is_printed_is_ready_for_any_client(database: str, tmp_path: Path) -> None:
    seeded = seed(database)
    broker = NodeProcess(
        NodeCommand(module="broker_service", arguments=("--database", database)), log_path=tmp_path / "log"
    )
    await broker.start()
    try:
        async with grpc.aio.insecure_channel(broker.address) as channel:
            assert await reserve(channel, seeded, 5) == seeded["available_credits"] - 5
            packs = await catalog_pb2_grpc.CatalogServiceStub(channel).ListPacks(
                catalog_pb2.ListPacksRequest(service=seeded["service"])
            )
            assert [pack.pack_id for pack in packs.packs] == seeded["pack_ids"]
            accounts = account_pb2_grpc.AccountServiceStub(channel)
            found = await accounts.GetBalance(
                account_pb2.GetBalanceRequest(account_id=seeded["account_id"]),
                metadata=(("authorization", f"Bearer {seeded['customer_key']}"),),
            )
            assert found.account.customer_id == seeded["customer_id"]
            # Seeded again, beside the broker that serves: the same things, other secrets, and the old ones still work.
            again = seed(database)
            secrets = {"provider_key", "customer_key", "account_token"}
            assert {name for name in seeded if seeded[name] != again[name]} == secrets | {"available_credits"}
            assert again["available_credits"] == seeded["available_credits"] - 5
            assert await reserve(channel, again, 1) == await reserve(channel, seeded, 1) + 1
    finally:
        await broker.stop()
    assert run("audit", "--database", database).returncode == 0


def test_people_get_a_line_for_each(database: str) -> None:
    lines = run("seed-demo", "--database", database).stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        *("service", "pack ids", "provider id", "provider key", "customer id", "customer key"),
        *("account id", "account token", "available credits"),
    ]
    assert all(line.partition(": ")[2] for line in lines)


def test_a_name_that_another_provider_has_taken_is_no_crash(database: str) -> None:
    seed(database)
    run_sql(database, "UPDATE services SET creation_id = 'made by somebody else'")
    refused = run("seed-demo", "--database", database)
    assert (refused.returncode, refused.stderr) == (2, "iap-broker: error: a service named demo exists already\n")


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    refused = run("seed-demo", "--database", f"sqlite:///{tmp_path}/none.db")
    assert refused.returncode == 2
    assert refused.stderr.startswith("iap-broker: error: ")
