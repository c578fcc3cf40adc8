"""The validation rules that stand in the proto files, checked by protovalidate."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import protovalidate
from google.protobuf.message import Message

from mesh_runtime.quick_checks import Check, quick_check

# It keeps the rules that it has compiled, for all in the process.
_VALIDATOR: Final = protovalidate.Validator()


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field that breaks a rule.

    `field` is its path, such as `operations[3].credits`. A rule of a whole message is about the field that its id
    ends with: `create_service.default_ttl` is about `default_ttl`.
    """

    field: str
    description: str


class FieldRules:
    """The rules of some message types, compiled when constructed so that no call has to wait for it."""

    def __init__(self, message_types: Iterable[type[Message]] = ()) -> None:
        self._quick_checks: dict[type[Message], Check] = {}
        for message_type in message_types:
            check = quick_check(message_type)
            if check is not None:
                self._quick_checks[message_type] = check
            # Checking any message compiles the rules of its type and of the types within; CompilationError
            # here is a bug in the proto file.
            _VALIDATOR.collect_violations(message_type())

    def violations(self, message: Message) -> tuple[FieldViolation, ...]:
        """Return every broken rule, in the order of the fields; empty when the message is valid.

        A type not named to the constructor is compiled the first time it is seen.
        """
        keeps_rules = self._quick_checks.get(type(message))
        if keeps_rules is not None and keeps_rules(message):
            return ()
        found = _VALIDATOR.collect_violations(message)
        if not found:
            return ()
        return tuple(_to_field_violation(violation.proto) for violation in found)


_shared_rules = FieldRules()


def check_fields(message: Message, *more: FieldViolation) -> tuple[FieldViolation, ...]:
    """Return what the message's own rules refuse, then the violations that the caller found by itself.

    Compiles the rules of a type the first time it is seen; the hot path holds FieldRules of its own.
    """
    return (*_shared_rules.violations(message), *more)


def _to_field_violation(violation: protovalidate.ViolationPb) -> FieldViolation:
    elements = violation.field.elements if violation.field else ()
    path = ".".join(_render_element(element) for element in elements)
    return FieldViolation(
        field=path or violation.rule_id.rpartition(".")[2],
        description=violation.message or violation.rule_id,
    )


def _render_element(element: protovalidate.FieldPathElementPb) -> str:
    if element.subscript is None:
        return element.field_name
    value = element.subscript.value
    # JSON writes what is wanted here: strings quoted and escaped, booleans in lower case, numbers plain.
    return f"{element.field_name}[{json.dumps(value, ensure_ascii=False)}]"
