"""`iap-broker settle`, as an operator or a timer runs it: beside a broker, beside itself, and after a crash."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from iap.broker.v1 import admin_pb2

from tests.contract.broker_world.money import Seller, dinar, euro, new_seller, yen
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, call, new_world
from tests.databases import DatabaseKind, only_on
from tests.forked_commands import run_forked
from tests.forked_processes import start_process
from tests.forked_programs import BROKER

COMMAND = [sys.executable, "-m", "broker_service"]


@pytest.fixture
async def own_world(books_url: str) -> AsyncIterator[World]:
    async with running_broker(books_url) as running:
        yield await new_world(running)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = run_forked(BROKER, *arguments, environment={**os.environ, **environment})
    return subprocess.CompletedProcess(arguments, done.exit_code, done.output, done.errors)


async def settle(world: World, *options: str, **environment: str) -> Any:
    """Runs the command while a broker serves in this process; returns what it prints as JSON."""
    arguments = ("settle", "--database", world.running.database_url, "--json", *options)
    done = await asyncio.to_thread(run, *arguments, **environment)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("iap-broker: error: ")
    for word in words:
        assert word in line


def amounts(payouts: list[dict[str, str]]) -> set[tuple[str, str, str]]:
    return {(it["provider_id"], it["currency"], it["amount"]) for it in payouts}


async def some_sellers(world: World) -> tuple[Seller, Seller]:
    """Returns a seller that is owed 7.50 EUR, 300 JPY and 0.751 KWD, and one that is owed 0.75 EUR."""
    large, small = await new_seller(world), await new_seller(world)
    for price in (euro(1_000), yen(400), dinar(1_001)):
        await large.sell(price)
    await small.sell(euro(100))
    return large, small


async def test_a_dry_run_lists_what_is_due_and_makes_nothing(own_world: World) -> None:
    large, small = await some_sellers(own_world)
    due = {
        (large.id, "EUR", "7.50"),
        (large.id, "JPY", "300"),
        (large.id, "KWD", "0.751"),
        (small.id, "EUR", "0.75"),
    }
    for _ in range(2):
        found = await settle(own_world, "--dry-run")
        assert found["applied"] is False
        assert amounts(found["due"]) == due
    assert await large.payouts() == []
    assert await small.payouts() == []


async def test_what_is_due_is_paid_once(own_world: World) -> None:
    large, small = await some_sellers(own_world)
    found = await settle(own_world, "--apply")
    assert (found["applied"], found["in_transit_before"]) == (True, [])
    assert len(amounts(found["made"])) == 4
    assert {it.payout_id for it in (*await large.payouts(), *await small.payouts())} == {
        it["payout_id"] for it in found["made"]
    }
    assert await large.payable() == [euro(0), yen(0), dinar(0)]
    again = await settle(own_world, "--apply")
    assert again["made"] == []
    # What the first run told of is told again, lest it was lost.
    assert sorted(again["in_transit_before"], key=str) == sorted(found["made"], key=str)
    assert (await settle(own_world, "--dry-run"))["due"] == []


async def test_one_currency_is_settled_by_itself(own_world: World) -> None:
    large, small = await some_sellers(own_world)
    assert amounts((await settle(own_world, "--dry-run", "--currency", "JPY"))["due"]) == {(large.id, "JPY", "300")}
    assert amounts((await settle(own_world, "--apply", "--currency", "JPY"))["made"]) == {(large.id, "JPY", "300")}
    assert await large.payable() == [euro(750), yen(0), dinar(751)]
    assert await small.payable() == [euro(75)]


async def test_less_than_the_minimum_waits(own_world: World) -> None:
    large, small = await some_sellers(own_world)
    options = ("--payout-minimum", "EUR=7.50", "--payout-minimum", "JPY=301")
    assert amounts((await settle(own_world, "--apply", *options))["made"]) == {
        (large.id, "EUR", "7.50"),
        (large.id, "KWD", "0.751"),
    }
    found = await settle(own_world, "--dry-run", IAP_BROKER_PAYOUT_MINIMUM="EUR=0.76 JPY=300")
    assert amounts(found["due"]) == {(large.id, "JPY", "300")}
    assert await small.payable() == [euro(75)]


async def test_suspended_providers_and_those_that_owe_are_left_out(own_world: World) -> None:
    large, small = await some_sellers(own_world)
    operator = own_world.running.operator_key
    suspend = admin_pb2.SuspendProviderRequest(provider_id=large.id)
    await call(own_world.stubs.admin.SuspendProvider, suspend, operator)
    sale = await small.sell(yen(400))
    await small.pay_out("JPY")
    small.take_back(sale, share=300, commission=100)
    found = await settle(own_world, "--apply")
    assert amounts(found["made"]) == {(small.id, "EUR", "0.75")}
    assert await large.payouts() == []


async def test_several_runs_at_once_pay_each_once(own_world: World) -> None:
    sellers = [await new_seller(own_world) for _ in range(5)]
    for seller in sellers:
        await seller.sell(euro(1_000))
    runs = await asyncio.gather(*(settle(own_world, "--apply") for _ in range(3)))
    assert sum(len(run["made"]) for run in runs) == 5
    for seller in sellers:
        (payout,) = await seller.payouts()
        assert payout.amount == euro(750)


async def test_a_run_that_is_killed_is_finished_by_the_next(own_world: World) -> None:
    sellers = [await new_seller(own_world) for _ in range(12)]
    for seller in sellers:
        await seller.sell(euro(1_000))
    url = own_world.running.database_url
    process = await start_process(*COMMAND, "settle", "--database", url, "--apply", stdout=asyncio.subprocess.DEVNULL)
    count = "SELECT count(*) FROM payouts"
    while process.returncode is None and own_world.running.sql(count) < [(2,)]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    if process.returncode is None:
        process.kill()
    await process.wait()
    ((made_before,),) = own_world.running.sql(count)
    found = await settle(own_world, "--apply")
    assert (len(found["in_transit_before"]), len(found["made"])) == (made_before, 12 - made_before)
    for seller in sellers:
        (payout,) = await seller.payouts()
        assert payout.amount == euro(750)
        assert await seller.payable() == [euro(0)]
    audited = await asyncio.to_thread(run, "audit", "--database", url)
    assert audited.returncode == 0, audited


async def test_people_read_lines(own_world: World) -> None:
    seller = await new_seller(own_world)
    url = own_world.running.database_url
    nothing = await asyncio.to_thread(run, "settle", "--database", url, "--dry-run")
    assert nothing.stdout == "0 payouts due\n"
    await seller.sell(euro(1_000))
    due = await asyncio.to_thread(run, "settle", "--database", url, "--dry-run")
    assert due.stdout == f"would pay {seller.id} EUR 7.50\n1 payout due\n"
    made = await asyncio.to_thread(run, "settle", "--database", url, "--apply")
    (payout,) = await seller.payouts()
    told = f"{payout.payout_id} of EUR 7.50 to {seller.id}"
    assert made.stdout == f"made: {told}\n1 payout made\n"
    again = await asyncio.to_thread(run, "settle", "--database", url, "--apply")
    day = payout.create_time.ToDatetime().date()
    assert again.stdout == f"in transit since {day}: {told}\n0 payouts made\n"


@pytest.mark.parametrize("flags", [(), ("--dry-run", "--apply")])
@only_on(DatabaseKind.SQLITE, reason="no database is looked at")
def test_it_is_said_whether_to_apply(database_url: str, flags: tuple[str, ...]) -> None:
    assert_refused(run("settle", "--database", database_url, *flags), "either --dry-run or --apply")


@pytest.mark.parametrize("command", [("settle", "--dry-run"), ("serve",)])
@pytest.mark.parametrize(
    ("minimums", "words"),
    [
        (["EUR"], ["EUR=10.00"]),
        (["EUR="], ["no amount"]),
        (["EUR=0.001"], ["finer"]),
        (["JPY=1.5"], ["finer"]),
        (["EUR=-1"], ["no amount"]),
        (["EUR=0"], ["pays something"]),
        (["ZZZ=1"], ["ZZZ", "ISO 4217"]),
        (["EUR=1", "EUR=2"], ["EUR", "twice"]),
    ],
)
@only_on(DatabaseKind.SQLITE, reason="no database is looked at")
def test_a_wrong_minimum_is_named(
    database_url: str, command: tuple[str, ...], minimums: list[str], words: list[str]
) -> None:
    options = [option for minimum in minimums for option in ("--payout-minimum", minimum)]
    assert_refused(run(*command, "--database", database_url, *options), "--payout-minimum", *words)


@only_on(DatabaseKind.SQLITE, reason="no database is looked at")
def test_a_wrong_currency_is_named(database_url: str) -> None:
    assert_refused(run("settle", "--database", database_url, "--dry-run", "--currency", "euro"), "--currency", "euro")


def test_a_database_that_is_not_there_is_named(database_url: str) -> None:
    assert_refused(run("settle", "--database", database_url, "--apply"), "iap-broker init")
