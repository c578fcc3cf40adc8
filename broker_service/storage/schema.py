"""Making a database ours, and telling whether it is."""

from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from broker_service.domain.directory import Key
from broker_service.storage import tables
from broker_service.storage.database import DatabaseUnusableError
from broker_service.storage.directory import add_key


def create_schema(connection: Connection, *, shards: int, operator_key: Key) -> bool:
    """Makes the tables and the first operator key; returns False, changing nothing, if they are there already.

    Raises DatabaseUnusableError if what is there is not ours.
    """
    if inspect(connection).has_table(tables.properties.name):
        shards_of(connection)
        return False
    tables.metadata.create_all(connection)
    connection.execute(
        insert(tables.properties),
        [{"name": "schema_version", "value": str(tables.SCHEMA_VERSION)}, {"name": "shards", "value": str(shards)}],
    )
    add_key(connection, operator_key)
    return True


def shards_of(connection: Connection) -> int:
    """Returns how many shards the database was made with.

    Raises DatabaseUnusableError if it was not made by `init`, or by a version with another schema.
    """
    if not inspect(connection).has_table(tables.properties.name):
        raise DatabaseUnusableError("the database is not a broker's; make one with `iap-broker init`")
    try:
        properties = {row.name: row.value for row in connection.execute(select(tables.properties))}
    except DBAPIError as error:
        raise DatabaseUnusableError("the database is not a broker's: it has another table of properties") from error
    found = properties.get("schema_version")
    if found != str(tables.SCHEMA_VERSION):
        raise DatabaseUnusableError(
            f"the database has schema version {found}, this broker needs {tables.SCHEMA_VERSION}"
        )
    return int(properties["shards"])
