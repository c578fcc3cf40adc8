"""What the service is asked to do: its input, checked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard, TypeVar

from provider_service.gateways.completions import ChatMessage
from provider_service.services.completion.offer import Offer
from provider_service.services.service import FieldViolation, InvalidInput, Json

ROLES: Final = ("system", "user", "assistant")
MESSAGES_MAXIMUM: Final = 256
PROMPT_MAXIMUM_BYTES: Final = 256 * 1024
TEMPERATURE_MAXIMUM: Final = 2
STOPS_MAXIMUM: Final = 4
STOP_MAXIMUM_CHARACTERS: Final = 64
_FIELDS: Final = frozenset({"prompt", "messages", "model", "max_tokens", "temperature", "stop"})
_MESSAGE_FIELDS: Final = frozenset({"role", "content"})

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionInput:
    """One text to complete, with nothing left open."""

    messages: tuple[ChatMessage, ...]
    model: str
    max_tokens: int
    temperature: float | None
    """None: the model's own."""
    stop: tuple[str, ...]


def parse_request(service_input: Mapping[str, Json], offer: Offer) -> CompletionInput:
    """Checks the whole input. Raises InvalidInput with every violation."""
    check = _Check()
    check.refuse_unknown(service_input.keys() - _FIELDS, "", f"the input is {', '.join(sorted(_FIELDS))}")
    parsed = CompletionInput(
        messages=_parse_conversation(service_input.get("prompt"), service_input.get("messages"), check),
        model=check.field("model", service_input.get("model"), lambda value: _parse_model(value, offer), ""),
        max_tokens=check.field(
            "max_tokens", service_input.get("max_tokens"), lambda value: _parse_max_tokens(value, offer), 0
        ),
        temperature=check.field("temperature", service_input.get("temperature"), _parse_temperature, None),
        stop=check.field("stop", service_input.get("stop"), _parse_stop, ()),
    )
    if check.violations:
        raise InvalidInput(check.violations)
    return parsed


class _Check:
    """Gathers the violations."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def field(self, name: str, value: Json, parse: Callable[[Json], Value], otherwise: Value) -> Value:
        """Returns what `parse` makes of a value, or `otherwise` if it raises ValueError, which is a violation."""
        try:
            return parse(value)
        except ValueError as error:
            self.violate(name, str(error))
            return otherwise

    def refuse_unknown(self, names: Iterable[str], prefix: str, reason: str) -> None:
        for name in sorted(names):
            self.violate(f"{prefix}{name}", f"must be left out: {reason}")

    def violate(self, name: str, description: str) -> None:
        self.violations.append(FieldViolation(field=name, description=description))


def _parse_conversation(prompt: Json, messages: Json, check: _Check) -> tuple[ChatMessage, ...]:
    name = "prompt" if messages is None else "messages"
    parsed: tuple[ChatMessage, ...] = ()
    if prompt is not None and messages is not None:
        check.violate("prompt", "must be left out where messages are given")
    if messages is None:
        parsed = (ChatMessage(role="user", content=check.field("prompt", prompt, _parse_text, "")),)
    elif not isinstance(messages, list) or not 0 < len(messages) <= MESSAGES_MAXIMUM:
        check.violate("messages", f"must be a list of at least 1 and at most {MESSAGES_MAXIMUM} messages")
    else:
        parsed = tuple(_parse_message(message, f"messages[{index}]", check) for index, message in enumerate(messages))
    size_bytes = sum(len(message.content.encode()) for message in parsed)
    if size_bytes > PROMPT_MAXIMUM_BYTES:
        check.violate(name, f"must be at most {PROMPT_MAXIMUM_BYTES} bytes of UTF-8: there are {size_bytes}")
    return parsed


def _parse_message(message: Json, name: str, check: _Check) -> ChatMessage:
    if not isinstance(message, dict):
        check.violate(name, "must be an object of role and content")
        return ChatMessage(role="", content="")
    check.refuse_unknown(message.keys() - _MESSAGE_FIELDS, f"{name}.", "a message is role and content")
    return ChatMessage(
        role=check.field(f"{name}.role", message.get("role"), _parse_role, ""),
        content=check.field(f"{name}.content", message.get("content"), _parse_text, ""),
    )


def _parse_role(value: Json) -> str:
    if not isinstance(value, str) or value not in ROLES:
        raise ValueError(f"must be one of {', '.join(ROLES)}")
    return value


def _parse_text(value: Json) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text with more than white space in it")
    return _check_unicode(value)


def _check_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text, without halves of surrogate pairs") from None
    return text


def _parse_model(value: Json, offer: Offer) -> str:
    if value is None:
        return offer.default_model
    if not isinstance(value, str) or value not in offer.prices:
        raise ValueError(f"must be one of {', '.join(offer.prices)}")
    return value


def _parse_max_tokens(value: Json, offer: Offer) -> int:
    if value is None:
        return offer.default_max_tokens
    # All numbers of a request are floats.
    if _is_number(value, 1, offer.max_tokens_limit) and float(value).is_integer():
        return int(value)
    raise ValueError(f"must be a whole number from 1 to {offer.max_tokens_limit}")


def _parse_temperature(value: Json) -> float | None:
    if value is None:
        return None
    if _is_number(value, 0, TEMPERATURE_MAXIMUM):
        return float(value)
    raise ValueError(f"must be a number from 0 to {TEMPERATURE_MAXIMUM}")


def _is_number(value: Json, minimum: int, maximum: int) -> TypeGuard[float]:
    # A boolean is an int to Python.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and minimum <= value <= maximum


def _parse_stop(value: Json) -> tuple[str, ...]:
    stops = [] if value is None else value if isinstance(value, list) else [value]
    if len(stops) > STOPS_MAXIMUM:
        raise ValueError(f"must be at most {STOPS_MAXIMUM} texts")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= STOP_MAXIMUM_CHARACTERS:
            raise ValueError(f"must be text of 1 to {STOP_MAXIMUM_CHARACTERS} characters, or a list of such texts")
    return tuple(_check_unicode(str(stop)) for stop in stops)
