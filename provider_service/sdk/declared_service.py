"""A service made of a function."""

import functools
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar

from provider_service.sdk.lifespans import Lifespan
from provider_service.sdk.option_values import OptionReader
from provider_service.sdk.outputs import to_output
from provider_service.sdk.prices import Price
from provider_service.sdk.typed_input import InputReader
from provider_service.services.charge import Charge
from provider_service.services.service import AfterCrash, InvalidOption, Json, Quote

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a service is called, and its word on crashes."""

    name: str
    title: str
    unit_name: str
    after_crash: AfterCrash


class DeclaredService(Generic[Parameters, Answer]):
    """Fulfils `Service` with a function, and is called like that function.

    As it is declared it has no options; `create_service` makes the one that is served.
    """

    def __init__(
        self,
        function: Callable[Parameters, Answer],
        *,
        label: Label,
        input_reader: InputReader,
        price: Price,
        option_reader: OptionReader | None,
        lifespan: Lifespan | None,
        takes_resource: bool,
        options: Mapping[str, str] | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self._function: Callable[..., Any] = function
        self._label = label
        self._input_reader = input_reader
        self._price = price
        self._option_reader = option_reader
        self._lifespan = lifespan
        self._takes_resource = takes_resource
        self._given_options = dict(options or {})
        self._exit_stack = AsyncExitStack()
        self._resource: object = None
        self._is_open = lifespan is None

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
        """Calls the function itself, unchecked and unpaid: for its own tests."""
        answer: Answer = self._function(*args, **kwargs)
        return answer

    def create_service(self, options: Mapping[str, str]) -> "DeclaredService[Parameters, Answer]":
        """Makes the service that is served with these options. Raises InvalidOption."""
        created: DeclaredService[Parameters, Answer] = DeclaredService(
            self._function,
            label=self._label,
            input_reader=self._input_reader,
            price=self._price,
            option_reader=self._option_reader,
            lifespan=self._lifespan,
            takes_resource=self._takes_resource,
            options=options,
        )
        created._read_options()
        return created

    @property
    def name(self) -> str:
        """The slug that requests name the service by."""
        return self._label.name

    @property
    def title(self) -> str:
        """What people read as the service's name."""
        return self._label.title

    @property
    def unit_name(self) -> str:
        """What is counted, in the singular."""
        return self._label.unit_name

    @property
    def input_schema(self) -> Mapping[str, Json]:
        """The JSON Schema of the input."""
        return self._input_reader.schema

    @property
    def after_crash(self) -> AfterCrash:
        """What becomes of work that the end of the process has cut off."""
        return self._label.after_crash

    def quote(self, service_input: Mapping[str, Json]) -> Quote:
        """Checks the input and prices it. Raises InvalidInput with all violations."""
        return self._price.quote(self._input_reader.read(service_input), self._options)

    async def open(self) -> None:
        """Enters the lifespan."""
        if self._lifespan is not None:
            self._resource = await self._lifespan.enter(self._exit_stack, self._options)
            self._is_open = True

    async def perform(self, service_input: Mapping[str, Json], charge: Charge) -> Mapping[str, Json]:
        """Does the work and returns its output. Raises InvalidInput and ServiceFailure."""
        answer = await self._function(*self._arguments(service_input, charge))
        return to_output(answer, service=self.name)

    async def close(self) -> None:
        """Leaves the lifespan."""
        await self._exit_stack.aclose()

    def _arguments(self, service_input: Mapping[str, Json], charge: Charge) -> tuple[object, ...]:
        if not self._is_open:
            raise RuntimeError(f"the lifespan of {self.name} has not begun: call open() first")
        request = self._input_reader.read(service_input)
        if not self._takes_resource:
            return request, charge
        return request, charge, self._options if self._lifespan is None else self._resource

    @cached_property
    def _options(self) -> object:
        return self._read_options()

    def _read_options(self) -> object:
        if self._option_reader is not None:
            return self._option_reader.read(self._given_options)
        for option in sorted(self._given_options):
            raise InvalidOption(option, f"is unknown: {self.name} has none")
        return None
