"""Auditing a database beside the brokers that serve from it."""

import asyncio

from broker_service.storage.audit import Audit, PageSize, audit_pages
from broker_service.storage.database import Database
from broker_service.storage.schema import shards_of
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)


async def audit(database: Database, *, size: PageSize | None = None) -> Audit:
    """Checks all the books, page by page; other work of this event loop goes on meanwhile, and can cancel it.

    Raises StorageError, and DatabaseUnusableError if the database is not a broker's.
    """
    pages = audit_pages(await database.read(shards_of), size)
    read_page = next(pages)
    while True:
        page = await database.read(read_page)
        try:
            read_page = pages.send(page)
        except StopIteration as end:
            found: Audit = end.value
            return found


class Auditor:
    """Audits the database of a broker that serves, one audit at a time, so that none crowds out the broker's reads.

    It reports and stops nothing. What stops a lane is a broken book in the committer's own hands, which it checks
    before each commit; an audit reads all the past, may be run by a broker that is older than what wrote the rows, and
    could only stop the lanes of its own process. Whoever reads the report can suspend the account that it names.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()

    async def audit(self) -> Audit:
        """Checks all the books, and logs it as an error if they do not agree. Raises StorageError."""
        async with self._turn:
            found = await audit(self._database)
        if found.violations:
            rules = sorted({violation.rule for violation in found.violations})
            logger.error("ledger.books_disagree", violations=len(found.violations), rules=rules)
        return found
