"""What a service's function takes and gives, by its annotations."""

import inspect
import types
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Final, Union, get_origin, get_type_hints

from pydantic import BaseModel
from typing_extensions import is_typeddict

from provider_service.sdk.invalid_declaration import InvalidDeclaration

_REQUEST_AND_CHARGE: Final = 2
_WITH_RESOURCE: Final = 3
_EXAMPLE: Final = "async def {name}(request: YourRequest, charge: Charge) -> dict[str, Json]"


@dataclass(frozen=True, slots=True)
class ServiceFunction:
    """A service's function and how it is called."""

    call: Callable[..., Any]
    request_type: Any
    takes_resource: bool
    streams: bool
    where: str
    """The function's name and place, for messages."""


def read_function(function: Callable[..., Any], *, resource_offered: bool) -> ServiceFunction:
    """Reads what a function takes and gives. Raises InvalidDeclaration, which says what to write."""
    streams = inspect.isasyncgenfunction(function)
    if not (streams or inspect.iscoroutinefunction(function)):
        raise _not_async(function)
    where = f"{function.__module__}.{function.__qualname__}"
    parameters = _read_parameters(function, where)
    takes_resource = len(parameters) == _WITH_RESOURCE
    if takes_resource and not resource_offered:
        raise InvalidDeclaration(
            f"{where} has a third parameter, {parameters[-1]}: give @service options= or lifespan=, for it to get"
        )
    hints = _read_hints(function, where)
    if parameters[0] not in hints:
        raise InvalidDeclaration(
            f"{where}: the request's parameter needs its type, a dataclass, a pydantic model or Mapping[str, Json]: "
            f"write {_example(function)}"
        )
    if "return" in hints and not streams:
        _check_output_type(hints["return"], where)
    return ServiceFunction(
        call=function,
        request_type=hints[parameters[0]],
        takes_resource=takes_resource,
        streams=streams,
        where=where,
    )


def is_structure(annotation: object) -> bool:
    """Whether it is a dataclass, a pydantic model, a typed dictionary or a mapping."""
    origin = get_origin(annotation) or annotation
    if not isinstance(origin, type):
        return False
    return is_typeddict(origin) or is_dataclass(origin) or issubclass(origin, Mapping) or issubclass(origin, BaseModel)


def _not_async(function: object) -> InvalidDeclaration:
    if inspect.isfunction(function):
        return InvalidDeclaration(
            f"{function.__module__}.{function.__qualname__} must be async: write {_example(function)}; what blocks "
            "goes into `await asyncio.to_thread(…)`"
        )
    return InvalidDeclaration(f"@service is for an async function, not for {type(function).__name__}")


def _read_parameters(function: Callable[..., Any], where: str) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    named_only = [parameter for parameter in required if parameter.kind == parameter.KEYWORD_ONLY]
    if named_only or not _REQUEST_AND_CHARGE <= len(positional) <= _WITH_RESOURCE:
        raise InvalidDeclaration(
            f"{where} must take the request and the charge, and may take what the lifespan yields: "
            f"write {_example(function)}"
        )
    return [parameter.name for parameter in positional]


def _read_hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InvalidDeclaration(
            f"{where}: {error.name} is not known where the function is declared; define it above, in the module"
        ) from error
    except Exception as error:
        raise InvalidDeclaration(f"{where}: its annotations cannot be read: {error}") from error


def _check_output_type(annotation: object, where: str) -> None:
    """Refuses what can be no output. Unions, type variables and aliases are taken on trust."""
    origin = get_origin(annotation) or annotation
    if isinstance(annotation, types.UnionType) or origin is Union or not isinstance(origin, type):
        return
    if origin in {Any, object} or is_structure(annotation):
        return
    if issubclass(origin, AsyncIterator):
        raise InvalidDeclaration(f"{where} returns an iterator; a function that streams has `yield` in it itself")
    shown = "None" if origin is types.NoneType else getattr(origin, "__name__", str(origin))
    raise InvalidDeclaration(
        f"{where} must return a mapping, a dataclass or a pydantic model, not {shown}: such as "
        '-> dict[str, Json], with return {"result": …}'
    )


def _example(function: Callable[..., Any]) -> str:
    return "`" + _EXAMPLE.format(name=function.__name__) + "`"
