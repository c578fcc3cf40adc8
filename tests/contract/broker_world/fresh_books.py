"""Databases of brokers with nothing in them, copied from one of each kind: that is quicker than making each."""

from datetime import UTC, datetime

from broker_service.bootstrap import initialize
from tests.databases import DatabaseKind, DatabaseMaker

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

# Of the copies that no broker has been started on, by URL.
_operator_keys: dict[str, str] = {}


class FreshBooks:
    """Makes a database of each kind when it is first asked for a copy; has one shard, made at START."""

    def __init__(self, templates: DatabaseMaker) -> None:
        self._templates = templates
        self._made: dict[DatabaseKind, tuple[str, str]] = {}

    def copy(self, kind: DatabaseKind, databases: DatabaseMaker) -> str:
        """Returns the URL of a copy, which is gone with the other databases of its maker."""
        if kind not in self._made:
            url = self._templates.make(kind)
            operator_key = initialize(url, clock=lambda: START)
            assert operator_key is not None
            self._made[kind] = url, operator_key
        url, operator_key = self._made[kind]
        copied = databases.copy(url)
        _operator_keys[copied] = operator_key
        return copied


def take_operator_key(url: str) -> str | None:
    """Returns the operator's key of a copy, once, as `initialize` does; None of any other database."""
    return _operator_keys.pop(url, None)
