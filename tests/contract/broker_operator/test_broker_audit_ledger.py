"""AuditLedger: what the operator learns of the books while the broker serves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from iap.broker.v1 import admin_pb2
from sqlalchemy import Connection
from structlog.testing import capture_logs

from tests.contract.broker_world.operations import charged
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import World, call


async def audit_ledger(world: World, key: str | None = None) -> admin_pb2.AuditLedgerResponse:
    operator_key = world.running.operator_key
    return await call(world.stubs.admin.AuditLedger, admin_pb2.AuditLedgerRequest(), key or operator_key)


AUDIT = "broker_service.storage.audit"


class SlowReads:
    """Makes each read of an audit take a while, and counts them: all, and how many there were at once."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
        self.count = self.running = self.most_at_once = 0
        database = world.running.broker.database
        read = database.read

        async def slow_read(work: Callable[[Connection], Any]) -> Any:
            if not getattr(work, "func", work).__module__.startswith(AUDIT):
                return await read(work)
            self.count += 1
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
            try:
                await asyncio.sleep(seconds)
                return await read(work)
            finally:
                self.running -= 1

        monkeypatch.setattr(database, "read", slow_read)


async def end_of(waiting: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting
    return caught.value.code()


async def test_books_that_agree_are_counted(own_world: World) -> None:
    world = own_world
    accounts = [await world.new_account() for _ in range(3)]
    for account in accounts:
        await charged(world, account, 5)
    found = await audit_ledger(world)
    assert (found.accounts_checked, found.entries_checked, list(found.violations)) == (3, 6, [])


async def test_each_difference_is_named_and_logged_and_the_broker_serves_on(own_world: World) -> None:
    world = own_world
    broken, sound = await world.new_account(), await world.new_account()
    world.running.sql("UPDATE accounts SET entry_count = 7 WHERE account_id = ?", broken.id)
    with capture_logs() as logs:
        found = await audit_ledger(world)
    (violation,) = found.violations
    assert (violation.account_id, violation.rule) == (broken.id, "ENTRY_COUNT")
    assert violation.description == "7 is stored, 1 follows from the rows"
    (line,) = [line for line in logs if line["event"] == "ledger.books_disagree"]
    assert (line["log_level"], line["violations"], line["rules"]) == ("error", 1, ["ENTRY_COUNT"])
    await world.reserve(sound, 1)


async def test_only_an_operator_may_audit(world: World) -> None:
    for key in (world.provider.key, (await world.new_customer()).key):
        assert (await refusal_of(audit_ledger(world, key))).reason == "PERMISSION_DENIED"


async def test_an_audit_ends_with_its_deadline(own_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    request = admin_pb2.AuditLedgerRequest()
    metadata = (("authorization", f"Bearer {own_world.running.operator_key}"),)
    await audit_ledger(own_world)
    reads = SlowReads(own_world, monkeypatch, seconds=0.2)
    assert await end_of(own_world.stubs.admin.AuditLedger(request, metadata=metadata, timeout=0.3)) is (
        grpc.StatusCode.DEADLINE_EXCEEDED
    )
    await asyncio.sleep(0.1)
    begun = reads.count
    await asyncio.sleep(0.5)
    assert reads.count == begun


async def test_an_audit_ends_with_its_caller(own_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    request = admin_pb2.AuditLedgerRequest()
    metadata = (("authorization", f"Bearer {own_world.running.operator_key}"),)
    await audit_ledger(own_world)
    reads = SlowReads(own_world, monkeypatch, seconds=0.2)
    auditing = own_world.stubs.admin.AuditLedger(request, metadata=metadata)
    await asyncio.sleep(0.3)
    auditing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await auditing
    await asyncio.sleep(0.1)
    begun = reads.count
    assert begun > 0
    await asyncio.sleep(0.5)
    assert reads.count == begun


async def test_audits_take_turns(own_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # The broker knows the operator's key from here on.
    await audit_ledger(own_world)
    reads = SlowReads(own_world, monkeypatch, seconds=0.01)
    found = await asyncio.gather(*(audit_ledger(own_world) for _ in range(3)))
    assert [list(it.violations) for it in found] == [[], [], []]
    assert reads.most_at_once == 1
