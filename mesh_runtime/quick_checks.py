"""Telling without protovalidate that a message keeps its rules.

protovalidate is the measure: it alone says what a message breaks. But it takes several times as long as all other
checks of a call together, and nearly every message breaks nothing. So the plain rules of a message type become a few
comparisons, made from its descriptor: what passes them would pass protovalidate, and all else is given to it. A type
with a rule that is not known here has no quick check.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

Check = Callable[[Any], bool]

# https://protovalidate.com/reference/rules/string_rules/#uuid
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# The extensions that rules stand in; their types say nothing of what they extend.
_MESSAGE_RULES: Final[Any] = validate_pb2.message
_ONEOF_RULES: Final[Any] = validate_pb2.oneof
_FIELD_RULES: Final[Any] = validate_pb2.field
# Longer than any message can be.
_NO_LIMIT: Final = 2**63
_NANOS_PER_SECOND: Final = 1_000_000_000
# Messages of others' that have no rules of their own, nor within.
_WITHOUT_RULES: Final = ("google.protobuf.Duration", "google.protobuf.Timestamp", "google.protobuf.Struct")


class _UnknownRuleError(Exception):
    """A rule that this module does not know."""


def quick_check(message_type: type[Message]) -> Check | None:
    """Return what is True of a message only if it keeps all rules of its type; None for a type with unknown rules."""
    try:
        descriptor: Any = message_type.DESCRIPTOR
        return _all_of(list(_checks_of(descriptor)))
    except _UnknownRuleError:
        return None


def _all_of(checks: list[Check]) -> Check:
    def check(message: Any) -> bool:
        for each in checks:  # noqa: SIM110 - a generator would take twice as long
            if not each(message):
                return False
        return True

    return check


def _checks_of(descriptor: Descriptor) -> Iterator[Check]:
    rules = [descriptor.GetOptions().Extensions[_MESSAGE_RULES]]
    rules += [oneof.GetOptions().Extensions[_ONEOF_RULES] for oneof in descriptor.oneofs]
    if any(group.ListFields() for group in rules):
        raise _UnknownRuleError
    for field in descriptor.fields:
        check = _check_of_field(field)
        if check is not None:
            yield check


def _check_of_field(field: FieldDescriptor) -> Check | None:
    """Return what checks one field of a message; None if nothing can be wrong with it."""
    groups: list[tuple[FieldDescriptor, Any]] = field.GetOptions().Extensions[_FIELD_RULES].ListFields()
    if not groups:
        if field.message_type is None or field.message_type.full_name in _WITHOUT_RULES:
            return None
        # It may have rules within.
        raise _UnknownRuleError
    if len(groups) > 1:
        raise _UnknownRuleError
    ((group, rules),) = groups
    if group.name == "required" and rules:
        return _check_of_presence(field)
    if group.name not in _CHECKS_OF_VALUES:
        raise _UnknownRuleError
    check = _CHECKS_OF_VALUES[group.name](rules)
    return _if_present(field.name, check) if field.has_presence else _always(field.name, check)


def _check_of_presence(field: FieldDescriptor) -> Check:
    if field.message_type is None or field.message_type.full_name not in _WITHOUT_RULES or not field.has_presence:
        raise _UnknownRuleError
    name = field.name
    return lambda message: message.HasField(name)


def _always(name: str, check: Check) -> Check:
    return lambda message: check(getattr(message, name))


def _if_present(name: str, check: Check) -> Check:
    return lambda message: not message.HasField(name) or check(getattr(message, name))


def _check_of_text(rules: Any) -> Check:
    known = _known(rules, "uuid", "min_len", "max_len", "not_contains")
    if known.get("uuid"):
        if len(known) > 1:
            raise _UnknownRuleError
        return lambda text: _UUID.fullmatch(text) is not None
    shortest, longest = known.get("min_len", 0), known.get("max_len", _NO_LIMIT)
    unwanted = known.get("not_contains")
    if unwanted is None:
        return lambda text: shortest <= len(text) <= longest
    return lambda text: shortest <= len(text) <= longest and unwanted not in text


def _check_of_number(rules: Any) -> Check:
    known = _known(rules, "gte", "lte")
    lowest, highest = known.get("gte", -_NO_LIMIT), known.get("lte", _NO_LIMIT)
    if lowest > highest:
        # What this means to protovalidate is no range.
        raise _UnknownRuleError
    return lambda number: lowest <= number <= highest


def _check_of_span(rules: Any) -> Check:
    known = _known(rules, "gte", "lte")
    lowest, highest = (_nanoseconds(_given(known, name)) for name in ("gte", "lte"))
    if lowest > highest:
        raise _UnknownRuleError
    return lambda span: 0 <= span.nanos < _NANOS_PER_SECOND and lowest <= _nanoseconds(span) <= highest


def _nanoseconds(span: Duration) -> int:
    return span.seconds * _NANOS_PER_SECOND + span.nanos


def _check_of_map(rules: Any) -> Check:
    known = _known(rules, "max_pairs", "keys", "values")
    check_key, check_value = (_check_within(_given(known, name)) for name in ("keys", "values"))
    most = known.get("max_pairs", _NO_LIMIT)

    def check(pairs: Any) -> bool:
        return len(pairs) <= most and all(check_key(key) and check_value(value) for key, value in pairs.items())

    return check


def _check_within(rules: Any) -> Check:
    return _check_of_text(_given(_known(rules, "string"), "string"))


def _known(rules: Any, *names: str) -> dict[str, Any]:
    """Return the rules of a group by their names. Raises _UnknownRuleError if there are others, or none."""
    found = {field.name: value for field, value in rules.ListFields()}
    if not found or not found.keys() <= set(names):
        raise _UnknownRuleError
    return found


def _given(known: dict[str, Any], name: str) -> Any:
    """Return a rule that this module expects. Raises _UnknownRuleError without it."""
    if name not in known:
        raise _UnknownRuleError
    return known[name]


_CHECKS_OF_VALUES: Final[dict[str, Callable[[Any], Check]]] = {
    "string": _check_of_text,
    "int32": _check_of_number,
    "int64": _check_of_number,
    "duration": _check_of_span,
    "map": _check_of_map,
}
