"""Charges against a scripted broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
from iap.broker.v1.broker_pb2 import (
    CaptureRequest,
    CaptureResponse,
    ReleaseRequest,
    ReleaseResponse,
    Reservation,
    ReservationState,
    ReserveRequest,
    ReserveResponse,
)

from client_stub.broker import BrokerClient
from client_stub.charge import Charge, charge, drain_charges
from tests.unit.client_stub.scripted_server import Answer, Script, ScriptedServer, refusal, serving

RESERVE, CAPTURE, RELEASE = "BrokerService.Reserve", "BrokerService.Capture", "BrokerService.Release"
ID = "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f"
ACTIVE = ReservationState.RESERVATION_STATE_ACTIVE
CAPTURED = ReservationState.RESERVATION_STATE_CAPTURED
RELEASED = ReservationState.RESERVATION_STATE_RELEASED
BROKEN = refusal(grpc.StatusCode.INTERNAL, "INTERNAL", "broken")


def reserved(request: ReserveRequest) -> ReserveResponse:
    return ReserveResponse(reservation=make_reservation(ACTIVE, request.credits), balance={"available_credits": 10})


def captured(request: CaptureRequest) -> CaptureResponse:
    credits_taken = request.credits if request.HasField("credits") else 5
    return CaptureResponse(
        reservation=make_reservation(CAPTURED, 5),
        captured_credits=credits_taken,
        released_credits=5 - credits_taken,
        balance={"available_credits": 20},
    )


def released(_request: ReleaseRequest) -> ReleaseResponse:
    return ReleaseResponse(reservation=make_reservation(RELEASED, 5), balance={"available_credits": 15})


def make_reservation(state: ReservationState, credits_reserved: int) -> Reservation:
    return Reservation(reservation_id="rsv_1", state=state, reserved_credits=credits_reserved)


class Gate:
    """Holds up calls until the test lets them through."""

    def __init__(self, then: Callable[[Any], Answer]) -> None:
        self._then = then
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, request: Any) -> Answer:
        self.reached.set()
        await self.opened.wait()
        return self._then(request)


@asynccontextmanager
async def a_broker(**scripts: Script) -> AsyncIterator[tuple[BrokerClient, ScriptedServer]]:
    script = ScriptedServer({RESERVE: reserved, CAPTURE: captured, RELEASE: released})
    script.scripts.update({f"BrokerService.{method}": answer for method, answer in scripts.items()})
    async with serving(script) as server, BrokerClient.connect(server.target, key="key") as broker:
        yield broker, server
        assert await drain_charges(5) == 0


def methods(server: ScriptedServer) -> list[str]:
    return [call.method for call in server.calls]


def charge_five(broker: BrokerClient, timeout_seconds: float = 5) -> Any:
    return charge(broker, account_token="token", credits=5, request_id=ID, timeout_seconds=timeout_seconds)


async def run_charge(broker: BrokerClient, body: Callable[[Charge], Awaitable[None]] | None = None) -> None:
    async with charge_five(broker) as paying:
        if body is not None:
            await body(paying)


async def start_charge(broker: BrokerClient, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[None]:
    """Start a charge in a task of its own and return once its body runs."""
    running = asyncio.Event()

    async def body(_paying: Charge) -> None:
        running.set()
        await work()

    task = asyncio.create_task(run_charge(broker, body))
    await running.wait()
    return task
