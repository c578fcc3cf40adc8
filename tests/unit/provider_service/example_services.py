"""Services made for tests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from provider_service.services.charge import Charge
from provider_service.services.service import AfterCrash, FieldViolation, InvalidInput, Json, Quote

Work = Callable[[Mapping[str, Json]], Awaitable[Mapping[str, Json]]]


async def echo(service_input: Mapping[str, Json]) -> Mapping[str, Json]:
    return {"echo": service_input["text"]}


class ExampleService:
    """Costs a credit for each character of its text, times `price`; does whatever `charged` and `work` are set to."""

    unit_name = "character"

    def __init__(self, name: str = "echo", work: Work = echo) -> None:
        self.name = name
        self.title = f"The {name} service"
        self.work = work
        self.price = 1
        self.after_crash = AfterCrash.RELEASE
        self.charged: Callable[[Charge], Awaitable[None]] | None = None
        self.requests: list[str] = []
        self.closed = False
        self.began = asyncio.Event()

    @property
    def input_schema(self) -> Mapping[str, Json]:
        return {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}

    def quote(self, service_input: Mapping[str, Json]) -> Quote:
        text = service_input.get("text")
        if not isinstance(text, str) or not text:
            raise InvalidInput([FieldViolation("text", "must be text"), FieldViolation("other", "must be left out")])
        return Quote(credits=len(text) * self.price, breakdown={"characters": len(text)})

    async def perform(self, service_input: Mapping[str, Json], charge: Charge) -> Mapping[str, Json]:
        self.requests.append(charge.request_id)
        self.began.set()
        if self.charged is not None:
            await self.charged(charge)
        return await self.work(service_input)

    async def close(self) -> None:
        self.closed = True


class Gate:
    """Work that waits until a test lets it go on."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def work(self, service_input: Mapping[str, Json]) -> Mapping[str, Json]:
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {"echo": service_input["text"]}
