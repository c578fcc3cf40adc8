"""The schema: the migrations make what the tables say, all or nothing, and other databases are told from ours."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from broker_service.bootstrap import initialize
from broker_service.storage import schema, tables
from broker_service.storage.database import create_database
from broker_service.storage.errors import DatabaseUnusableError
from broker_service.storage.schema import Migration, current, head, migrate_schema, shards_of
from mesh_runtime.startup_errors import StartupError
from tests.databases import run_sql

# All that PostgreSQL knows of our tables, with CHECK constraints, partial indexes, collations and storage options.
POSTGRESQL_CATALOGUE = """
WITH ours AS (
    SELECT oid, relname, reloptions FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
)
SELECT relname, 'column', attnum || ' ' || attname,
       concat_ws(' ', format_type(atttypid, atttypmod), attcollation, attnotnull, pg_get_expr(adbin, adrelid))
FROM ours JOIN pg_attribute ON attrelid = oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0
UNION ALL SELECT relname, 'constraint', conname, pg_get_constraintdef(con.oid)
FROM ours JOIN pg_constraint con ON conrelid = ours.oid
UNION ALL SELECT relname, 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM ours JOIN pg_index ON indrelid = oid
UNION ALL SELECT relname, 'options', '', array_to_string(reloptions, ' ') FROM ours
"""
SQLITE_CATALOGUE = """
SELECT tbl_name, type, name, sql FROM sqlite_schema WHERE tbl_name <> 'alembic_version' AND sql IS NOT NULL
"""

NEXT_STEP = """
from alembic import op

revision = "9001"
down_revision = {head!r}


def upgrade() -> None:
    op.execute("CREATE TABLE things (name TEXT)")
"""
BROKEN_STEP = """
from alembic import op

revision = "9002"
down_revision = "9001"


def upgrade() -> None:
    op.execute("INSERT INTO things VALUES ('made')")
    op.execute("INSERT INTO nowhere VALUES (1)")
"""


def in_transaction(url: str, work: Callable[[Connection], Any]) -> Any:
    return create_database(url, work)


def catalogue(connection: Connection) -> set[tuple[str, ...]]:
    statement = POSTGRESQL_CATALOGUE if connection.dialect.name == "postgresql" else SQLITE_CATALOGUE
    return {tuple(" ".join(str(value).split()) for value in row) for row in connection.execute(text(statement))}


def tables_of(url: str) -> set[str]:
    return {table for table, *_ in in_transaction(url, catalogue)}


@pytest.fixture
def database(database_url: str) -> str:
    """A database of the broker's."""
    assert initialize(database_url)
    return database_url


