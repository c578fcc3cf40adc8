"""What a service is: the interface every service a provider sells fulfils.

A new service is one module and one entry point. The module has a class with the members of `Service` and a
function `create_service(options)` that makes one; the entry point, in the group `iap_mesh.services`, names
that function. Charging, replays, deadlines and transport are not a service's concern: it says what a request
costs and does the work.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from provider_service.services.charge import Charge

Json: TypeAlias = bool | float | int | str | list["Json"] | dict[str, "Json"] | None
"""A JSON value. Input that came as a protobuf `Struct` has every number as a float."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What one request costs."""

    credits: int
    """Whole credits, at least 1."""
    breakdown: Mapping[str, Json]
    """How the price came about, for the customer to read."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing wrong with one field of a request's input."""

    field: str
    """The field's name, relative to the input: `to`, not `input.to`."""
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


ServiceFactory: TypeAlias = Callable[[Mapping[str, str]], Service]
"""The type of `create_service`: options by name, without the service's own (`gateway`, not `sms.gateway`).

It raises InvalidOption, does no network I/O and needs no running event loop.
"""
