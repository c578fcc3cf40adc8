"""What the service is asked to do: its input, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from provider_service.services.service import FieldViolation, InvalidInput, Json
from provider_service.services.sms.recipients import E164_EXAMPLE, E164_PATTERN, Recipient, parse_recipient
from provider_service.services.sms.segments import (
    CHARACTERS_PER_SEGMENT_MAXIMUM,
    SegmentedText,
    has_surrogates,
    split_text,
)

SEGMENTS_MAXIMUM = 10
CHARACTERS_MAXIMUM = SEGMENTS_MAXIMUM * CHARACTERS_PER_SEGMENT_MAXIMUM

# All control characters but the tab and those that the alphabets of SMS have: line feed, form feed, carriage return.
# No phone shows the others, and what stands between here and there may cut the text at them: NUL ends a C string.
CONTROL_CHARACTER_PATTERN = r"[\u0000-\u0008\u000b\u000e-\u001f\u007f-\u009f]"

INPUT_SCHEMA: Mapping[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "to": {
            "type": "string",
            "pattern": E164_PATTERN,
            "description": "The recipient's phone number in E.164 form.",
            "examples": [E164_EXAMPLE],
        },
        "text": {
            "type": "string",
            "minLength": 1,
            "maxLength": CHARACTERS_MAXIMUM,
            "pattern": r"\S",
            "not": {"pattern": CONTROL_CHARACTER_PATTERN},
            "description": f"The text, not only white space, at most {SEGMENTS_MAXIMUM} segments long, "
            "without control characters other than tabs and the ends of lines and pages.",
        },
    },
    "required": ["to", "text"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class SmsRequest:
    """One text message to send."""

    recipient: Recipient
    segmented_text: SegmentedText


def parse_request(service_input: Mapping[str, Json]) -> SmsRequest:
    """Checks the whole input. Raises InvalidInput with every violation."""
    violations = _find_unknown_fields(service_input)
    recipient = segmented_text = None
    try:
        recipient = _parse_to(service_input.get("to"))
    except ValueError as error:
        violations.append(FieldViolation(field="to", description=str(error)))
    try:
        segmented_text = _parse_text(service_input.get("text"))
    except ValueError as error:
        violations.append(FieldViolation(field="text", description=str(error)))
    if violations or recipient is None or segmented_text is None:
        raise InvalidInput(violations)
    return SmsRequest(recipient=recipient, segmented_text=segmented_text)


def _find_unknown_fields(service_input: Mapping[str, Json]) -> list[FieldViolation]:
    unknown = sorted(service_input.keys() - {"to", "text"})
    return [
        FieldViolation(field=name, description="must be left out: the input is `to` and `text`") for name in unknown
    ]


def _parse_to(value: Json) -> Recipient:
    # A missing number gets the same answer as one in another form: what it must be.
    return parse_recipient(value if isinstance(value, str) else "")


def _parse_text(value: Json) -> SegmentedText:
    """Checks a text and cuts it. White space alone is refused: it costs as much as a text and says nothing."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text with more than white space in it")
    if len(value) > CHARACTERS_MAXIMUM:  # tried first, so that no work is done on a text of megabytes
        raise ValueError(f"must fit into {SEGMENTS_MAXIMUM} segments: it has {len(value)} characters")
    if has_surrogates(value):
        raise ValueError("must be Unicode text, without halves of surrogate pairs")
    control_character = re.search(CONTROL_CHARACTER_PATTERN, value)
    if control_character is not None:
        raise ValueError(f"must be text without the control character U+{ord(control_character[0]):04X}")
    segmented_text = split_text(value)
    if len(segmented_text.segments) > SEGMENTS_MAXIMUM:
        raise ValueError(f"must fit into {SEGMENTS_MAXIMUM} segments: it takes {len(segmented_text.segments)}")
    return segmented_text
