"""What a broker really sends to its database."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy import Connection, Engine, event

_PARAMETER = re.compile(r"\$(\d+)(?:::\w+)?")


@dataclass(slots=True)
class SentStatements:
    """Statements with their parameters put in, as far as they are numbers."""

    texts: list[str] = field(default_factory=list)

    def add_numbered(self, text: str, parameters: Any) -> None:
        """Takes a statement of PostgreSQL's kind, whose parameters are $1, $2 …"""
        self.texts.append(_PARAMETER.sub(lambda found: _shown(parameters[int(found[1]) - 1]), text))


def _shown(parameter: Any) -> str:
    return str(parameter) if isinstance(parameter, int) else "'…'"


@contextmanager
def recorded_statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[SentStatements]:
    """Records what every database opened from now on is asked, through SQLAlchemy and beside it."""
    sent = SentStatements()
    fetch = PreparedStatement.fetch

    async def recording_fetch(statement: Any, *parameters: Any, **options: Any) -> Any:
        sent.add_numbered(statement.get_query(), parameters)
        return await fetch(statement, *parameters, **options)

    def watch_sqlite(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(sent.texts.append)

    def watch_core(
        _connection: Connection, cursor: Any, text: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        # SQLite's own trace has it already, with its parameters put in.
        if not isinstance(cursor, sqlite3.Cursor):
            sent.add_numbered(text, parameters)

    monkeypatch.setattr(PreparedStatement, "fetch", recording_fetch)
    event.listen(Engine, "connect", watch_sqlite)
    event.listen(Engine, "before_cursor_execute", watch_core)
    try:
        yield sent
    finally:
        event.remove(Engine, "connect", watch_sqlite)
        event.remove(Engine, "before_cursor_execute", watch_core)
        monkeypatch.undo()
