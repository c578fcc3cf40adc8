"""The steps of a batch, gone through by hand where no timing of real writers could be relied on."""

from typing import Any

import asyncpg
import pytest

from broker_service.domain.decide import Verdict
from broker_service.domain.references import References
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageConflictError
from broker_service.storage.ledger import commit_steps
from broker_service.storage.ledger_rows import GRANTS
from broker_service.storage.ledger_statements import LOCK_ACCOUNTS, UNSPENT_GRANTS, LoadStep
from tests.databases import DatabaseKind, only_on
from tests.storage.ledger_pages import grant, load, now


def test_an_account_that_is_opened_behind_the_lock_is_a_conflict() -> None:
    def decide(*_: object) -> Verdict:
        raise AssertionError("nothing may be decided on an account that is not locked")

    batch = commit_steps(References(accounts={"acc"}), now, decide)
    (locking,) = next(batch)
    assert isinstance(locking, LoadStep)
    assert locking.load is LOCK_ACCOUNTS
    # Missing when it was to be locked; and then there is a grant of it.
    steps = batch.send([()])
    rows = [[GRANTS.row_of(grant())] if step.load is UNSPENT_GRANTS else [] for step in steps]  # type: ignore[union-attr]
    with pytest.raises(StorageConflictError, match="acc was opened meanwhile"):
        batch.send(rows)


@only_on(DatabaseKind.POSTGRESQL, reason="SQLite plans each statement by what the tables hold then")
async def test_statements_are_planned_anew_after_1_2_4_8_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = asyncpg.Connection.prepare
    planned_at: list[int] = []

    async def counting_prepare(connection: Any, text: str, **options: Any) -> Any:
        planned_at.append(batch_number)
        return await prepare(connection, text, **options)

    monkeypatch.setattr(asyncpg.Connection, "prepare", counting_prepare)
    lane = database.lane(0)
    for batch_number in range(1, 20):  # noqa: B007 - counting_prepare looks at it
        await load(lane, References(accounts={"acc"}))
    assert sorted(set(planned_at)) == [1, 2, 4, 8, 16]
