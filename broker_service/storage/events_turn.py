"""Taking turns: whoever places events, or changes webhooks or deliveries, does so alone."""

from typing import Final

from sqlalchemy import Connection, func, select

# Any number will do that no other program takes for a lock of its own in the same database.
_ADVISORY_LOCK: Final = 0x6961_705F_6576_6E74


def take_turn(connection: Connection) -> None:
    """Waits until no other transaction has the turn, and keeps it until this one ends.

    Raises StorageConflictError, in the end, if it is not given. SQLite's writer is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
