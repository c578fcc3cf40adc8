"""What all tests share."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

# Before gRPC is imported: it tells of every connection that a test breaks.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# A shell's background jobs ignore interrupts; the processes that tests start would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from deploy import node_process
from tests.contract.broker_world.fresh_books import FreshBooks
from tests.databases import DatabaseKind, DatabaseMaker, SharedServer
from tests.forked_processes import start_process
from tests.postgres_server import PostgresServer

# As is, it prints every local variable of every frame, which takes minutes where one of them is a broker.
_PLAIN = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])


# Servers and commands that tests start by it.
node_process.start_process = start_process


# Where files take longest. Workers that share the files by `--dist loadfile` get these first, so that none of them is
# left with one when the others have ended.
LONGEST_FIRST = (
    "chaos/",
    "e2e/",
    "ledger_model/",
    "money_model/",
    "storage/",
    "contract/broker_load/",
    "contract/broker_events/",
    "contract/broker_edge_cases/",
    "contract/broker_top_ups/",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts what takes longest first, if workers share the files (with `--no-loadscope-reorder`, they keep to it)."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    place = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((turn for turn, start in enumerate(LONGEST_FIRST) if place.startswith(start)), len(LONGEST_FIRST))


@pytest.fixture(scope="session")
def shared_server() -> Iterator[SharedServer]:
    with closing(SharedServer()) as server:
        yield server


@pytest.fixture(scope="session", params=list(DatabaseKind), ids=str)
def database_kind(request: pytest.FixtureRequest) -> DatabaseKind:
    """Runs what depends on it once for each kind of database; `only_on` narrows it."""
    return DatabaseKind(request.param)


@pytest.fixture(scope="session")
def session_databases(tmp_path_factory: pytest.TempPathFactory, shared_server: SharedServer) -> Iterator[DatabaseMaker]:
    """Makes databases that are gone when all tests have run."""
    with closing(DatabaseMaker(tmp_path_factory.mktemp("databases"), shared_server)) as databases:
        yield databases


@pytest.fixture
def databases(tmp_path: Path, shared_server: SharedServer) -> Iterator[DatabaseMaker]:
    """Makes databases that are gone after the test."""
    with closing(DatabaseMaker(tmp_path, shared_server)) as maker:
        yield maker


@pytest.fixture
def new_database(databases: DatabaseMaker, database_kind: DatabaseKind) -> Callable[[], str]:
    """Makes empty databases that are gone after the test, and returns their URLs."""
    return lambda: databases.make(database_kind)


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """The URL of an empty database of the test's own, of each kind."""
    return new_database()


@pytest.fixture(scope="session")
def fresh_books(session_databases: DatabaseMaker) -> FreshBooks:
    """Makes copies of a broker's database with nothing in it."""
    return FreshBooks(session_databases)


@pytest.fixture
def books_url(fresh_books: FreshBooks, database_kind: DatabaseKind, databases: DatabaseMaker) -> str:
    """The URL of a broker's database of the test's own, of each kind: of one shard, with nothing in it."""
    return fresh_books.copy(database_kind, databases)


@pytest.fixture
def private_postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test may stop, kill and start again."""
    with closing(PostgresServer()) as server:
        yield server
