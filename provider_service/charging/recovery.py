"""What a provider does about requests that other processes, or it before a restart, have left open."""

import asyncio
import time
from datetime import timedelta
from typing import Final

from mesh_runtime.logs import get_logger
from provider_service.charging.settler import Settler
from provider_service.journal.errors import JournalUnavailableError
from provider_service.journal.journal import Journal

# How soon another process's end is noticed.
ADOPTION_SECONDS: Final = 2.0
PRUNING_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 0.05
_logger = get_logger("provider_service.charging")


class Recovery:
    """Adopts open entries and has them settled, and deletes old ones, as long as it runs."""

    def __init__(self, journal: Journal, settler: Settler, *, kept: timedelta) -> None:
        self._journal = journal
        self._settler = settler
        self._kept = kept

    async def run(self) -> None:
        """Adopts at once, and from time to time where other processes share the journal; never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._adopt())
            tasks.create_task(self._prune())

    async def _adopt(self) -> None:
        while True:
            try:
                while count := await self._settler.adopt():
                    _logger.info("charging.adopted", requests=count)
            except JournalUnavailableError:
                await asyncio.sleep(ADOPTION_SECONDS)
                continue
            if not self._journal.is_shared:
                return
            await asyncio.sleep(ADOPTION_SECONDS)

    async def _prune(self) -> None:
        while True:
            before = time.time_ns() // 1_000 - self._kept // timedelta(microseconds=1)
            try:
                count = await self._journal.prune(before=before)
            except JournalUnavailableError:
                count = 0
            # Few at once, so that requests wait for none of it.
            await asyncio.sleep(_PAUSE_SECONDS if count else PRUNING_SECONDS)
