"""The connection breaks around COMMIT, on PostgreSQL: the batch is run again, and each command counts once.

Where nobody can tell whether the server has committed, the broker finds out by running the batch again; its callers
notice nothing but the time it takes.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import pytest
from iap.broker.v1 import admin_pb2, catalog_pb2

from broker_service.engine import writing
from broker_service.storage import postgresql
from broker_service.storage.audit import audit
from tests.chaos.movements import MOVEMENTS, SECRET_RPCS
from tests.chaos.wire_proxy import Fault, WireProxy
from tests.contract.broker_world.refusals import parse_error, refusal_of
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, call, new_id, new_world
from tests.databases import DatabaseKind, DatabaseMaker

SILENCE_SECONDS = 0.5
# The proxy is there again at once.
RECONNECT_SECONDS = 0.01
# The broker's own tries; then it tells the callers.
TRIES = 5

Proxied = tuple[World, WireProxy]


@pytest.fixture(scope="module")
async def proxied_broker(session_databases: DatabaseMaker) -> AsyncIterator[Proxied]:
    """A broker that reaches its database by a proxy, and that takes a server for gone after half a second."""
    with pytest.MonkeyPatch.context() as patch, WireProxy(session_databases.make(DatabaseKind.POSTGRESQL)) as proxy:
        patch.setattr(postgresql, "_SILENCE_SECONDS", SILENCE_SECONDS)
        patch.setattr(writing, "_RECONNECT_SECONDS", RECONNECT_SECONDS)
        async with running_broker(proxy.url) as running:
            # It commits by itself, soon after a purchase, and would spend the faults that are meant for requests.
            await running.broker.events.placing.stop()
            yield await new_world(running), proxy
            assert (await running.broker.database.read(audit)).violations == ()


@pytest.fixture
def proxied(proxied_broker: Proxied) -> Iterator[Proxied]:
    """The same; what a test has left armed strikes no other."""
    yield proxied_broker
    proxied_broker[1].disarm()


@pytest.mark.parametrize("name", MOVEMENTS)
@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE_COMMIT, Fault.CUT_AFTER_COMMIT])
async def test_a_request_whose_commit_is_cut_off_is_done_once(proxied: Proxied, fault: Fault, name: str) -> None:
    world, proxy = proxied
    movement = await MOVEMENTS[name](world)
    proxy.arm(fault)
    answer = await movement.send(world)
    assert not proxy.unspent
    assert not answer.replayed
    await movement.assert_done_once(world, answer)


@pytest.mark.parametrize("fault", Fault)
async def test_a_batch_of_every_kind_of_request_is_done_once(proxied: Proxied, fault: Fault) -> None:
    """What waits while the first batch fails becomes the second, which fails twice."""
    world, proxy = proxied
    movements = [await make(world) for make in MOVEMENTS.values()]
    batches = world.running.broker.committer.counts.commits
    proxy.arm(fault, times=3)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(movement.send(world) for movement in movements))
    assert not proxy.unspent
    assert world.running.broker.committer.counts.commits - batches < len(movements) / 2
    for movement, answer in zip(movements, answers, strict=True):
        await movement.assert_done_once(world, answer)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE_COMMIT, Fault.CUT_AFTER_COMMIT])
async def test_what_a_batch_refused_takes_nothing_when_it_is_run_again(proxied: Proxied, fault: Fault) -> None:
    world, proxy = proxied
    account = await world.new_account(trial_credits=10)
    proxy.arm(fault, times=2)
    answers = await asyncio.gather(
        *(world.reserve(account, amount) for amount in (1, 11, 4, 12, 5)), return_exceptions=True
    )
    assert not proxy.unspent
    reasons = [parse_error(it).reason if isinstance(it, grpc.aio.AioRpcError) else "" for it in answers]
    assert reasons == ["", "INSUFFICIENT_CREDITS", "", "INSUFFICIENT_CREDITS", ""]
    assert await world.balance(account) == (10, 10, 0)


async def test_requests_whose_every_try_is_cut_off_are_settled_by_a_retry(proxied: Proxied) -> None:
    """The callers are told to try again. A secret that was made meanwhile is lost, for nobody has seen it."""
    world, proxy = proxied
    movements = [await make(world) for make in MOVEMENTS.values()]
    proxy.arm(Fault.CUT_AFTER_COMMIT, times=2 * TRIES)
    refusals = await asyncio.gather(*(refusal_of(movement.send(world)) for movement in movements))
    assert {refusal.reason for refusal in refusals} == {"UNAVAILABLE"}
    assert not proxy.unspent, "the first batch, and then what had gathered meanwhile"
    for movement in movements:
        answer = await movement.send(world)
        assert answer.replayed
        if movement.rpc in SECRET_RPCS:
            assert not answer.account_token
        else:
            await movement.assert_done_once(world, answer)


@pytest.mark.parametrize(
    ("rpc", "fault"),
    [
        ("IssueKey", Fault.CUT_BEFORE_COMMIT),
        ("IssueKey", Fault.CUT_AFTER_COMMIT),
        ("RegisterCustomer", Fault.CUT_BEFORE_COMMIT),
        ("RegisterCustomer", Fault.CUT_AFTER_COMMIT),
        ("RegisterProvider", Fault.CUT_BEFORE_COMMIT),
        ("RegisterProvider", Fault.CUT_AFTER_COMMIT),
    ],
)
async def test_a_key_whose_commit_is_cut_off_is_shown_and_works(proxied: Proxied, fault: Fault, rpc: str) -> None:
    world, proxy = proxied
    requests = {
        "RegisterProvider": admin_pb2.RegisterProviderRequest(request_id=new_id(), name="Provider"),
        "RegisterCustomer": admin_pb2.RegisterCustomerRequest(request_id=new_id(), name="Customer"),
        "IssueKey": admin_pb2.IssueKeyRequest(request_id=new_id(), provider_id=world.provider.id),
    }
    proxy.arm(fault)
    made = await call(world.stubs.method(rpc), requests[rpc], world.running.operator_key)
    assert not proxy.unspent
    secret = {"RegisterProvider": "provider_key", "RegisterCustomer": "customer_key", "IssueKey": "secret"}[rpc]
    key = getattr(made, secret)
    assert key, "the secret is shown to the try that made it"
    nowhere = catalog_pb2.UpdateServiceRequest(service=catalog_pb2.Service(service="nowhere"))
    refusal = await refusal_of(call(world.stubs.catalog.UpdateService, nowhere, key))
    assert refusal.reason not in ("CREDENTIALS_MISSING", "CREDENTIALS_INVALID")
    assert (await call(world.stubs.method(rpc), requests[rpc], world.running.operator_key)).replayed
