"""What befalls the server that keeps a broker's books."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from tests.chaos.stage import Failure, Stage
from tests.databases import run_sql
from tests.postgres_server import PostgresServer

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'iap-broker'"


class ServerFailures:
    """What befalls a PostgreSQL server. The broker lives through all of it but one."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    async def shut_down_at_once(self, stage: Stage) -> None:
        """Ends the server without a word to anybody; it recovers from its log, for some time later."""
        await _to_the_end(self._server.immediate_shutdown)
        await self._start_later(stage)

    async def kill(self, stage: Stage) -> None:
        """Kills the server's first process; the others end by themselves."""
        await _to_the_end(self._server.kill)
        await self._start_later(stage)

    async def kill_backend(self, stage: Stage) -> None:
        """Kills the process behind one of the broker's connections: the server then ends all others, and recovers."""
        backends = await asyncio.to_thread(run_sql, stage.database_url, _BACKENDS)
        if not backends:
            # Nobody has connected yet since the last failure.
            await self.shut_down_at_once(stage)
            return
        (victim,) = stage.chance.choice(backends)
        # It may just have ended by itself.
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)

    async def kill_with_broker(self, stage: Stage) -> None:
        """Ends both at once, as a machine that loses its power would, but for the disk's own memory."""
        stage.broker.kill_now()
        await _to_the_end(self._server.immediate_shutdown)
        await stage.broker.kill()
        await _to_the_end(self._server.start)
        await stage.broker.start()

    def all(self) -> tuple[Failure, ...]:
        return (self.shut_down_at_once, self.kill_backend, self.kill_with_broker, self.kill)

    async def _start_later(self, stage: Stage) -> None:
        await asyncio.sleep(stage.chance.choice((0.0, stage.chance.uniform(0.0, 0.5))))
        await _to_the_end(self._server.start)


async def _to_the_end(work: Callable[[], None]) -> None:
    """Does on a thread what blocks. Waits for it even when cancelled: nobody would stop a server that starts later."""
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await working
        raise
