"""A provider, its broker or both, killed while a stream runs: what was delivered is paid, and nothing more."""

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
from iap.broker.v1.broker_pb2 import ReservationState
from iap.provider.v1.provider_pb2 import ServeStreamResponse

from client_stub.broker import BrokerClient
from client_stub.errors import IapError
from client_stub.provider import ProviderClient
from tests.chaos.providers.counted_services import PRICE
from tests.chaos.providers.provider_stage import BROKER, PROVIDER, STREAMED, ProviderStage, provider_stage
from tests.chaos.stage import KILLS_VARIABLE
from tests.databases import DatabaseKind, DatabaseMaker

# All there are, or as many as a run of all tests has time for.
IN_FULL = KILLS_VARIABLE in os.environ
VICTIMS = ((PROVIDER,), (PROVIDER, BROKER), (BROKER,))
TICKS = 12


@dataclass(frozen=True, slots=True)
class Strike:
    """A point that the stream passes for the n-th time, and how many ticks have been paid in the end."""

    point: str
    count: int
    paid_ticks: int


# A stream is opened in two steps; then each tick is written down behind its delivery.
STRIKES = (
    Strike("reserving_written", 1, 0),
    Strike("working_written", 1, 0),
    Strike("working_written", 2, 1),
    # More than a slice, so that some of it was captured before.
    Strike("working_written", 10, 9),
    Strike("captured_written", 1, TICKS),
)
# Passed by the stream before as well, after all that can be seen of it has ended.
WRITTEN_BEHIND = ("captured_written",)


def cases() -> list[tuple[Strike, tuple[str, ...]]]:
    if IN_FULL:
        return [(strike, victims) for victims in VICTIMS for strike in STRIKES]
    return [(STRIKES[1], (PROVIDER,)), (STRIKES[3], (PROVIDER, BROKER))]


@pytest.mark.timeout(300 if IN_FULL else 120)
@pytest.mark.parametrize("kind", list(DatabaseKind) if IN_FULL else [DatabaseKind.SQLITE], ids=str)
async def test_whatever_dies_what_was_delivered_is_paid(
    databases: DatabaseMaker, tmp_path: Path, kind: DatabaseKind
) -> None:
    database_url = databases.make(kind)
    journal_url = databases.make(kind) if kind is DatabaseKind.POSTGRESQL else f"sqlite:///{tmp_path}/journal.db"
    async with (
        provider_stage(database_url, journal_url, tmp_path) as stage,
        ProviderClient.connect(stage.provider.address) as client,
    ):
        paid = 0
        for strike, victims in cases():
            paid += await _strike(stage, client, strike, victims)
        books = await stage.audit()
    assert books["violations"] == []
    assert (books["captured_credits"], books["reserved_credits"]) == (paid, 0)


async def _strike(stage: ProviderStage, client: ProviderClient, strike: Strike, victims: tuple[str, ...]) -> int:
    """Strikes a stream, and checks what became of it; returns what it has cost."""
    request_id = str(uuid.uuid4())
    responses = _stream(stage, client, request_id)
    if strike.point in WRITTEN_BEHIND:
        await anext(responses)
    stage.arm(strike.point, count=strike.count)
    reading = asyncio.create_task(_read(responses))
    await stage.wait_until_stopped()
    await stage.kill(victims)
    if PROVIDER not in victims:
        stage.go_on()
    told_credits, _ = await reading
    await stage.wait_until_settled()
    ticks = strike.paid_ticks if PROVIDER in victims else TICKS
    state = ReservationState.RESERVATION_STATE_CAPTURED if ticks else ReservationState.RESERVATION_STATE_RELEASED
    async with BrokerClient.connect(stage.broker.address, key=stage.provider_key) as broker:
        found = await broker.get_reservation(request_id=request_id, account_token=stage.account(STREAMED).token)
    paid_credits = found.reservation.captured_credits
    assert (found.reservation.state, paid_credits) == (state, ticks * PRICE), (strike, victims)
    # What was on its way may have been lost with the connection.
    assert told_credits <= paid_credits, (strike, victims)
    # Nothing is streamed or charged again.
    told_again, error = await _read(_stream(stage, client, request_id))
    assert (told_again, error.reason if error else "") == (
        0,
        "RESERVATION_CAPTURED" if ticks else "RESERVATION_RELEASED",
    )
    return paid_credits


def _stream(stage: ProviderStage, client: ProviderClient, request_id: str) -> AsyncGenerator[ServeStreamResponse, None]:
    return client.serve_stream(
        service=STREAMED,
        account_token=stage.account(STREAMED).token,
        input={"text": "tick", "ticks": TICKS},
        request_id=request_id,
        timeout_seconds=60,
    )


async def _read(responses: AsyncGenerator[ServeStreamResponse, None]) -> tuple[int, IapError | None]:
    """Returns what was told to be charged last, and the error at the end if there was one."""
    charged_credits = 0
    try:
        async for response in responses:
            charged_credits = response.charged_credits
    except IapError as error:
        return charged_credits, error
    return charged_credits, None