@pytest.fixture
def add_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Adds steps to the migrations, as a newer version of the broker would have them."""
    newest = head()

    def add(*steps: str) -> None:
        directory = tmp_path / "100%newer"
        shutil.copytree(Path(schema.__file__).parent / "migrations", directory)
        for number, step in enumerate(steps, 9001):
            (directory / "versions" / f"revision_{number}.py").write_text(step.format(head=newest))
        monkeypatch.setattr(schema, "_MIGRATIONS", directory)
        schema._revisions.cache_clear()

    yield add
    schema._revisions.cache_clear()


def test_the_migrations_make_what_the_tables_say(new_database: Callable[[], str]) -> None:
    migrated, plain = new_database(), new_database()
    assert initialize(migrated)
    in_transaction(plain, tables.metadata.create_all)
    made = in_transaction(migrated, catalogue)
    assert {table for table, *_ in made} == set(tables.metadata.tables)
    assert made == in_transaction(plain, catalogue)


def test_alembic_finds_no_difference_to_the_tables(database: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    assert in_transaction(database, differences) == []


def test_the_revisions_form_one_line() -> None:
    steps = list(ScriptDirectory(str(Path(schema.__file__).parent / "migrations")).walk_revisions())
    assert [step.revision for step in steps] == [f"{number:04}" for number in range(len(steps), 0, -1)]
    assert all(Path(step.path).name == f"revision_{step.revision}.py" for step in steps)
    assert schema._revisions() == tuple(step.revision for step in steps)


def test_a_new_database_is_current(database: str) -> None:
    assert in_transaction(database, current) == head()
    assert in_transaction(database, migrate_schema) == Migration(head(), head())


@pytest.mark.parametrize("shards", [1, 7, schema.MAX_SHARDS])
def test_the_number_of_shards_is_chosen_for_good(database_url: str, shards: int) -> None:
    assert initialize(database_url, shards=shards)
    before = run_sql(database_url, "SELECT * FROM properties"), run_sql(database_url, "SELECT * FROM keys")
    assert initialize(database_url) is None
    assert initialize(database_url, shards=shards) is None
    with pytest.raises(StartupError, match=rf"--shards {shards}, .* nothing is changed"):
        initialize(database_url, shards=shards + 1)
    assert (run_sql(database_url, "SELECT * FROM properties"), run_sql(database_url, "SELECT * FROM keys")) == before
    assert in_transaction(database_url, shards_of) == shards


def test_a_migration_goes_on_from_where_the_database_is(database: str, add_steps: Callable[..., None]) -> None:
    oldest = head()
    add_steps(NEXT_STEP)
    with pytest.raises(DatabaseUnusableError, match=f"revision {oldest}.*needs 9001.*iap-broker migrate"):
        in_transaction(database, shards_of)
    with pytest.raises(StartupError, match="iap-broker migrate"):
        initialize(database)
    assert in_transaction(database, migrate_schema) == Migration(oldest, "9001")
    assert in_transaction(database, migrate_schema) == Migration("9001", "9001")
    assert in_transaction(database, shards_of) == 1
    assert "things" in tables_of(database)


def test_a_migration_that_fails_leaves_nothing(database: str, add_steps: Callable[..., None]) -> None:
    before, oldest = in_transaction(database, catalogue), head()
    add_steps(NEXT_STEP, BROKEN_STEP)
    with pytest.raises(Exception, match="nowhere"):
        in_transaction(database, migrate_schema)
    assert in_transaction(database, catalogue) == before
    assert in_transaction(database, current) == oldest


def test_an_init_that_fails_leaves_nothing(database_url: str, add_steps: Callable[..., None]) -> None:
    add_steps(NEXT_STEP, BROKEN_STEP)
    with pytest.raises(Exception, match="nowhere"):
        initialize(database_url)
    assert tables_of(database_url) == set()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "9999.*newer broker"),
        ("DELETE FROM alembic_version", "before the schema had revisions"),
        ("DROP TABLE alembic_version", "before the schema had revisions"),
        ("DELETE FROM properties WHERE name = 'shards'", "not a broker's"),
        ("ALTER TABLE properties RENAME COLUMN value TO colour", "not a broker's"),
    ],
)
def test_a_database_of_another_kind_or_version_is_refused(database: str, spoil: str, words: str) -> None:
    run_sql(database, spoil)
    before = in_transaction(database, catalogue)
    for work in (shards_of, migrate_schema):
        with pytest.raises(DatabaseUnusableError, match=words):
            in_transaction(database, work)
    with pytest.raises(StartupError, match=words):
        initialize(database)
    assert in_transaction(database, catalogue) == before


def test_an_empty_database_is_not_migrated_but_made(database_url: str) -> None:
    with pytest.raises(DatabaseUnusableError, match="iap-broker init"):
        in_transaction(database_url, migrate_schema)
    assert tables_of(database_url) == set()


def test_tables_of_somebody_else_with_our_names_are_left_alone(database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE accounts (name TEXT)")
    with pytest.raises(StartupError, match=r"other tables \(accounts\)"):
        initialize(database_url)
    assert tables_of(database_url) == {"accounts"}


def test_tables_of_somebody_else_with_names_of_their_own_do_not_matter(database_url: str) -> None:
    run_sql(database_url, "CREATE TABLE pictures (name TEXT)")
    assert initialize(database_url)
    assert in_transaction(database_url, shards_of) == 1


def test_whoever_changes_the_schema_keeps_others_out(database: str) -> None:
    with ThreadPoolExecutor(1) as executor:

        def meanwhile(connection: Connection) -> Future[Migration]:
            migrate_schema(connection)
            other = executor.submit(in_transaction, database, migrate_schema)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.3)
            return other

        other: Future[Migration] = in_transaction(database, meanwhile)
        assert other.result(timeout=20) == Migration(head(), head())
