"""What a service's function returns, as JSON."""

from collections.abc import Mapping
from dataclasses import is_dataclass

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from provider_service.services.service import Json


def to_output(answer: object, *, service: str) -> Mapping[str, Json]:
    """Returns a mapping of JSON values. TypeError for an answer that has no names for what is in it."""
    if not isinstance(answer, Mapping | BaseModel) and (isinstance(answer, type) or not is_dataclass(answer)):
        raise TypeError(
            f"{service} must answer with a mapping, a dataclass or a pydantic model, not {type(answer).__name__}"
        )
    output: dict[str, Json] = to_jsonable_python(answer)
    return output
