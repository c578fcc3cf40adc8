"""What pydantic finds wrong, in this project's words: a path and a phrase that follows it.

Nothing of the value itself is repeated. It may be a secret, and it may be long.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic_core import ErrorDetails

from provider_service.services.service import FieldViolation

_MISSING: Final = frozenset(
    {"missing", "missing_argument", "missing_keyword_only_argument", "missing_positional_only_argument"}
)
_UNKNOWN: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_DEVELOPERS_WORDS: Final = frozenset({"value_error", "assertion_error"})
_UNION_TAGS: Final = frozenset({"union_tag_invalid", "union_tag_not_found"})

# By what the type of error begins with; pydantic's own words do for the others.
_PHRASES: Final = {
    "int_": "must be a whole number",
    "float_": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_sub_type": "must be text",
    "string_unicode": "must be text",
    "bool_": "must be true or false",
    "none_required": "must be null",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "iterable_type": "must be a list",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dataclass_type": "must be an object",
    "bytes_": "must be text",
    "date_type": "must be a date such as 2026-01-31",
    "date_parsing": "must be a date such as 2026-01-31",
    "date_from_datetime": "must be a date such as 2026-01-31",
    "datetime_type": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_from_date": "must be a time such as 2026-01-31T12:00:00Z",
    "time_type": "must be a time of day such as 12:00:00",
    "time_parsing": "must be a time of day such as 12:00:00",
    "time_delta_": "must be a duration such as PT30S",
    "uuid_": "must be a UUID",
    "url_": "must be a URL",
}


def to_violations(errors: Iterable[ErrorDetails], service_input: Mapping[str, Any]) -> list[FieldViolation]:
    """Returns one violation for each field that has errors, in the order they were found."""
    found: dict[str, list[str]] = {}
    for error in errors:
        phrases = found.setdefault(_find_path(error, service_input), [])
        phrase = describe(error)
        if phrase not in phrases:
            phrases.append(phrase)
    return [FieldViolation(field=path, description=_join(phrases)) for path, phrases in found.items()]


def describe(error: ErrorDetails) -> str:
    """Returns what a value must be, as a phrase that follows its name."""
    kind = error["type"]
    if kind in _MISSING:
        return "must be given"
    if kind in _UNKNOWN:
        return "must be left out: there is no such field"
    if kind in _DEVELOPERS_WORDS:
        return str(error["ctx"]["error"]) or "must be valid"
    if kind in _UNION_TAGS:
        tags = error.get("ctx", {}).get("expected_tags")
        return "must be given" if tags is None else f"must be one of {tags}"
    for beginning, phrase in _PHRASES.items():
        if kind.startswith(beginning):
            return phrase
    return _reword(error["msg"])


def is_unknown_field(error: ErrorDetails) -> bool:
    """Whether the value is one that nobody asked for."""
    return error["type"] in _UNKNOWN


def _reword(message: str) -> str:
    """Turns "Input should be greater than 3" into "must be greater than 3"."""
    _, should, wanted = message.partition(" should ")
    return f"must {wanted.partition(' after validation')[0]}" if should else message


def _join(phrases: Sequence[str]) -> str:
    """Joins what several types ask for, one of which would do."""
    first, *others = phrases
    return " or ".join([first, *(phrase.removeprefix("must be ") for phrase in others)])


def _find_path(error: ErrorDetails, service_input: Mapping[str, Any]) -> str:
    """Returns the field's name in the input, such as `lines[2].text`.

    Pydantic's places also name the branches of unions and such, which are no part of the input: what is not there is
    left out, but for the name of a field that is missing.
    """
    path = ""
    value: Any = service_input
    location = error["loc"]
    for position, item in enumerate(location):
        if isinstance(item, int) and isinstance(value, list) and item < len(value):
            path, value = f"{path}[{item}]", value[item]
        elif isinstance(value, dict) and item in value:
            path, value = _name(path, str(item)), value[str(item)]
        elif error["type"] in _MISSING and position == len(location) - 1:
            path = _name(path, str(item))
    if error["type"] in _UNION_TAGS:
        return _name(path, str(error.get("ctx", {}).get("discriminator", "")).strip("'"))
    return path


def _name(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
