"""A streamed service that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from provider_service.services.charge import Charge, StreamCharge
from provider_service.services.service import AfterCrash, Json, Quote

Chunks = AsyncIterator[Mapping[str, Json]]
Script = Callable[[StreamCharge], Chunks]


class MeteredService:
    """Yields what `script` yields; `yielded` counts it, and `closed` and `cancelled` tell how it was ended."""

    title = "Metered"
    unit_name = "piece"
    input_schema: Mapping[str, Json] = {}
    after_crash = AfterCrash.RELEASE

    def __init__(self, name: str, *, slice_credits: int = 10, quoted_credits: int = 1_000) -> None:
        self.name = name
        self.slice_credits = slice_credits
        self.quoted_credits = quoted_credits
        self.streams_only = True
        self.script: Script = pieces(3)
        self.yielded = 0
        self.ended = asyncio.Event()

    def quote(self, _service_input: Mapping[str, Json]) -> Quote:
        return Quote(credits=self.quoted_credits, breakdown={})

    async def perform(self, _service_input: Mapping[str, Json], _charge: Charge) -> Mapping[str, Json]:
        return {"whole": True}

    async def stream(self, _service_input: Mapping[str, Json], charge: StreamCharge) -> Chunks:
        chunks = self.script(charge)
        try:
            async for chunk in chunks:
                self.yielded += 1
                yield chunk
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]
            self.ended.set()

    async def close(self) -> None:
        pass


def pieces(number: int, *, each: int = 1, after: Callable[[int], Awaitable[None]] | None = None) -> Script:
    """Yields so many chunks that cost so much each, and calls `after` behind each of them."""

    async def script(charge: StreamCharge) -> Chunks:
        for index in range(number):
            await charge.meter(each)
            yield {"piece": index}
            if after is not None:
                await after(index)

    return script
