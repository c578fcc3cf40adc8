import asyncio
import gc
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mesh_runtime import node as node_module
from mesh_runtime.addresses import Address
from mesh_runtime.call_errors import CallError
from mesh_runtime.node import Node, NodeOptions, serve_until_signal
from mesh_runtime.startup_errors import StartupError
from mesh_runtime.tls import ServerTls
from tests.unit.mesh_runtime.harness import (
    DOMAIN,
    LOOPBACK,
    SERVICE,
    Caller,
    build_node,
    calling,
    response_stream,
    seen,
    unary,
    unpack,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def echo(request: StringValue, _context: Any) -> StringValue:
    return request


async def end(node: Node) -> None:
    """Stops a node at once."""
    node.hurry()
    await node.stop()


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_a_started_node_serves_and_says_so_for_itself_and_each_service(service: str) -> None:
    async with calling() as caller:
        health = health_pb2_grpc.HealthStub(caller.channel)
        response = await health.Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == SERVING


async def test_health_can_be_turned_off_and_on() -> None:
    node = build_node()
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        seen_statuses = []
        for serving in (False, True):
            await node.health.set_serving(serving)
            for service in ("", SERVICE):
                response = await health.Check(health_pb2.HealthCheckRequest(service=service))
                seen_statuses.append(response.status)
    await end(node)
    assert seen_statuses == [NOT_SERVING, NOT_SERVING, SERVING, SERVING]


async def test_reflection_lists_the_services() -> None:
    async with calling() as caller:
        stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (response,) = [response async for response in stub.ServerReflectionInfo(requests)]
    names = {service.name for service in response.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_calls_learn_when_the_drain_time_is_nearly_over() -> None:
    async def last(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="begun")
        await node.ending.wait()
        yield StringValue(value="ended in good order")

    # The last quarter of it is kept back.
    node = build_node(NodeOptions(listen=LOOPBACK, drain_seconds=1.6), Stream=response_stream(last))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stream = Caller(channel).response_stream("Stream")
        assert (await stream.read()).value == "begun"
        stopping, begin = asyncio.create_task(node.stop()), time.monotonic()
        assert (await stream.read()).value == "ended in good order"
        assert time.monotonic() - begin > 1.1
        assert await stream.code() is grpc.StatusCode.OK
        await stopping


async def test_a_health_watcher_learns_of_the_end_and_does_not_hold_it_up() -> None:
    node = build_node(NodeOptions(listen=LOOPBACK, drain_seconds=30))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(node.stop())
        assert (await watch.read()).status == NOT_SERVING
        await asyncio.wait_for(stopping, 20)


async def test_health_set_after_the_end_was_announced_stays_off() -> None:
    node = build_node()
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        await node.announce_end()
        await node.health.set_serving(True)
        response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await end(node)
    assert response.status == NOT_SERVING


async def test_new_calls_are_served_while_the_end_is_announced() -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def hold(request: StringValue, _context: Any) -> StringValue:
        begun.set()
        await released.wait()
        return request

    node = build_node(NodeOptions(listen=LOOPBACK, announce_seconds=30), Hold=unary(hold), Echo=unary(echo))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        caller = Caller(channel)
        held = asyncio.ensure_future(caller.unary("Hold", "held"))
        await begun.wait()
        stopping = asyncio.create_task(node.stop())
        await asyncio.sleep(0.05)
        assert (await caller.unary("Echo", "late")).value == "late"
        assert not node.closing.is_set()
        released.set()
        assert (await held).value == "held"
        await stopping


async def test_new_calls_are_unavailable_once_the_end_was_announced_and_running_ones_finish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As long as the running call, however slow this machine is.
    monkeypatch.setattr(node_module, "_REFUSING_SECONDS", 30)
    begun, released = asyncio.Event(), asyncio.Event()

    async def hold(request: StringValue, _context: Any) -> StringValue:
        begun.set()
        await released.wait()
        return request

    node = build_node(NodeOptions(listen=LOOPBACK, announce_seconds=0.1), Hold=unary(hold), Echo=unary(echo))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        caller = Caller(channel)
        held = asyncio.ensure_future(caller.unary("Hold", "held"))
        await begun.wait()
        stopping = asyncio.create_task(node.stop())
        async with asyncio.timeout(10):
            while not node._running_calls.refusing:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.unary("Echo", "late")
        error = seen(refused.value)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert unpack(error.status.details[1], error_details_pb2.RetryInfo()).retry_delay.seconds == 1
        released.set()
        assert (await held).value == "held"
        await asyncio.wait_for(stopping, 20)


async def test_a_node_closes_when_no_more_calls_come(monkeypatch: pytest.MonkeyPatch) -> None:
    # So long that no pause between two calls counts, but shorter than all calls together.
    monkeypatch.setattr(node_module, "_QUIET_SECONDS", 0.6)
    node = build_node(NodeOptions(listen=LOOPBACK, announce_seconds=20), Echo=unary(echo))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        caller = Caller(channel)
        stopping = asyncio.create_task(node.stop())
        for _ in range(40):
            assert (await caller.unary("Echo", "one more")).value == "one more"
            await asyncio.sleep(0.02)
        assert not node.closing.is_set()
        await asyncio.wait_for(stopping, 20)


@pytest.fixture
def garbage() -> Iterator[None]:
    """Undoes what a process that serves does about its garbage: other tests' is to be found."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("garbage")
async def test_health_is_off_before_anything_else_stops() -> None:
    node = build_node()
    statuses = []
    addresses: list[Address] = []

    async def before_stop() -> None:
        async with grpc.aio.insecure_channel(str(addresses[0])) as channel:
            response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        statuses.append(response.status)

    def announce(address: Address) -> None:
        addresses.append(address)
        os.kill(os.getpid(), signal.SIGTERM)

    await asyncio.wait_for(serve_until_signal(node, before_stop=before_stop, announce=announce), 10)
    assert statuses == [NOT_SERVING]


async def test_a_call_that_fails_while_the_node_stops_gets_its_own_error() -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def hold(_request: StringValue, _context: Any) -> StringValue:
        begun.set()
        await released.wait()
        raise CallError(code=grpc.StatusCode.ABORTED, reason="STORAGE_CONFLICT", message="Again.", domain=DOMAIN)

    node = build_node(NodeOptions(listen=LOOPBACK, announce_seconds=0), Hold=unary(hold))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        held = asyncio.ensure_future(Caller(channel).unary("Hold"))
        await begun.wait()
        stopping = asyncio.create_task(node.stop())
        await asyncio.wait_for(node.closing.wait(), 20)
        released.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await held
        await stopping
    assert seen(caught.value).reason == "STORAGE_CONFLICT"


async def test_an_endless_stream_ends_by_itself_when_the_node_closes() -> None:
    async def watch(_request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="open")
        await node.closing.wait()
        yield StringValue(value="closing")

    node = build_node(NodeOptions(listen=LOOPBACK, announce_seconds=0.1), Watch=response_stream(watch))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stream = Caller(channel).response_stream("Watch")
        assert (await stream.read()).value == "open"
        stopping = asyncio.create_task(node.stop())
        assert (await stream.read()).value == "closing"
        assert await stream.read() is grpc.aio.EOF
        await asyncio.wait_for(stopping, 20)


async def test_stopping_a_node_that_never_started_or_has_stopped_does_nothing() -> None:
    never_started = build_node()
    await never_started.stop()
    stopped = build_node()
    await stopped.start()
    await stopped.stop()
    await stopped.stop()


async def test_a_second_server_on_the_same_port_is_refused() -> None:
    first = build_node()
    address = await first.start()
    second = build_node(NodeOptions(listen=address))
    with pytest.raises(StartupError) as caught:
        await second.start()
    await end(first)
    assert str(caught.value) == f"cannot listen on {address}: address already in use"


async def test_a_port_taken_after_the_check_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # As when another process takes the port between our own try and gRPC's.
    monkeypatch.setattr(socket.socket, "bind", lambda *_arguments: None)
    first = build_node()
    address = await first.start()
    second = build_node(NodeOptions(listen=address))
    with pytest.raises(StartupError) as caught:
        await second.start()
    await end(first)
    assert str(caught.value) == f"cannot listen on {address}"


async def test_several_servers_share_a_port_when_all_of_them_agree() -> None:
    first = build_node(NodeOptions(listen=LOOPBACK, reuse_port=True))
    address = await first.start()
    second = build_node(NodeOptions(listen=address, reuse_port=True))
    assert await second.start() == address
    alone = build_node(NodeOptions(listen=address))
    with pytest.raises(StartupError):
        await alone.start()
    await asyncio.gather(end(first), end(second))


async def test_a_port_whose_last_connections_linger_can_be_used_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            # The side that closes first keeps the port in TIME_WAIT.
            accepted, _ = listener.accept()
            accepted.close()
            assert client.recv(1) == b""
    node = build_node(NodeOptions(listen=Address(host="127.0.0.1", port=port)))
    assert (await node.start()).port == port
    await end(node)


async def test_an_ipv6_address_is_served_and_printed_in_brackets() -> None:
    node = build_node(NodeOptions(listen=Address(host="::1", port=0)), Echo=unary(echo))
    address = await node.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        assert (await Caller(channel).unary("Echo", "six")).value == "six"
    await end(node)
    assert str(address).startswith("[::1]:")


async def test_connections_are_renewed_after_their_age() -> None:
    options = NodeOptions(listen=LOOPBACK, max_connection_age_seconds=0.2)
    async with calling(options, Echo=unary(echo)) as caller:
        await caller.unary("Echo", "first")
        state = caller.channel.get_state()
        await asyncio.wait_for(caller.channel.wait_for_state_change(state), 5)
        assert (await caller.unary("Echo", "second")).value == "second"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a certificate each for a server on 127.0.0.1, for a client and for a stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    make_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    for name in ("authority", "stranger"):
        _openssl(
            folder, "req", "-x509", *make_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"
        )
    signing = ["-CA", "authority.pem", "-CAkey", "authority.key"]
    for name in ("server", "client"):
        names = ["-addext", "subjectAltName=IP:127.0.0.1"]
        _openssl(
            folder,
            "req",
            "-x509",
            *make_key,
            *signing,
            *names,
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
        )
    return folder


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def server_tls(folder: Path, *, client_ca: str | None = None) -> ServerTls:
    return ServerTls(
        certificate_path=folder / "server.pem",
        key_path=folder / "server.key",
        client_ca_path=None if client_ca is None else folder / client_ca,
    )


async def call_with(address: Address, credentials: grpc.ChannelCredentials) -> str:
    async with grpc.aio.secure_channel(str(address), credentials) as channel:
        return str((await Caller(channel).unary("Echo", "private")).value)


async def test_calls_over_tls(certificates: Path) -> None:
    node = build_node(NodeOptions(listen=LOOPBACK, tls=server_tls(certificates)), Echo=unary(echo))
    address = await node.start()
    authority = (certificates / "authority.pem").read_bytes()
    assert await call_with(address, grpc.ssl_channel_credentials(authority)) == "private"
    async with grpc.aio.insecure_channel(str(address)) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await Caller(channel).unary("Echo", "in the clear", timeout=2)
    await end(node)


async def test_mutual_tls_refuses_clients_of_another_authority(certificates: Path) -> None:
    tls = server_tls(certificates, client_ca="authority.pem")
    node = build_node(NodeOptions(listen=LOOPBACK, tls=tls), Echo=unary(echo))
    address = await node.start()

    def credentials(name: str | None) -> grpc.ChannelCredentials:
        authority = (certificates / "authority.pem").read_bytes()
        if name is None:
            return grpc.ssl_channel_credentials(authority)
        key, chain = ((certificates / f"{name}.{kind}").read_bytes() for kind in ("key", "pem"))
        return grpc.ssl_channel_credentials(authority, key, chain)

    assert await call_with(address, credentials("client")) == "private"
    for name in (None, "stranger"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call_with(address, credentials(name))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await end(node)


async def test_tls_makes_an_address_for_other_machines_acceptable(certificates: Path) -> None:
    options = NodeOptions(listen=Address(host="0.0.0.0", port=0), tls=server_tls(certificates))
    node = build_node(options)
    address = await node.start()
    await end(node)
    assert address.port > 0


async def test_plaintext_for_other_machines_is_refused() -> None:
    node = build_node(NodeOptions(listen=Address(host="0.0.0.0", port=0)))
    with pytest.raises(StartupError, match=r"cannot listen on 0\.0\.0\.0:0 without TLS"):
        await node.start()


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "message"),
    [
        (
            "nowhere.pem",
            "server.key",
            None,
            "cannot read TLS certificate {folder}/nowhere.pem: No such file or directory",
        ),
        ("server.pem", "nowhere.key", None, "cannot read TLS key {folder}/nowhere.key: No such file or directory"),
        ("server.pem", "server.key", "nowhere.pem", "cannot read TLS client CA {folder}/nowhere.pem: No such file"),
        (
            "server.pem",
            "client.key",
            None,
            "cannot use TLS certificate {folder}/server.pem with key {folder}/client.key",
        ),
        ("garbage.pem", "server.key", None, "cannot use TLS certificate {folder}/garbage.pem with key"),
        (
            "server.pem",
            "encrypted.key",
            None,
            "cannot use TLS certificate {folder}/server.pem with key {folder}/encrypted",
        ),
        ("server.pem", "server.key", "garbage.pem", "cannot use TLS client CA {folder}/garbage.pem: "),
    ],
)
async def test_files_that_make_no_tls_are_named(
    certificates: Path, certificate: str, key: str, client_ca: str | None, message: str
) -> None:
    (certificates / "garbage.pem").write_text("this is no certificate")
    _openssl(certificates, "ec", "-in", "server.key", "-aes256", "-passout", "pass:x", "-out", "encrypted.key")
    tls = ServerTls(
        certificate_path=certificates / certificate,
        key_path=certificates / key,
        client_ca_path=None if client_ca is None else certificates / client_ca,
    )
    with pytest.raises(StartupError) as caught:
        tls.credentials()
    assert str(caught.value).startswith(message.format(folder=certificates))
    assert "\n" not in str(caught.value)
