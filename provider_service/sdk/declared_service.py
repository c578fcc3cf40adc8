"""A service made of a function."""

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar

from provider_service.sdk.invalid_declaration import InvalidDeclaration
from provider_service.sdk.lifespans import Lifespan
from provider_service.sdk.option_values import OptionReader
from provider_service.sdk.outputs import to_output
from provider_service.sdk.prices import Price
from provider_service.sdk.service_functions import ServiceFunction, read_function
from provider_service.sdk.typed_input import InputReader
from provider_service.services.charge import Charge, StreamCharge
from provider_service.services.service import AfterCrash, InvalidOption, Json, Quote

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")
StreamFunction = TypeVar("StreamFunction", bound=Callable[..., AsyncIterator[Any]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """All that a service is declared with, checked."""

    name: str
    title: str
    unit_name: str
    after_crash: AfterCrash
    slice_credits: int
    function: ServiceFunction
    input_reader: InputReader
    price: Price
    option_reader: OptionReader | None
    lifespan: Lifespan | None

    @property
    def offers_resource(self) -> bool:
        """Whether there is something for a third parameter."""
        return self.option_reader is not None or self.lifespan is not None


class DeclaredService(Generic[Parameters, Answer]):
    """Fulfils `Service` with a function, and is called like that function.

    As it is declared it has no options; `create_service` makes the one that is served.
    """

    def __init__(self, declaration: Declaration, *, options: Mapping[str, str] | None = None) -> None:
        functools.update_wrapper(self, declaration.function.call)
        self._declaration = declaration
        self._given_options = dict(options or {})
        self._exit_stack = AsyncExitStack()
        self._resource: object = None
        self._is_open = declaration.lifespan is None
        self._chunked: ServiceFunction | None = None
        if declaration.function.streams:
            self._stream_with(declaration.function)

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
        """Calls the function itself, unchecked and unpaid: for its own tests."""
        answer: Answer = self._declaration.function.call(*args, **kwargs)
        return answer

    def streaming(self, function: StreamFunction) -> StreamFunction:
        """Also answers in chunks, with an async generator function of the same parameters; returns that function."""
        if self._chunked is not None:
            raise InvalidDeclaration(f"@{self.name}.streaming: {self.name} streams already")
        chunked = read_function(function, resource_offered=self._declaration.offers_resource)
        if not chunked.streams:
            raise InvalidDeclaration(f"{chunked.where} must stream: write `yield` in it for each chunk of the answer")
        if chunked.request_type != self._declaration.function.request_type:
            raise InvalidDeclaration(f"{chunked.where} must take the same type of request as {self.name}")
        self._stream_with(chunked)
        return function

    def create_service(self, options: Mapping[str, str]) -> "DeclaredService[Parameters, Answer]":
        """Makes the service that is served with these options. Raises InvalidOption."""
        created: DeclaredService[Parameters, Answer] = DeclaredService(self._declaration, options=options)
        if self._chunked is not None:
            created._stream_with(self._chunked)
        created._read_options()
        return created

    @property
    def name(self) -> str:
        """The slug that requests name the service by."""
        return self._declaration.name

    @property
    def title(self) -> str:
        """What people read as the service's name."""
        return self._declaration.title

    @property
    def unit_name(self) -> str:
        """What is counted, in the singular."""
        return self._declaration.unit_name

    @property
    def input_schema(self) -> Mapping[str, Json]:
        """The JSON Schema of the input."""
        return self._declaration.input_reader.schema

    @property
    def after_crash(self) -> AfterCrash:
        """What becomes of work that the end of the process has cut off."""
        return self._declaration.after_crash

    @property
    def slice_credits(self) -> int:
        """How many whole credits of a stream are set aside at a time."""
        return self._declaration.slice_credits

    @property
    def streams_only(self) -> bool:
        """Whether it cannot answer in one piece."""
        return self._declaration.function.streams

    def quote(self, service_input: Mapping[str, Json]) -> Quote:
        """Checks the input and prices it. Raises InvalidInput with all violations."""
        request = self._declaration.input_reader.read(service_input)
        return self._declaration.price.quote(request, self._options)

    async def open(self) -> None:
        """Enters the lifespan."""
        if self._declaration.lifespan is not None:
            self._resource = await self._declaration.lifespan.enter(self._exit_stack, self._options)
            self._is_open = True

    async def perform(self, service_input: Mapping[str, Json], charge: Charge) -> Mapping[str, Json]:
        """Does the work and returns its output. Raises InvalidInput and ServiceFailure."""
        function = self._declaration.function
        answer = await function.call(*self._arguments(function, service_input, charge))
        return to_output(answer, service=self.name)

    async def close(self) -> None:
        """Leaves the lifespan."""
        await self._exit_stack.aclose()

    def _stream_with(self, chunked: ServiceFunction) -> None:
        async def stream(
            service_input: Mapping[str, Json], charge: StreamCharge
        ) -> AsyncGenerator[Mapping[str, Json], None]:
            async with aclosing(chunked.call(*self._arguments(chunked, service_input, charge))) as answers:
                async for answer in answers:
                    yield to_output(answer, service=self.name)

        self._chunked = chunked
        # Only now: what has this method is taken to stream.
        self.stream = stream

    def _arguments(
        self, function: ServiceFunction, service_input: Mapping[str, Json], charge: Charge
    ) -> tuple[object, ...]:
        if not self._is_open:
            raise RuntimeError(f"the lifespan of {self.name} has not begun: call open() first")
        request = self._declaration.input_reader.read(service_input)
        if not function.takes_resource:
            return request, charge
        return request, charge, self._options if self._declaration.lifespan is None else self._resource

    @cached_property
    def _options(self) -> object:
        return self._read_options()

    def _read_options(self) -> object:
        reader = self._declaration.option_reader
        if reader is not None:
            return reader.read(self._given_options)
        for option in sorted(self._given_options):
            raise InvalidOption(option, f"is unknown: {self.name} has none")
        return None
