"""The broker as an operator meets it: a command that starts, says what is wrong, and stops cleanly."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from iap.broker.v1 import catalog_pb2, catalog_pb2_grpc

from deploy.local_mesh import LocalMesh
from tests.forked_commands import run_forked
from tests.forked_programs import BROKER

SERVICES = [
    f"iap.broker.v1.{name}Service" for name in ("Broker", "Account", "Catalog", "Purchase", "Settlement", "Admin")
]


def broker_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = run_forked(BROKER, *arguments, environment={**os.environ, **environment})
    return subprocess.CompletedProcess(arguments, done.exit_code, done.output, done.errors)


def assert_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("iap-broker: error: ")
    for word in words:
        assert word in line


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/made/iap.db"
    assert broker_command("init", "--database", url).returncode == 0
    return url


def test_init_shows_the_operator_key_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/iap.db"
    first = broker_command("init", "--database", url, "--json")
    again = broker_command("init", "--database", url, "--json")
    assert json.loads(first.stdout)["operator_key"].startswith("iap_oper_")
    assert json.loads(again.stdout) == {"database": url, "operator_key": "", "made": False}
    stored = (tmp_path / "iap.db").read_bytes()
    assert json.loads(first.stdout)["operator_key"].encode() not in stored


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert_one_line(
        broker_command("serve", "--database", f"sqlite:///{tmp_path}/none.db"), "none.db", "iap-broker init"
    )


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-directory").mkdir()
    (tmp_path / "text.db").write_text("This is no database, only some text. " * 50)
    (tmp_path / "empty.db").touch()
    assert_one_line(broker_command("serve", "--database", f"sqlite:///{tmp_path}/a-directory"), "a-directory")
    assert_one_line(broker_command("serve", "--database", f"sqlite:///{tmp_path}/text.db"), "text.db", "not a database")
    assert_one_line(broker_command("serve", "--database", f"sqlite:///{tmp_path}/empty.db"), "init")
    assert_one_line(broker_command("init", "--database", f"sqlite:///{tmp_path}/text.db/iap.db"), "text.db")
    assert_one_line(broker_command("audit", "--database", f"sqlite:///{tmp_path}/text.db"), "text.db")


@pytest.mark.parametrize("command", ["serve", "init", "audit"])
def test_a_database_of_something_else_is_left_alone(tmp_path: Path, command: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE properties (id INTEGER, colour TEXT)")
        connection.commit()
    before = path.read_bytes()
    assert_one_line(broker_command(command, "--database", f"sqlite:///{path}"), "not a broker's")
    assert path.read_bytes()[100:] == before[100:]


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    assert broker_command("init", "--database", f"sqlite:///{tmp_path}/iap.db").returncode == 0
    assert (tmp_path / "iap.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db?mode=ro", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://localhost/iap"]
)
def test_a_database_url_of_another_form_is_refused(url: str) -> None:
    assert_one_line(broker_command("serve", "--database", url), "sqlite:///path/to/file.db")


def test_a_port_in_use_is_named(database: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_one_line(broker_command("serve", "--database", database, "--listen", address), address, "in use")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "somewhere"], ["somewhere", "HOST:PORT"]),
        (["--listen", "0.0.0.0:0"], ["0.0.0.0:0", "TLS"]),
        (["--commission-basis-points", "10001"], ["commission-basis-points", "10001"]),
        (["--workers", "2"], ["--workers", "SQLite", "PostgreSQL"]),
        (["--tls-certificate", "x.pem"], ["--tls-key"]),
        (["--no-such-flag"], ["--no-such-flag"]),
        (["--drain-seconds", "nan"], ["--drain-seconds", "nan"]),
        (["--drain-seconds", "-1"], ["--drain-seconds", "-1"]),
    ],
)
def test_a_wrong_setting_is_named(database: str, arguments: list[str], words: list[str]) -> None:
    assert_one_line(broker_command("serve", "--database", database, *arguments), *words)


def test_settings_come_from_the_environment(database: str) -> None:
    result = broker_command("serve", "--database", database, IAP_BROKER_COMMISSION_BASIS_POINTS="-1")
    assert_one_line(result, "commission")
    assert_one_line(broker_command("serve", IAP_BROKER_DATABASE="sqlite:///nowhere.db"), "nowhere.db")


async def test_health_and_reflection_know_every_service(tmp_path: Path) -> None:
    async with LocalMesh(tmp_path) as mesh:
        await mesh.initialize()
        await mesh.broker.start()
        async with grpc.aio.insecure_channel(mesh.broker.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", *SERVICES):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            requests = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="iap.broker.v1.BrokerService.Reserve"),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="iap.broker.v1.BrokerService.Nothing"),
            ]
            answers = [answer async for answer in reflection.ServerReflectionInfo(iter(requests))]
        listed, method, nothing = answers
        assert {service.name for service in listed.list_services_response.service} >= set(SERVICES)
        assert method.file_descriptor_response.file_descriptor_proto
        assert nothing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_sigterm_ends_with_exit_code_0_and_logs_one_structured_line_a_call(tmp_path: Path) -> None:
    async with LocalMesh(tmp_path) as mesh:
        await mesh.initialize()
        await mesh.broker.start()
        async with grpc.aio.insecure_channel(mesh.broker.address) as channel:
            catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await catalog.ListServices(
                    catalog_pb2.ListServicesRequest(), metadata=(("authorization", "Bearer a-secret-key"),)
                )
    assert await asyncio.wait_for(mesh.broker.wait(), 1) == 0
    lines = [json.loads(line) for line in mesh.broker.log_path.read_text().splitlines()]
    (line,) = [line for line in lines if line["event"] == "call"]
    assert line["method"] == "/iap.broker.v1.CatalogService/ListServices"
    assert (line["code"], line["reason"]) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    assert "a-secret-key" not in mesh.broker.log_path.read_text()


def test_a_process_signalled_while_starting_ends_quietly(database: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "broker_service", "serve", "--database", database, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"listening on 127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 0
    assert b"Traceback" not in errors
