"""A request's input as the type that the service's function takes."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol, get_origin

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import is_typeddict

from client_stub.structs import to_struct
from provider_service.sdk.invalid_declaration import InvalidDeclaration
from provider_service.sdk.service_functions import is_structure
from provider_service.sdk.violations import to_violations
from provider_service.services.service import FieldViolation, InvalidInput, Json

_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Beyond this a number that came as a double may not be the one that was meant.
_LARGEST_EXACT_INTEGER: Final = 2**53


class InputReader(Protocol):
    """Makes of an input what a function takes."""

    @property
    def schema(self) -> Mapping[str, Json]:
        """The JSON Schema of the input."""

    def read(self, service_input: Mapping[str, Json]) -> Any:
        """Returns the request. Raises InvalidInput with every violation."""


def make_input_reader(request_type: Any, *, where: str) -> InputReader:
    """Returns what reads inputs for a parameter of this type. Raises InvalidDeclaration."""
    if not is_structure(request_type):
        raise InvalidDeclaration(
            f"{where}: the request must be a dataclass, a pydantic model or Mapping[str, Json], since an input has "
            f"named fields; it is {getattr(request_type, '__name__', request_type)}"
        )
    if issubclass(get_origin(request_type) or request_type, Mapping) and not is_typeddict(request_type):
        return UntypedInput()
    try:
        return TypedInput(request_type)
    except (PydanticUserError, PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeError) as error:
        raise InvalidDeclaration(f"{where}: the request's type cannot be read from JSON: {error}") from error
    except ValueError as error:
        raise InvalidDeclaration(f"{where}: the request's JSON Schema cannot be published: {error}") from error


class UntypedInput:
    """Hands inputs on as they are."""

    schema: Mapping[str, Json] = {"$schema": _SCHEMA_DIALECT, "type": "object"}

    def read(self, service_input: Mapping[str, Json]) -> Mapping[str, Json]:
        """Returns the input."""
        return service_input


class TypedInput:
    """Checks inputs strictly: no text is taken for a number, and no field is ignored.

    A pydantic model that says itself what becomes of unknown fields (`extra`) is left to it.
    """

    def __init__(self, request_type: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(request_type)
        is_model = isinstance(request_type, type) and issubclass(request_type, BaseModel)
        self._forbids_unknown = not (is_model and "extra" in request_type.model_config)
        schema = self._adapter.json_schema(schema_generator=_SchemaWithoutFieldTitles)
        if self._forbids_unknown:
            _forbid_unknown(schema)
        to_struct(schema)  # as ListServices will
        self.schema: Mapping[str, Json] = {"$schema": _SCHEMA_DIALECT, **schema}

    def read(self, service_input: Mapping[str, Json]) -> Any:
        """Returns the input as the type. Raises InvalidInput with every violation."""
        not_finite: list[str] = []
        plain = _to_plain(service_input, "", not_finite)
        if not_finite:
            raise InvalidInput(FieldViolation(path, "must be a finite number") for path in not_finite)
        try:
            # By way of JSON, for there "strict" allows what JSON has no type for, such as dates.
            return self._adapter.validate_json(
                json.dumps(plain), strict=True, extra="forbid" if self._forbids_unknown else None
            )
        except ValidationError as error:
            raise InvalidInput(to_violations(error.errors(include_url=False, include_input=False), plain)) from None


class _SchemaWithoutFieldTitles(GenerateJsonSchema):
    """Leaves out titles that only repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _forbid_unknown(schema: Any) -> None:
    """Says in every object with named properties that it has no others."""
    if isinstance(schema, list):
        for item in schema:
            _forbid_unknown(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
            schema["additionalProperties"] = False
        for item in schema.values():
            _forbid_unknown(item)


def _to_plain(value: Any, path: str, not_finite: list[str]) -> Any:
    """Returns the value with whole numbers as `int`, and notes where a number is none."""
    if isinstance(value, Mapping):
        return {name: _to_plain(item, f"{path}.{name}" if path else name, not_finite) for name, item in value.items()}
    if isinstance(value, list):
        return [_to_plain(item, f"{path}[{index}]", not_finite) for index, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            not_finite.append(path)
        elif value.is_integer() and abs(value) <= _LARGEST_EXACT_INTEGER:
            return int(value)
    return value
