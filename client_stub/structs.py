"""Between Python values and `google.protobuf.Struct`, which is what a service takes and gives."""

import math
from collections.abc import Mapping
from typing import Final, TypeAlias

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

Json: TypeAlias = bool | float | int | str | list["Json"] | dict[str, "Json"] | None
"""What JSON can express."""

# A Struct holds every number as a double; beyond this, neighbouring integers become one.
_LARGEST_EXACT_INTEGER: Final = 2**53


def to_struct(mapping: Mapping[str, object]) -> Struct:
    """Return the mapping as a Struct.

    TypeError for what JSON cannot express; ValueError for numbers that a Struct would change.
    """
    struct = Struct()
    _fill(struct, mapping)
    return struct


def from_struct(struct: Struct) -> dict[str, Json]:
    """Return the Struct as a dict; whole numbers come back as `int`, whatever they were before."""
    fields = struct.fields
    return {name: _from_value(fields[name]) for name in fields}


# In place: a message that is given to another one's constructor is copied.
def _fill(struct: Struct, mapping: Mapping[str, object]) -> None:
    fields = struct.fields
    for name, value in mapping.items():
        _set(fields[_name(name)], value)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name must be text, not {type(name).__name__}")
    return name


def _set(target: Value, value: object) -> None:
    match value:
        case str():
            target.string_value = value
        case None:
            target.null_value = NULL_VALUE
        case bool():
            target.bool_value = value
        case int() | float():
            target.number_value = _exact(value)
        case Mapping():
            # So that it is there when it is empty, too.
            target.struct_value.SetInParent()
            _fill(target.struct_value, value)
        case list() | tuple():
            target.list_value.SetInParent()
            for item in value:
                _set(target.list_value.values.add(), item)
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON value")


def _exact(number: float) -> float:
    if isinstance(number, int) and abs(number) > _LARGEST_EXACT_INTEGER:
        raise ValueError(f"{number} is beyond ±2^53 and would lose digits; pass it as text")
    if not math.isfinite(number):
        raise ValueError(f"{number} is no JSON number")
    return float(number)


def _from_value(value: Value) -> Json:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            return _whole_if_possible(value.number_value)
        case "string_value":
            return value.string_value
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_from_value(item) for item in value.list_value.values]
        case _:
            return None


def _whole_if_possible(number: float) -> float:
    if number.is_integer() and abs(number) <= _LARGEST_EXACT_INTEGER:
        return int(number)
    return number
