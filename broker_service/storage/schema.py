"""Making a database ours, bringing it to the schema of this broker, and telling whether it is at that.

Everything here runs in the caller's transaction. What changes the schema must run in one that writes: on SQLite that
is BEGIN IMMEDIATE, which lets nobody else in; on PostgreSQL `_take_turns` does the same for these commands.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Text, column, func, insert, inspect, select, table, text

from broker_service.domain.directory import Key
from broker_service.storage import tables
from broker_service.storage.directory import add_key
from broker_service.storage.errors import DatabaseUnusableError

DEFAULT_SHARDS: Final = 1
MAX_SHARDS: Final = 1_024

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_STEPS: Final = "versions/revision_*.py"
# Where Alembic keeps the revision.
_REVISION_TABLE: Final = "alembic_version"
_SHARDS: Final = "shards"
# Any number will do that no other program takes for a lock of its own in the same database.
_ADVISORY_LOCK: Final = 0x6961_705F_7363_686D
_WAIT_SECONDS: Final = 20


@dataclass(frozen=True, slots=True)
class Migration:
    """From which revision to which a database was brought; the same ones if it was current."""

    from_revision: str
    to_revision: str


def create_schema(connection: Connection, *, shards: int | None, operator_key: Key) -> bool:
    """Makes the tables and the first operator key; returns False, changing nothing, if they are there already.

    `shards` None takes what is there, or the default. Raises DatabaseUnusableError if what is there is not ours, not
    current, or has another number of shards.
    """
    _take_turns(connection)
    existing = set(inspect(connection).get_table_names())
    if tables.properties.name in existing:
        made_with = shards_of(connection)
        if shards not in (None, made_with):
            raise DatabaseUnusableError(
                f"the database was made with --shards {made_with}, which is for good; nothing is changed"
            )
        return False
    taken = existing & {*tables.metadata.tables, _REVISION_TABLE}
    if taken:
        raise DatabaseUnusableError(f"the database is not a broker's: it has other tables ({', '.join(sorted(taken))})")
    upgrade(connection)
    connection.execute(insert(tables.properties), {"name": _SHARDS, "value": str(shards or DEFAULT_SHARDS)})
    add_key(connection, operator_key)
    return True


def migrate_schema(connection: Connection) -> Migration:
    """Brings a broker's database to this broker's schema. Raises DatabaseUnusableError if it is no such database."""
    _take_turns(connection)
    found = _known_revision(connection)
    if found != head():
        upgrade(connection)
    return Migration(found, head())


def shards_of(connection: Connection) -> int:
    """Returns how many shards the database was made with.

    Raises DatabaseUnusableError if it was not made by `init`, or has another schema than this broker's.
    """
    found = _known_revision(connection)
    if found != head():
        raise DatabaseUnusableError(
            f"the database's schema is at revision {found}, this broker needs {head()}; run `iap-broker migrate`"
        )
    properties = tables.properties
    return int(connection.execute(select(properties.c.value).where(properties.c.name == _SHARDS)).scalar_one())


def upgrade(connection: Connection) -> None:
    """Runs every migration that the database has not had yet."""
    # A server, which only asks for the revision, does without: it makes a fifth of what a broker imports.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config(attributes={"connection": connection})
    # A percent sign in a path would begin an interpolation.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")


def current(connection: Connection) -> str | None:
    """Returns the revision a database is at; None if it has none."""
    if not inspect(connection).has_table(_REVISION_TABLE):
        return None
    revision = column("version_num", Text)
    return connection.execute(select(revision).select_from(table(_REVISION_TABLE, revision))).scalar_one_or_none()


def head() -> str:
    """Returns the revision this broker needs."""
    return _revisions()[0]


@cache
def _revisions() -> tuple[str, ...]:
    """Returns all revisions this broker knows, newest first: their files are named for them, and form one line."""
    return tuple(sorted((path.stem.removeprefix("revision_") for path in _MIGRATIONS.glob(_STEPS)), reverse=True))


def _known_revision(connection: Connection) -> str:
    """Returns the revision of a broker's database. Raises DatabaseUnusableError if it is none, or of a newer broker."""
    inspector = inspect(connection)
    properties = tables.properties
    if not inspector.has_table(properties.name):
        raise DatabaseUnusableError("the database is not a broker's; make one with `iap-broker init`")
    if not {column["name"] for column in inspector.get_columns(properties.name)} >= set(properties.c.keys()):
        raise DatabaseUnusableError("the database is not a broker's: it has another table of properties")
    if connection.execute(select(properties.c.value).where(properties.c.name == _SHARDS)).one_or_none() is None:
        raise DatabaseUnusableError("the database is not a broker's: its properties name no shards")
    found = current(connection)
    if found is None:
        raise DatabaseUnusableError(
            "the database was made before the schema had revisions and cannot be migrated; make a new one"
        )
    if found not in _revisions():
        raise DatabaseUnusableError(
            f"the database's schema is at revision {found}, made by a newer broker; this one knows up to {head()}"
        )
    return found


def _take_turns(connection: Connection) -> None:
    """Waits until no other command is changing the schema, and keeps others out until the transaction ends."""
    if connection.dialect.name == "postgresql":
        # Longer than anybody waits for a row.
        connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_SECONDS}s'"))
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
