"""The provider as a process of its own: its command line, the services it finds, and how it ends."""

import asyncio
import json
import signal
import time
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client_stub.errors import UnavailableError
from client_stub.provider import ProviderClient
from client_stub.structs import from_struct
from tests.databases import DatabaseKind, DatabaseMaker, no_connections
from tests.unit.provider_service.broker_double import CAPTURED, KEY, RELEASED, BrokerDouble, refusal
from tests.unit.provider_service.harness import until
from tests.unit.provider_service.provider_process import finish, start

MODULE = '''
import asyncio
from pathlib import Path
from provider_service.services.service import AfterCrash, Quote, ServiceFailure

class Held:
    """Works until the file that the input names exists."""

    name, title, unit_name, input_schema = "held", "Held", "piece", {}
    after_crash = AfterCrash.RELEASE

    def quote(self, service_input):
        return Quote(credits=1, breakdown={})

    async def perform(self, service_input, charge):
        Path(service_input["path"] + ".began").touch()
        while not Path(service_input["path"]).exists():
            await asyncio.sleep(0.01)
        return {"done": True}

    async def close(self):
        print("service closed", flush=True)

class Ticking:
    """Streams a chunk now and then until it is ended."""

    name, title, unit_name, input_schema, slice_credits, streams_only = "ticking", "Ticking", "tick", {}, 1000, True

    def quote(self, service_input):
        return Quote(credits=1000, breakdown={})

    async def perform(self, service_input, charge):
        raise NotImplementedError

    async def stream(self, service_input, charge):
        while True:
            await charge.meter(1)
            yield {"tick": True}
            await asyncio.sleep(0.02)

    async def close(self):
        print("service closed", flush=True)

def create(options):
    if options:
        raise ValueError(f"no options here: {sorted(options)}")
    return Held()

def create_ticking(options):
    return Ticking()

def misnamed(options):
    return Held()

def broken(options):
    raise RuntimeError("cannot\\nwork")
'''


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with a distribution that offers services."""
    (tmp_path / "held_services.py").write_text(MODULE)
    metadata = tmp_path / "held_services-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: held-services\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[iap_mesh.services]\n"
        "held = held_services:create\n"
        "other = held_services:misnamed\n"
        "ticking = held_services:create_ticking\n"
        "broken = held_services:broken\n"
        "missing = held_services.nowhere:create\n"
    )
    return tmp_path


@asynccontextmanager
async def running(
    installed: Path, broker_address: str, *arguments: str, service: str = "held"
) -> AsyncIterator[tuple[Process, str]]:
    process = await start(
        installed, "--listen", "127.0.0.1:0", "--broker", broker_address, "--services", service, *arguments
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert line.startswith("listening on 127.0.0.1:"), line
        yield process, line.removeprefix("listening on ").strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def begin(client: ProviderClient, token: str, path: Path) -> "asyncio.Task[Any]":
    serving = client.serve(service="held", input={"path": str(path)}, account_token=token, request_id=str(uuid.uuid4()))
    return asyncio.create_task(serving)


async def wait_until_not_serving(address: str) -> None:
    request = health_pb2.HealthCheckRequest(service="iap.provider.v1.ProviderService")
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(20):
        statuses = health_pb2_grpc.HealthStub(channel).Watch(request)
        while (await statuses.read()).status == health_pb2.HealthCheckResponse.SERVING:
            pass


async def test_a_signal_lets_the_running_request_finish(
    broker: BrokerDouble, broker_address: str, installed: Path, tmp_path: Path
) -> None:
    async with running(installed, broker_address) as (process, address), ProviderClient.connect(address) as client:
        call = begin(client, broker.open_account(5, service="held"), tmp_path / "go")
        await until((tmp_path / "go.began").exists)
        process.send_signal(signal.SIGTERM)
        await wait_until_not_serving(address)
        (tmp_path / "go").touch()
        assert from_struct((await call).output) == {"done": True}
        code, output, errors = await finish(process)
    assert (code, output) == (0, "service closed\n")
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED]
    events = [json.loads(line) for line in errors.splitlines()]
    told = [entry["event"] for entry in events if entry["event"] != "provider.broker_refuses"]  # it has no catalog
    assert told == ["node.serving", "node.stopping", "call", "node.stopped"]
    assert KEY not in errors


async def test_a_request_that_outlasts_the_drain_is_released_before_the_end(
    broker: BrokerDouble, broker_address: str, installed: Path, tmp_path: Path
) -> None:
    broker.fail("Release", refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT"), times=2)
    async with (
        running(installed, broker_address, "--drain-seconds", "0.3") as (process, address),
        ProviderClient.connect(address, timeout_seconds=2) as client,
    ):
        call = begin(client, broker.open_account(5, service="held"), tmp_path / "never")
        await until((tmp_path / "never.began").exists)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait({call})
        assert call.exception() is not None
        code, output, _ = await finish(process)
    assert (code, output) == (0, "service closed\n")
    assert [reservation.state for reservation in broker.reservations] == [RELEASED]


@pytest.mark.parametrize("hurried", [False, True])
async def test_a_signal_ends_a_stream_and_what_was_delivered_is_paid(
    broker: BrokerDouble, broker_address: str, installed: Path, hurried: bool
) -> None:
    ticks, told, error = 0, 0.0, None
    async with (
        running(installed, broker_address, "--drain-seconds", "2", service="ticking") as (process, address),
        ProviderClient.connect(address) as client,
    ):
        token = broker.open_account(2000, service="ticking")
        try:
            async for response in client.serve_stream(service="ticking", input={}, account_token=token):
                ticks = response.charged_credits
                if ticks == 2:
                    told = time.monotonic()
                    process.send_signal(signal.SIGTERM)
                if ticks == 5 and hurried:
                    process.send_signal(signal.SIGTERM)
        except UnavailableError as stopped:
            error = stopped
        seconds = time.monotonic() - told
        code, output, _ = await finish(process)
    assert (code, output) == (0, "service closed\n")
    (reservation,) = broker.reservations
    assert reservation.state == CAPTURED
    assert error is not None
    if hurried:
        assert reservation.captured_credits in (ticks, ticks + 1)
    else:
        assert (reservation.captured_credits, error.metadata["charged_credits"]) == (ticks, str(ticks))
        assert seconds > 1.2, "it had the drain time, but for the last quarter"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {"IAP_PROVIDER_KEY": ""}, "a provider key is needed: set IAP_PROVIDER_KEY"),
        (
            ["--services", "held"],
            {"IAP_PROVIDER_KEY": "a b"},
            "broker: the key must be visible ASCII characters without spaces",
        ),
        (
            ["--services", "fax"],
            {},
            "unknown service 'fax': there are broken, completion, held, missing, other, sms, ticking",
        ),
        (["--services", "broken"], {}, "the service broken cannot be started: RuntimeError: cannot work"),
        (["--services", "missing"], {}, "the service missing cannot be started: ModuleNotFoundError"),
        (["--services", "other"], {}, "the service other calls itself 'held'"),
        (
            ["--services", "held", "--option", "sms.gateway=http"],
            {},
            "--option sms.gateway: the service 'sms' is not served here",
        ),
        (["--services", "held"], {"IAP_PROVIDER_HELD_A": "x"}, "the service held cannot be started: ValueError"),
        (["--services", "sms", "--option", "sms.gateway=x"], {}, "option sms.gateway must be one of sandbox, http"),
        (["--services", "sms"], {"IAP_PROVIDER_SMS_GATEWAY": "x"}, "option sms.gateway must be one of sandbox, http"),
        (["--services", "held"], {"IAP_PROVIDER_LISTEN": "x"}, "invalid address 'x'"),
        (["--services", "held", "--listen", "0.0.0.0:0"], {}, "cannot listen on 0.0.0.0:0 without TLS"),
        (["--services", "held", "--broker", "x"], {}, "broker: invalid target 'x'"),
        (["--services", "held", "--broker", "192.0.2.1:1"], {}, "broker: cannot connect to 192.0.2.1:1 without TLS"),
        (["--services", "held", "--broker-ca", "nowhere.pem"], {}, "broker: cannot read CA certificate nowhere.pem"),
        (["--services", "held", "--max-concurrent-calls", "0"], {}, "Invalid value for '--max-concurrent-calls'"),
        (["--services", "held", "--journal", "mysql://x/y"], {}, "--journal: the URL is not of the form sqlite:///"),
        (
            ["--services", "held", "--journal", "postgresql://127.0.0.1:1/x"],
            {},
            "--journal: cannot use the journal at 127.0.0.1:1/x: ",
        ),
        (["--services", "held", "--journal-days", "0"], {}, "Invalid value for '--journal-days'"),
        (["--services", "held", "--broker-transport", "x"], {}, "Invalid value for '--broker-transport'"),
        (
            ["--services", "held", "--broker-connections", "2"],
            {},
            "--broker-connections above 1 needs --broker-transport pipelined",
        ),
        (["--log-style", "x"], {}, "Invalid value for '--log-style'"),
    ],
)
async def test_a_wrong_setting_ends_with_one_line(
    installed: Path, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    code, output, errors = await finish(await start(installed, *arguments, environment=environment))
    assert code == 2
    assert "listening" not in output
    assert len(errors.splitlines()) == 1
    assert errors.startswith(f"iap-provider: error: {message}")


async def test_two_services_of_one_name_are_refused(installed: Path) -> None:
    metadata = installed / "rival-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[iap_mesh.services]\nheld = rival:create\n")
    code, _, errors = await finish(await start(installed, "--services", "held"))
    assert code == 2
    assert "two services are named held" in errors


async def test_a_journal_is_one_processes_own(broker_address: str, installed: Path) -> None:
    async with running(installed, broker_address):
        code, _, errors = await finish(await start(installed, "--services", "held", "--listen", "127.0.0.1:0"))
    assert code == 2
    assert errors.startswith("iap-provider: error: --journal: another process uses the journal ")
    assert len(errors.splitlines()) == 1


async def test_a_provider_without_its_journal_is_not_healthy(
    broker: BrokerDouble, broker_address: str, installed: Path, databases: DatabaseMaker, tmp_path: Path
) -> None:
    url = databases.make(DatabaseKind.POSTGRESQL)
    (tmp_path / "go").touch()
    async with (
        running(installed, broker_address, "--journal", url) as (_, address),
        ProviderClient.connect(address) as client,
    ):
        token = broker.open_account(5, service="held")
        async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(30):
            statuses = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await statuses.read()).status == health_pb2.HealthCheckResponse.SERVING
            with no_connections(url):
                assert (await statuses.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert (await statuses.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert from_struct((await begin(client, token, tmp_path / "go")).output) == {"done": True}
