"""What a service is: the interface every service a provider sells fulfils.

`provider_service.sdk` makes one of a function. Without it, a service is one module and one entry point: the module has
a class with the members of `Service` and a function `create_service(options)` that makes one; the entry point, in the
group `iap_mesh.services`, names that function. Charging, replays, deadlines and transport are not a service's
concern: it says what a request costs and does the work.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias, TypeGuard, runtime_checkable

from provider_service.services.charge import Charge, StreamCharge

Json: TypeAlias = bool | float | int | str | list["Json"] | dict[str, "Json"] | None
"""A JSON value. Input that came as a protobuf `Struct` has every number as a float."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What one request costs."""

    credits: int
    """Whole credits, at least 1."""
    breakdown: Mapping[str, Json] = field(default_factory=dict)
    """How the price came about, for the customer to read."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing wrong with one field of a request's input."""

    field: str
    """The field's name, relative to the input: `to`, not `input.to`; empty for the input as a whole."""
    description: str
    """What the field must be, as a phrase that follows its name: "must be text"."""


class InvalidInput(Exception):
    """A request's input breaks the service's rules; it carries every violation found, never none."""

    def __init__(self, violations: Iterable[FieldViolation]) -> None:
        self.violations: tuple[FieldViolation, ...] = tuple(violations)
        super().__init__("; ".join(f"{violation.field} {violation.description}" for violation in self.violations))


class ServiceFailure(Exception):
    """The work could not be done. The message goes to the customer, so it holds no secret and no address."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        """Whether the same request may succeed later: something outside was unreachable, slow or busy."""


class InvalidOption(Exception):
    """A service was started with an option that is wrong, unknown or missing. One line, free of secrets."""

    def __init__(self, option: str, description: str) -> None:
        super().__init__(f"option {option} {description}")
        self.option = option
        self.description = description


class AfterCrash(StrEnum):
    """What becomes of a request whose work was cut off: whether it took effect is unknown, and it is not paid."""

    RELEASE = "release"
    """The credits go back, and the work is not done again. Right for work whose repetition would be felt."""
    RESUME = "resume"
    """The work is done again under the same request_id, and paid. Right only if that id makes it take effect once."""


class Service(Protocol):
    """Something a provider sells, priced request by request in whole credits."""

    @property
    def name(self) -> str:
        """The slug that requests name the service by."""

    @property
    def title(self) -> str:
        """What people read as the service's name."""

    @property
    def unit_name(self) -> str:
        """What is counted, in the singular: "segment"."""

    @property
    def input_schema(self) -> Mapping[str, Json]:
        """The JSON Schema of the input."""

    @property
    def after_crash(self) -> AfterCrash:
        """What becomes of work that the end of the process has cut off."""

    def quote(self, service_input: Mapping[str, Json]) -> Quote:
        """Checks the input and prices it. Pure: no I/O, and the same input gives the same quote.

        Raises InvalidInput with all violations.
        """

    async def perform(self, service_input: Mapping[str, Json], charge: Charge) -> Mapping[str, Json]:
        """Does the work and returns its output.

        May be called again with the same `charge.request_id` after a crash or in a retry; the service passes the id
        on to what it calls, so that the work is done once. Raises InvalidInput and ServiceFailure.
        """

    async def close(self) -> None:
        """Lets go of connections and threads. Called once, when no request runs any more."""


@runtime_checkable
class OpenedService(Protocol):
    """What a service also is that has something to do in the event loop before its first request."""

    async def open(self) -> None:
        """Makes ready for requests. Called once, before the server listens; what it raises ends the process."""


class StreamedService(Service, Protocol):
    """A service that answers in chunks and meters credits as it goes; known by having `stream`.

    Its `quote` tells the most that the request can cost, or what it is likely to cost where the input sets no bound.
    Before the first chunk the smaller of that and `slice_credits` is set aside, then a slice ahead of the meter each
    time, but nothing beyond the quote until the meter is beyond it. An account that holds less gets what it can pay.
    """

    @property
    def slice_credits(self) -> int:
        """How many whole credits are set aside at a time, at least 1: what is delivered in about ten seconds, say.

        Larger slices cost fewer calls to the broker, and keep more of the customer's credits from other uses.
        """

    @property
    def streams_only(self) -> bool:
        """Whether it cannot answer in one piece: `perform` is then never called, and ServeRequest is refused."""

    def stream(self, service_input: Mapping[str, Json], charge: StreamCharge) -> AsyncIterator[Mapping[str, Json]]:
        """Does the work and yields its output in chunks, each at most 4 MiB; an asynchronous generator as a rule.

        It meters what a chunk costs before it yields it, and is driven no faster than the caller reads. When the
        caller leaves, time is up or the server stops, it is cancelled where it waits or, while it is suspended in a
        `yield`, closed; it should then end at once. Raises InvalidInput and ServiceFailure; what was delivered before
        is paid all the same. Unlike `perform` it is never called again with the same `charge.request_id`, unless the
        process died before anything was delivered.
        """


def is_streamed(service: Service) -> TypeGuard[StreamedService]:
    """Tells whether a service answers in chunks."""
    return callable(getattr(service, "stream", None))


def after_crash_of(service: Service) -> AfterCrash:
    """Returns what becomes of a service's work after a crash; one that does not say gives the credits back."""
    return getattr(service, "after_crash", AfterCrash.RELEASE)


ServiceFactory: TypeAlias = Callable[[Mapping[str, str]], Service]
"""The type of `create_service`: options by name, without the service's own (`gateway`, not `sms.gateway`).

It raises InvalidOption, does no network I/O and needs no running event loop.
"""
