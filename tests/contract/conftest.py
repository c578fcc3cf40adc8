"""Brokers for the contract's tests, on each kind of database: ones that tests share, and fresh ones."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker_service.engine import directory
from broker_service.storage.audit import audit
from tests.contract.broker_world.pipelined import MOVING_RPCS, Transport
from tests.contract.broker_world.running_broker import Stubs, running_broker
from tests.contract.broker_world.scene import Scene, new_scene
from tests.contract.broker_world.world import World, new_world
from tests.databases import DatabaseKind, DatabaseMaker

HERE = Path(__file__).parent


# What tests how BrokerService moves credits, and so runs over both transports: over Pipeline on SQLite; on PostgreSQL
# too, where it is about what happens at the same time.
PIPELINED_TOO = (
    "broker_reservations/test_broker_captures.py",
    "broker_reservations/test_broker_charges.py",
    "broker_reservations/test_broker_clock_steps.py",
    "broker_reservations/test_broker_expiry.py",
    "broker_reservations/test_broker_extensions.py",
    "broker_reservations/test_broker_grants.py",
    "broker_reservations/test_broker_refunds.py",
    "broker_replays/",
    "broker_refusals/test_broker_credentials.py",
    "broker_refusals/test_broker_existence.py",
    "broker_refusals/test_broker_field_rules.py",
    "broker_refusals/test_broker_hostile_requests.py",
    "broker_refusals/test_broker_insufficient_credits.py",
    "broker_refusals/test_broker_precedence.py",
    "broker_refusals/test_broker_states.py",
    "broker_edge_cases/test_broker_batches.py",
    "broker_edge_cases/test_broker_callers_that_leave.py",
    "broker_edge_cases/test_broker_expiry_to_the_tick.py",
    "broker_edge_cases/test_broker_lanes.py",
    "broker_edge_cases/test_broker_repeated_requests.py",
    "broker_edge_cases/test_broker_states_of_reservations.py",
    "broker_load/",
    "broker_accounts/test_broker_known_tokens.py",
    "broker_accounts/test_broker_token_rotation.py",
    "broker_operator/test_broker_keys.py",
    "broker_operator/test_broker_suspension.py",
)
AT_ONCE = (
    "broker_edge_cases/test_broker_batches.py",
    "broker_edge_cases/test_broker_lanes.py",
    "broker_load/test_broker_group_commit.py",
)
# The first two start processes; test_broker_crash.py kills one under streams. The last counts calls.
UNARY_ONLY = (
    "test_the_same_id_at_two_processes_at_once_is_done_once",
    "test_a_crash_between_commit_and_answer_is_settled_by_the_retry",
    "test_more_calls_than_may_run_are_refused",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (
        "database_kind" in metafunc.fixturenames
        and _is_in(PIPELINED_TOO, metafunc.definition.path)
        and metafunc.definition.originalname not in UNARY_ONLY
    ):
        metafunc.parametrize("broker_transport", list(Transport), indirect=True, ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what would be the same again."""
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        (dropped if _is_the_same_again(item) else kept).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def _is_the_same_again(item: pytest.Item) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if parameters.get("broker_transport") is not Transport.PIPELINED:
        return False
    if parameters.get("rpc", "Reserve") not in MOVING_RPCS:
        return True
    return parameters.get("database_kind") is DatabaseKind.POSTGRESQL and not _is_in(AT_ONCE, item.path)


def _is_in(places: tuple[str, ...], path: Path) -> bool:
    return path.relative_to(HERE).as_posix().startswith(places)


@pytest.fixture(autouse=True)
def broker_transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """How operations reach BrokerService: by calls, unless the test runs over both transports."""
    transport = Transport(getattr(request, "param", Transport.UNARY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stubs, "transport", transport)
        yield transport


class SharedWorlds:
    """Brokers that live as long as the session, however often tests switch between the kinds of database.

    In the end their books must agree.
    """

    def __init__(self, databases: DatabaseMaker, ends: AsyncExitStack) -> None:
        self._databases = databases
        self._ends = ends
        self._worlds: dict[tuple[DatabaseKind, bool], World] = {}
        self._scenes: dict[DatabaseKind, Scene] = {}

    async def world(self, kind: DatabaseKind, *, forgetful: bool = False) -> World:
        if (kind, forgetful) not in self._worlds:
            with pytest.MonkeyPatch.context() as patch:
                if forgetful:
                    patch.setattr(directory, "MAX_AGE_SECONDS", 0.0)
                running = await self._ends.enter_async_context(running_broker(self._databases.make(kind)))
            self._worlds[kind, forgetful] = await new_world(running)
        return self._worlds[kind, forgetful]

    async def scene(self, kind: DatabaseKind) -> Scene:
        if kind not in self._scenes:
            self._scenes[kind] = await new_scene(await self.world(kind))
        return self._scenes[kind]

    async def audit(self) -> None:
        for world in self._worlds.values():
            found = await world.running.broker.database.read(audit)
            assert found.violations == ()


@pytest.fixture
def database_url(books_url: str) -> str:
    """The URL of a database of the test's own, of each kind: here, a broker's of one shard, with nothing in it."""
    return books_url


@pytest.fixture(scope="session")
async def shared_worlds(session_databases: DatabaseMaker) -> AsyncIterator[SharedWorlds]:
    async with AsyncExitStack() as ends:
        worlds = SharedWorlds(session_databases, ends)
        yield worlds
        await worlds.audit()


@pytest.fixture(scope="session")
async def world(shared_worlds: SharedWorlds, database_kind: DatabaseKind) -> World:
    """The broker that tests share: each opens accounts of its own, and moves the clock forward only."""
    return await shared_worlds.world(database_kind)


@pytest.fixture(scope="session")
async def forgetful_world(shared_worlds: SharedWorlds, database_kind: DatabaseKind) -> World:
    """A broker that remembers no keys, services and providers, and so sees at once what SQL changes."""
    return await shared_worlds.world(database_kind, forgetful=True)


@pytest.fixture(scope="session")
async def scene(shared_worlds: SharedWorlds, database_kind: DatabaseKind) -> Scene:
    """An account, a reservation, a pack and a purchase that no test changes; its requests are valid."""
    return await shared_worlds.scene(database_kind)


@pytest.fixture
async def own_world(database_url: str) -> AsyncIterator[World]:
    """A broker of the test's own."""
    async with running_broker(database_url) as running:
        yield await new_world(running)
