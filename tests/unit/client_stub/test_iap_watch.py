"""`iap watch`, and the client's method behind it."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE

import grpc
import pytest
from iap.broker.v1 import account_pb2

from client_stub import accounts
from client_stub.accounts import AccountClient
from client_stub.errors import AccountNotFoundError, DeadlineExceededError, UnavailableError
from tests.unit.client_stub.command_line import ROOT, iap
from tests.unit.client_stub.scripted_server import ScriptedServer, refusal, serving

WATCH = "AccountService.WatchBalance"
UNKNOWN = refusal(grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND", "there is no such account")
STOPPING = refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "the broker is stopping")


def reading(ledger: int, reserved: int = 0) -> account_pb2.WatchBalanceResponse:
    balance = {"ledger_credits": ledger, "reserved_credits": reserved, "available_credits": ledger - reserved}
    answer = account_pb2.WatchBalanceResponse(balance=balance)
    answer.time.FromJsonString("2026-01-31T12:00:00Z")
    return answer


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "_LONGEST_PAUSE_SECONDS", 0.01)


async def test_each_balance_is_a_line_until_the_broker_refuses() -> None:
    async with serving(ScriptedServer({WATCH: [reading(100), reading(100, 7), UNKNOWN]})) as broker:
        outcome = await iap("watch", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.output.splitlines() == [
        "2026-01-31 12:00:00  100 credits: 100 available, 0 reserved",
        "2026-01-31 12:00:00  100 credits: 93 available, 7 reserved",
    ]
    assert (outcome.exit_code, "no such account" in outcome.errors) == (1, True)
    assert broker.calls[0].request == account_pb2.WatchBalanceRequest(account_token="tok_secret")


async def test_as_json_each_balance_is_a_document_at_once_and_an_interrupt_ends_it() -> None:
    async with serving(ScriptedServer({WATCH: [reading(100, 7)]})) as broker:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "client_stub", "--json", "watch", "--broker", broker.target),
            *("--account-id", "acc_1", "--customer-key", "key_1"),
            stdout=PIPE,
            cwd=ROOT,
        )
        assert process.stdout is not None
        document = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 130
    assert document["balance"] == {"ledger_credits": 100, "reserved_credits": 7, "available_credits": 93}
    assert document["time"] == "2026-01-31T12:00:00Z"
    assert broker.calls[0].metadata["authorization"] == "Bearer key_1"


async def test_a_broker_that_stops_is_followed_by_the_next_and_nothing_is_told_twice() -> None:
    answers = [reading(100), STOPPING, reading(100), reading(90), STOPPING, reading(80), UNKNOWN]
    seen = []

    async def watch(client: AccountClient) -> None:
        async for response in client.watch_balance(account_token="tok"):
            seen.append(response.balance.ledger_credits)  # noqa: PERF401 - what came before the error counts

    async with serving(ScriptedServer({WATCH: answers})) as broker, AccountClient.connect(broker.target) as client:
        with pytest.raises(AccountNotFoundError):
            await watch(client)
    assert seen == [100, 90, 80]
    assert len(broker.calls) == 3


async def test_a_broker_that_stays_away_is_given_up() -> None:
    stopping = [STOPPING for _ in range(1_000)]
    async with serving(ScriptedServer({WATCH: stopping})) as broker, AccountClient.connect(broker.target) as client:
        with pytest.raises((UnavailableError, DeadlineExceededError)):
            await anext(client.watch_balance(account_token="tok", timeout_seconds=0.2))
    async with AccountClient.connect(broker.target) as client:
        with pytest.raises((UnavailableError, DeadlineExceededError)):
            await anext(client.watch_balance(account_token="tok", timeout_seconds=0.2))


async def test_who_stops_watching_ends_the_call() -> None:
    async with (
        serving(ScriptedServer({WATCH: [reading(100)]})) as broker,
        AccountClient.connect(broker.target) as client,
    ):
        watching = client.watch_balance(account_token="tok")
        assert (await anext(watching)).balance.ledger_credits == 100
        await watching.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(watching)
