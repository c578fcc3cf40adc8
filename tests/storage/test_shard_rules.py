"""What lets the hot tables be spread over machines, proven from the schema and from what a workload really sends."""

import re
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2
from sqlalchemy import Table, UniqueConstraint

from broker_service.domain.identities import shard_of
from broker_service.storage import tables
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, new_id, new_world
from tests.storage.statement_recorder import recorded_statements

HOT = [tables.accounts, tables.grants, tables.reservations, tables.entries, tables.operations]
SHARDED = [*HOT, tables.purchases]
SHARDS = 4

_NAMES = "|".join(table.name for table in SHARDED)
_USE = re.compile(rf"\b(?:FROM|JOIN|UPDATE|UPDATE OR ROLLBACK|INTO)\s+({_NAMES})\b")
_CONDITION = re.compile(r"\bshard_id = (\d+)")
_INSERTED = re.compile(
    rf"INSERT (?:OR ROLLBACK )?INTO (?:{_NAMES}) \(shard_id,.*?\)\s+(?:VALUES|SELECT)\s*(.*?)(?:RETURNING|\Z)",
    re.DOTALL,
)
# Of a multi-row VALUES: a number that follows an opening bracket at the beginning of a row.
_ROW = re.compile(r"(?:^|\), )\((\d+),")


@pytest.mark.parametrize("table", HOT, ids=lambda table: table.name)
def test_the_primary_key_of_a_hot_table_starts_with_its_shard(table: Table) -> None:
    assert next(iter(table.primary_key)).name == "shard_id"
    assert len(table.primary_key) > 1


@pytest.mark.parametrize("table", SHARDED, ids=lambda table: table.name)
def test_nothing_ties_the_shards_of_a_table_together(table: Table) -> None:
    assert not table.foreign_keys
    assert not [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    assert not [index.name for index in table.indexes if index.unique]
    for column in table.columns:
        assert (column.default, column.server_default, column.identity) == (None, None, None), column
        assert column.autoincrement is not True, column


def test_what_has_no_shard_is_no_hot_table() -> None:
    assert {table.name for table in tables.metadata.sorted_tables if "shard_id" in table.c} == {
        table.name for table in SHARDED
    }


async def test_each_statement_on_a_hot_table_names_exactly_one_shard(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded_statements(monkeypatch) as sent:
        async with running_broker(database_url, shards=SHARDS) as running:
            sent.texts.clear()
            used_shards = await work_on_all_shards(await new_world(running))
            texts = list(sent.texts)
    hot = [text for text in texts if _USE.search(text)]
    assert {table for text in hot for table in _USE.findall(text)} == {table.name for table in SHARDED}
    seen = {shard for text in hot for shard in shards_of(text)}
    assert seen == used_shards == set(range(SHARDS))
    for text in hot:
        assert len(shards_of(text)) == 1, text
        # Every use of a table stands beside a condition of its own.
        assert len(_USE.findall(text)) <= len(_CONDITION.findall(text)) + len(_INSERTED.findall(text)), text


def shards_of(text: str) -> set[int]:
    """Returns all shards that a statement names, in conditions and in the rows it inserts."""
    found = {int(shard) for shard in _CONDITION.findall(text)}
    for rows in _INSERTED.findall(text):
        rows_of_values = _ROW.findall(rows)
        found |= {int(shard) for shard in rows_of_values or re.findall(r"^(\d+),", rows)}
    return found


async def work_on_all_shards(world: World) -> set[int]:
    """Does everything that an account can go through, on accounts of every shard; returns the shards."""
    used: set[int] = set()
    while len(used) < SHARDS:
        account = await world.new_account()
        used.add(shard_of(account.id, SHARDS))
        stubs, provider, operator = world.stubs, world.provider.key, world.running.operator_key
        kept, given_back, expiring = [await world.reserved(account, 5) for _ in range(3)]
        requests: list[tuple[Any, Any]] = [
            (stubs.broker.Capture, broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=kept, credits=2)),
            (stubs.broker.Release, broker_pb2.ReleaseRequest(request_id=new_id(), reservation_id=given_back)),
            (
                stubs.broker.Extend,
                broker_pb2.ExtendRequest(
                    request_id=new_id(), reservation_id=expiring, ttl=Duration(seconds=5), additional_credits=1
                ),
            ),
            (
                stubs.broker.Charge,
                broker_pb2.ChargeRequest(request_id=new_id(), account_token=account.token, credits=1),
            ),
            (stubs.broker.Refund, broker_pb2.RefundRequest(request_id=new_id(), reservation_id=kept)),
            (stubs.broker.CheckCredits, broker_pb2.CheckCreditsRequest(account_token=account.token, credits=1)),
            (stubs.broker.ListReservations, broker_pb2.ListReservationsRequest(account_token=account.token)),
        ]
        for method, request in requests:
            await world.call(method, request, provider)
        await world.call(
            stubs.admin.GrantCredits,
            admin_pb2.GrantCreditsRequest(request_id=new_id(), account_id=account.id, credits=3),
            operator,
        )
        await world.buy(account, (await world.new_pack(account.service)).pack_id)
        world.running.clock.move(timedelta(seconds=6))
        await world.call(stubs.accounts.GetBalance, account_pb2.GetBalanceRequest(account_token=account.token), "")
        await world.call(stubs.accounts.ListEntries, account_pb2.ListEntriesRequest(account_token=account.token), "")
    return used
