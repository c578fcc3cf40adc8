"""The decorator that makes a service of a function."""

import re
from collections.abc import Callable
from typing import Any, Final, Literal, ParamSpec, TypeVar

from provider_service.sdk.declared_service import Declaration, DeclaredService
from provider_service.sdk.invalid_declaration import InvalidDeclaration
from provider_service.sdk.lifespans import Lifespan, LifespanFunction
from provider_service.sdk.option_values import OptionReader
from provider_service.sdk.prices import Price, PriceFunction
from provider_service.sdk.service_functions import read_function
from provider_service.sdk.typed_input import make_input_reader
from provider_service.services.service import AfterCrash

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

# The broker's rules for what is published (protos: catalog.proto).
_NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9-]{1,62}")
_TITLE_MAXIMUM: Final = 100
_UNIT_MAXIMUM: Final = 40


def service(
    *,
    name: str,
    title: str,
    unit: str,
    price: int | PriceFunction = 1,
    options: type[Any] | None = None,
    lifespan: LifespanFunction | None = None,
    after_crash: AfterCrash | Literal["release", "resume"] = AfterCrash.RELEASE,
    slice_credits: int = 10,
) -> Callable[[Callable[Parameters, Answer]], DeclaredService[Parameters, Answer]]:
    """Makes a service of an async function `(request, charge) -> output`, which stays callable as it was.

    An async generator function makes one that answers in chunks; `@name.streaming` adds that to one that does not.

    - `name`: the slug that requests name it by, 2 to 63 of a–z, 0–9 and hyphen, a letter first.
    - `title`: its name for people.
    - `unit`: what is counted, in the singular, such as "segment".
    - `price`: whole credits for every request; or a pure function of the typed request (and of the options, if it takes
      two arguments) that returns whole credits or a Quote. Where only the work shows the price, it is the most that can
      come of it, and the function calls `charge.capture` with the real one.
    - `options`: a dataclass or pydantic model of what `--option name.key=value` may set.
    - `lifespan`: an async context manager, or an async generator function with one `yield`, that is entered before the
      first request and left after the last. It is called with the options if there are any.
    - `after_crash`: "resume" if work that a crash has cut off is to be done again, which takes work that its request_id
      makes take effect once; "release" if it is to be given up and its credits given back.
    - `slice_credits`: for a stream, how many credits are set aside at a time.

    A function with a third parameter gets there what the lifespan yields or, without one, the options.
    Raises InvalidDeclaration, which says what to write.
    """
    _check_label(name=name, title=title, unit=unit)
    if not isinstance(slice_credits, int) or slice_credits < 1:
        raise InvalidDeclaration("@service: slice_credits must be whole credits, at least 1")
    crash_policy = _read_after_crash(after_crash)
    has_options = options is not None
    checked_price = Price(price, service=name, has_options=has_options)
    option_reader = None if options is None else OptionReader(options, service=name)
    checked_lifespan = None if lifespan is None else Lifespan(lifespan, has_options=has_options)

    def declare(function: Callable[Parameters, Answer]) -> DeclaredService[Parameters, Answer]:
        checked = read_function(function, resource_offered=has_options or lifespan is not None)
        return DeclaredService(
            Declaration(
                name=name,
                title=title,
                unit_name=unit,
                after_crash=crash_policy,
                slice_credits=slice_credits,
                function=checked,
                input_reader=make_input_reader(checked.request_type, where=checked.where),
                price=checked_price,
                option_reader=option_reader,
                lifespan=checked_lifespan,
            )
        )

    return declare


def _check_label(*, name: str, title: str, unit: str) -> None:
    for argument, value in (("name", name), ("title", title), ("unit", unit)):
        if not isinstance(value, str):
            raise InvalidDeclaration(f"@service: {argument} must be text, not {type(value).__name__}")
    if not _NAME_PATTERN.fullmatch(name):
        raise InvalidDeclaration(
            f"@service: name must be 2 to 63 characters of a–z, 0–9 and hyphen, a letter first, such as "
            f'name="page-titles"; it is {name!r}'
        )
    for argument, value, maximum in (("title", title, _TITLE_MAXIMUM), ("unit", unit, _UNIT_MAXIMUM)):
        if not 1 <= len(value) <= maximum or "\0" in value:
            raise InvalidDeclaration(f"@service: {argument} must be 1 to {maximum} characters, none of them NUL")


def _read_after_crash(value: str) -> AfterCrash:
    try:
        return AfterCrash(value)
    except ValueError:
        raise InvalidDeclaration('@service: after_crash must be "release" or "resume"') from None
