"""Services whose work can be counted, however their process ends: each piece of it is a line in a file, on the disk."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping

from provider_service.services.charge import Charge, StreamCharge
from provider_service.services.service import AfterCrash, FieldViolation, InvalidInput, Json, Quote, ServiceFailure

PRICE = 2


class CountedService:
    """Writes its request_id down after `seconds`, or fails after them, as its input says; and gives its text back."""

    title = "Counted"
    unit_name = "piece"
    input_schema: Mapping[str, Json] = {"type": "object"}

    def __init__(self, name: str, after_crash: AfterCrash, path: str) -> None:
        self.name = name
        self.after_crash = after_crash
        self._path = path

    def quote(self, service_input: Mapping[str, Json]) -> Quote:
        if not isinstance(service_input.get("text"), str):
            raise InvalidInput([FieldViolation("text", "must be text")])
        return Quote(credits=PRICE, breakdown={})

    async def perform(self, service_input: Mapping[str, Json], charge: Charge) -> Mapping[str, Json]:
        seconds = service_input.get("seconds", 0)
        assert isinstance(seconds, int | float)
        await asyncio.sleep(seconds)
        if service_input.get("fails"):
            raise ServiceFailure("asked to fail", retryable=False)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, f"{charge.request_id}\n".encode())
            os.fsync(file)
        finally:
            os.close(file)
        return {"text": service_input["text"]}

    async def close(self) -> None:
        pass


class TickingService(CountedService):
    """Answers in as many chunks as its input says, a price for each."""

    streams_only = True
    slice_credits = 5 * PRICE

    async def stream(
        self, service_input: Mapping[str, Json], charge: StreamCharge
    ) -> AsyncIterator[Mapping[str, Json]]:
        ticks = service_input["ticks"]
        assert isinstance(ticks, int)
        for number in range(ticks):
            await charge.meter(PRICE)
            yield {"number": number}
            await asyncio.sleep(0.01)


def create_once(options: Mapping[str, str]) -> CountedService:
    """Makes the service whose work nobody wants twice."""
    return CountedService("once", AfterCrash.RELEASE, options["path"])


def create_again(options: Mapping[str, str]) -> CountedService:
    """Makes the service whose work may be done again."""
    return CountedService("again", AfterCrash.RESUME, options["path"])


def create_ticking(options: Mapping[str, str]) -> TickingService:
    """Makes the service that answers in chunks."""
    return TickingService("ticking", AfterCrash.RELEASE, options["path"])
