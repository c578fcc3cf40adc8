"""Audits of books as some statements would leave them, which are left as they were."""

from sqlalchemy import Connection

from broker_service.storage.audit import Audit, PageSize, audit
from broker_service.storage.database import Database


class UndoneError(Exception):
    """Takes what was found out of a transaction that is to leave nothing behind."""

    def __init__(self, found: list[Audit]) -> None:
        self.found = found


async def audits_after(database: Database, statements: list[str], *sizes: PageSize | None) -> list[Audit]:
    """Audits the books as some statements would leave them, once with each size of pages."""

    def work(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            connection.exec_driver_sql(statement)
        raise UndoneError([audit(connection, size) for size in sizes])

    try:
        await database.write(work)
    except UndoneError as undone:
        return undone.found
    raise AssertionError


async def audit_after(database: Database, *statements: str) -> Audit:
    (found,) = await audits_after(database, list(statements), None)
    return found
