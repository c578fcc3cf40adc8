"""A broker process with an HTTP address and payment gateways: what it prints, refuses, survives and keeps to itself."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from deploy.node_process import ANY_PORT, NodeCommand, NodeProcess, run_command
from tests.contract.broker_http.web import Web
from tests.databases import DatabaseKind, DatabaseMaker, only_on
from tests.e2e.http_brokers import BROKER, HttpBroker, http_broker, new_id
from tests.forked_commands import Ended, run_forked, run_started
from tests.forked_processes import start_process
from tests.forked_programs import BROKER as BROKER_PROGRAM
from tests.stripe_double.api import SECRET_KEY, Trouble
from tests.stripe_double.server import WEBHOOK_SECRET, StripeDouble, running_stripe

STRIPE_ENVIRONMENT = {
    "IAP_BROKER_STRIPE_SECRET_KEY": SECRET_KEY,
    "IAP_BROKER_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
}


@asynccontextmanager
async def stripe_broker(database_url: str, directory: Path) -> AsyncIterator[tuple[HttpBroker, StripeDouble]]:
    async with running_stripe() as stripe:
        arguments = ("--payment-gateway", "stripe", "--stripe-api-url", stripe.url, "--http-url", "https://pay.example")
        async with http_broker(database_url, directory, arguments=arguments, environment=STRIPE_ENVIRONMENT) as broker:
            yield broker, stripe


async def test_a_purchase_outlives_a_broker_that_is_killed_before_it_has_answered(
    database_url: str, tmp_path: Path
) -> None:
    async with stripe_broker(database_url, tmp_path) as (broker, stripe):
        # Stripe opens the session, and its answer never arrives; the broker asks again, and is killed meanwhile.
        trouble = Trouble("/checkout/sessions", count=3, loses_answer=True)
        stripe.api.troubles.append(trouble)
        request_id = new_id()
        unanswered = asyncio.create_task(broker.create_purchase(request_id=request_id))
        async with asyncio.timeout(10):
            while not stripe.api.sessions:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.01)
        await broker.process.kill()
        with pytest.raises(Exception, match="UNAVAILABLE"):
            await unanswered
        trouble.count = 0
        await broker.process.start()
        made = await broker.create_purchase(request_id=request_id)
        (session,) = stripe.api.sessions.values()
        assert (made.replayed, made.checkout_url) == (True, session["url"])
        stripe.api.pay(session)
        event = stripe.event("checkout.session.completed", session)
        assert (await stripe.send(broker.url, event))[0] == 200
        await broker.process.kill()
        await broker.process.start()
        # Stripe has not heard that it was taken.
        assert (await stripe.send(broker.url, event))[0] == 200
        assert await broker.credits() == 1_000
        log = broker.process.log_path.read_text()
        for secret in (SECRET_KEY, WEBHOOK_SECRET, "cus_", "payment_status"):
            assert secret not in log
        assert '"notice"' in log


async def test_workers_share_the_address_for_http(databases: DatabaseMaker, tmp_path: Path) -> None:
    url = databases.make(DatabaseKind.POSTGRESQL)
    async with http_broker(url, tmp_path, arguments=("--workers", "2")) as broker:
        made = await broker.create_purchase()
        assert made.checkout_url == f"{broker.url}/checkout/{made.purchase.purchase_id}"
        path = made.checkout_url.removeprefix(broker.url)
        # Each asks by a connection of its own, and so perhaps another process; the button is still the same one.
        async with Web(broker.url) as web:
            page = await web.get(path)
        for _ in range(8):
            async with Web(broker.url) as web:
                assert (await web.press(path, page, "pay")).status == 303
        assert await broker.credits() == 1_000


async def test_a_broker_that_goes_live_with_sandbox_sales_in_its_books_says_so(
    database_url: str, tmp_path: Path
) -> None:
    async with running_stripe() as stripe, http_broker(database_url, tmp_path) as broker:
        arguments = ("--database", database_url, "--payment-gateway", "stripe", "--stripe-api-url", stripe.url)
        live = NodeCommand(
            module=BROKER, arguments=(*arguments, "--http-listen", ANY_PORT), environment=STRIPE_ENVIRONMENT
        )
        warned = []
        for outcome in ("decline", "pay"):
            path = (await broker.create_purchase()).checkout_url.removeprefix(broker.url)
            async with Web(broker.url) as web:
                assert (await web.press(path, await web.get(path), outcome)).status == 303
            assert await broker.process.stop() == 0
            process = NodeProcess(live, log_path=tmp_path / f"{outcome}.log")
            try:
                await process.start()
                assert await process.stop() == 0
            finally:
                process.kill_now()
            warned.append("payments.sandbox_sales" in process.log_path.read_text())
            await broker.process.start()
        assert warned == [False, True]


@only_on(DatabaseKind.SQLITE, reason="it is about HTTP")
async def test_sigterm_lets_a_running_request_finish(database_url: str, tmp_path: Path) -> None:
    async with http_broker(database_url, tmp_path) as broker:
        host, _, port = broker.process.http_address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /notices/sandbox HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
        await asyncio.sleep(0.2)
        stopped = asyncio.create_task(broker.process.stop())
        await asyncio.sleep(0.5)
        assert not stopped.done()
        writer.write(b"}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert await stopped == 0
        writer.close()
    lines = [json.loads(line) for line in broker.process.log_path.read_text().splitlines()]
    (line,) = [line for line in lines if line["event"] == "http"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/notices/{gateway}", 200)


@only_on(DatabaseKind.SQLITE, reason="it is about HTTP")
async def test_https_is_served_with_the_same_certificate(
    database_url: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    chain, key = certificate
    tls = ("--tls-certificate", str(chain), "--tls-key", str(key))
    await run_command(BROKER, "init", "--database", database_url)
    serving = await start_process(
        *(sys.executable, "-m", "broker_service", "serve", "--database", database_url, "--listen", "127.0.0.1:0"),
        *("--http-listen", "127.0.0.1:0", *tls),
        stdout=subprocess.PIPE,
    )
    try:
        assert serving.stdout is not None
        assert (await serving.stdout.readline()).startswith(b"listening on 127.0.0.1:")
        address = (await serving.stdout.readline()).decode().removeprefix("http on ").strip()
        trusting = ssl.create_default_context(cafile=str(chain))
        async with aiohttp.ClientSession() as session:
            async with session.get(f"https://{address}/healthz", ssl=trusting) as response:
                assert response.status == 200
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://{address}/healthz")
    finally:
        serving.terminate()
        assert await serving.wait() == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    chain, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(chain)),
        ],
        check=True,
        capture_output=True,
    )
    return chain, key


@pytest.fixture(scope="module")
def sqlite_broker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database that was made a broker's."""
    url = f"sqlite:///{tmp_path_factory.mktemp('settings')}/iap.db"
    assert broker_command("init", "--database", url).exit_code == 0
    return url


