"""The calls a server is working on."""

import asyncio
from typing import Any

import grpc.aio


class RunningCalls:
    """Counts calls until their status has been sent; health checks and reflection are not among them.

    `refusing`: the server is stopping and takes no new ones.
    """

    def __init__(self) -> None:
        self._count = 0
        self._begun = 0
        self._became_idle = asyncio.Event()
        self.refusing = False

    def __len__(self) -> int:
        return self._count

    def add(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Count a call from now until gRPC is done with it."""
        self._count += 1
        self._begun += 1
        context.add_done_callback(self._remove)  # type: ignore[arg-type]  # the stub names the parameter

    async def wait_until_quiet(self, quiet_seconds: float) -> None:
        """Return when no call has been running or begun for this long."""
        while True:
            while self._count:
                self._became_idle.clear()
                await self._became_idle.wait()
            begun = self._begun
            await asyncio.sleep(quiet_seconds)
            if begun == self._begun:
                return

    def _remove(self, _context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._count -= 1
        if not self._count:
            self._became_idle.set()
