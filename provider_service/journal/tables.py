"""The journal's two tables, on both databases, and their version."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    inspect,
)

from provider_service.journal.errors import JournalUnusableError
from provider_service.journal.statements import VERSION

_metadata = MetaData()

requests: Final = Table(
    "requests",
    _metadata,
    # A digest of the account's token, and the caller's id in lower case.
    Column("account", LargeBinary, primary_key=True),
    Column("request_id", Text, primary_key=True),
    # entries.Kind and entries.Step; whether the step is one of OPEN_STEPS.
    Column("kind", Text, nullable=False),
    Column("step", SmallInteger, nullable=False),
    Column("is_open", SmallInteger, nullable=False),
    # The process that has to settle it while it is open.
    Column("owner", BigInteger, nullable=False),
    # Stands for service and input, and tells nothing of them.
    Column("digest", Text, nullable=False),
    Column("service", Text, nullable=False),
    # A secret; only while RESERVING, when nothing else leads to what was reserved.
    Column("account_token", Text),
    # JSON; only until the work is done, for services that go on with it after a crash.
    Column("service_input", LargeBinary),
    Column("reservation_id", Text),
    # What is to be captured, or was; of a stream, what was metered so far.
    Column("credits", BigInteger),
    # A serialized google.protobuf.Struct.
    Column("output", LargeBinary),
    # Microseconds since 1970, by the process's clock.
    Column("open_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
)
# Small, and touched twice in an entry's life.
Index("requests_open", requests.c.owner, postgresql_where=requests.c.is_open == 1, sqlite_where=requests.c.is_open == 1)
Index("requests_by_open_time", requests.c.open_time)

journal: Final = Table(
    "journal",
    _metadata,
    # Its one row.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    # Written to find out whether it can be.
    Column("probe_time", BigInteger, nullable=False),
)

# The statements that lead to each version from the one before. Each change of the tables counts VERSION up.
_UPGRADES: Final[dict[int, tuple[str, ...]]] = {}


def set_up(connection: Connection) -> None:
    """Makes the tables, or brings them to this version, in one transaction. Raises JournalUnusableError."""
    if not inspect(connection).has_table(journal.name):
        _metadata.create_all(connection)
        connection.execute(journal.insert().values(id=1, version=VERSION, probe_time=0))
        return
    found = connection.execute(journal.select()).one().version
    if found > VERSION:
        raise JournalUnusableError(f"the journal is of version {found}, newer than this program's {VERSION}")
    for version in range(found + 1, VERSION + 1):
        for statement in _UPGRADES[version]:
            connection.exec_driver_sql(statement)
    connection.execute(journal.update().values(version=VERSION))
