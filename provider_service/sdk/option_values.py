"""The options a service is started with, as the type its developer declared."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from provider_service.sdk.invalid_declaration import InvalidDeclaration
from provider_service.sdk.violations import describe, is_unknown_field
from provider_service.services.service import InvalidOption


class OptionReader:
    """Makes values of the declared type from texts."""

    def __init__(self, options_type: type[Any], *, service: str) -> None:
        is_model = isinstance(options_type, type) and issubclass(options_type, BaseModel)
        if not (is_model or (isinstance(options_type, type) and dataclasses.is_dataclass(options_type))):
            raise InvalidDeclaration("@service: options must be a dataclass or a pydantic model, the class itself")
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(options_type)
            self._names = sorted(self._adapter.json_schema()["properties"])
        except (PydanticUserError, NameError, TypeError, KeyError) as error:
            raise InvalidDeclaration(f"@service: options of {service} cannot be read from text: {error}") from error

    def read(self, options: Mapping[str, str]) -> object:
        """Reads all options. Raises InvalidOption for one that is wrong, without its value: it may be a secret."""
        try:
            return self._adapter.validate_strings(dict(options), extra="forbid")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
        option = str(first["loc"][0]) if first["loc"] else ""
        if is_unknown_field(first):
            raise InvalidOption(option, f"is unknown; there are {', '.join(self._names)}")
        if not option:
            raise InvalidOption(" and ".join(self._names), describe(first))
        raise InvalidOption(option, describe(first))
