"""The JSON Schema of the service's input, which depends on what is on offer."""

from collections.abc import Mapping

from provider_service.services.completion.offer import Offer
from provider_service.services.completion.request import (
    MESSAGES_MAXIMUM,
    PROMPT_MAXIMUM_BYTES,
    ROLES,
    STOP_MAXIMUM_CHARACTERS,
    STOPS_MAXIMUM,
    TEMPERATURE_MAXIMUM,
)
from provider_service.services.service import Json


def describe_input(offer: Offer) -> Mapping[str, Json]:
    """Returns the JSON Schema of the input. What it cannot say is how long a conversation may be as a whole."""
    text: dict[str, Json] = {"type": "string", "minLength": 1, "pattern": r"\S"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "prompt": {**text, "description": "What the user says: short for one message with the role user."},
            "messages": {
                "type": "array",
                "minItems": 1,
                "maxItems": MESSAGES_MAXIMUM,
                "items": {
                    "type": "object",
                    "properties": {"role": {"enum": list(ROLES)}, "content": text},
                    "required": ["role", "content"],
                    "additionalProperties": False,
                },
                "description": f"The conversation to go on with, of at most {PROMPT_MAXIMUM_BYTES} bytes of UTF-8.",
            },
            "model": {"enum": list(offer.prices), "default": offer.default_model},
            "max_tokens": {
                "type": "integer",
                "minimum": 1,
                "maximum": offer.max_tokens_limit,
                "default": offer.default_max_tokens,
                "description": "How many tokens the answer may have, those of hidden reasoning included.",
            },
            "temperature": {
                "type": "number",
                "minimum": 0,
                "maximum": TEMPERATURE_MAXIMUM,
                "description": "How much chance there is in the answer; if left out, the model's own.",
            },
            "stop": {
                "type": ["string", "array"],
                "minLength": 1,
                "maxLength": STOP_MAXIMUM_CHARACTERS,
                "maxItems": STOPS_MAXIMUM,
                "items": {"type": "string", "minLength": 1, "maxLength": STOP_MAXIMUM_CHARACTERS},
                "description": "A text, or several, before which the answer ends.",
            },
        },
        "oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
        "additionalProperties": False,
    }