def broker_command(*arguments: str, **environment: str) -> Ended:
    return run_forked(BROKER_PROGRAM, *arguments, environment={**os.environ, **environment})


STRIPE = ("--payment-gateway", "stripe", "--http-listen", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (("--http-listen", "somewhere"), {}, ("somewhere", "HOST:PORT")),
        (("--http-listen", "0.0.0.0:0"), {}, ("HTTP", "0.0.0.0:0", "TLS")),
        (("--http-listen", "0.0.0.0:0", "--insecure"), {}, ("0.0.0.0", "--http-url")),
        (("--http-url", "pay.example"), {}, ("--http-url", "pay.example")),
        (("--http-url", "https://pay.example/?a=b"), {}, ("--http-url",)),
        (("--payment-gateway", "paper"), {}, ("payment-gateway", "paper")),
        ((*STRIPE, "--payment-gateway", "sandbox"), STRIPE_ENVIRONMENT, ("sandbox", "no other")),
        (("--payment-gateway", "sandbox", *STRIPE), STRIPE_ENVIRONMENT, ("sandbox", "no other")),
        (STRIPE, {}, ("IAP_BROKER_STRIPE_SECRET_KEY",)),
        (STRIPE, {"IAP_BROKER_STRIPE_SECRET_KEY": "sk_x"}, ("IAP_BROKER_STRIPE_WEBHOOK_SECRET",)),
        (STRIPE[:2], STRIPE_ENVIRONMENT, ("--http-listen",)),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    sqlite_broker: str, arguments: tuple[str, ...], environment: dict[str, str], words: tuple[str, ...]
) -> None:
    result = broker_command("serve", "--database", sqlite_broker, "--listen", "127.0.0.1:0", *arguments, **environment)
    assert (result.exit_code, result.output) == (2, "")
    (line,) = result.errors.splitlines()
    for word in words:
        assert word in line


def test_a_port_in_use_is_named(sqlite_broker: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = broker_command(
            "serve", "--database", sqlite_broker, "--listen", "127.0.0.1:0", "--http-listen", address
        )
    assert (result.exit_code, result.output) == (2, "")
    assert address in result.errors
    assert "in use" in result.errors


def test_without_the_extra_it_says_what_to_install(sqlite_broker: str, tmp_path: Path) -> None:
    hiding = tmp_path / "stripe"
    hiding.mkdir()
    (hiding / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'stripe'\", name='stripe')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = ("serve", "--database", sqlite_broker, "--listen", "127.0.0.1:0", *STRIPE)
    result = run_started(BROKER, *command, environment={**os.environ, "PYTHONPATH": path, **STRIPE_ENVIRONMENT})
    assert result.exit_code == 2
    assert "iap-mesh[stripe]" in result.errors


def test_large_libraries_are_loaded_only_where_they_are_used() -> None:
    loads = (
        "import sys; import broker_service.bootstrap, broker_service.cli; "
        "print(*(name in sys.modules for name in ('stripe', 'alembic', 'grpc')))"
    )
    result = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False", "True"]
