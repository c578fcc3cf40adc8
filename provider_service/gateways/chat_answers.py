"""Reading what chat completion endpoints answer: whole answers and the pieces of streamed ones.

Endpoints differ in what they leave out and in what they add, so all is read that can be, and nothing is asked for that
an answer can do without.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from provider_service.gateways.completions import Answer, Usage

_NAME_MAXIMUM_CHARACTERS: Final = 128
_TOKENS_MAXIMUM: Final = 1_000_000_000


def read_answer(document: object) -> Answer:
    """Reads a `chat.completion`. Raises ValueError for anything else."""
    if not isinstance(document, dict) or not _first_choice(document.get("choices")):
        raise ValueError("the answer has no choice")
    answer = read_piece(document)
    return replace(answer, text=SurrogateMender().mend(answer.text))


def read_piece(document: object) -> Answer:
    """Reads a `chat.completion.chunk`, its text not mended yet. Raises ValueError for what is no object.

    Objects of other kinds are empty pieces: servers put warnings and signs of life among the chunks.
    """
    if not isinstance(document, dict):
        raise ValueError("the piece is no object")  # noqa: TRY004 - one type for all that cannot be read
    choice = _first_choice(document.get("choices"))
    message = choice.get("delta") or choice.get("message")
    return Answer(
        text=_read_text(message.get("content")) if isinstance(message, dict) else "",
        finish_reason=_read_name(choice.get("finish_reason")),
        usage=_read_usage(document.get("usage")),
        model=_read_name(document.get("model")),
    )


def _first_choice(choices: object) -> Mapping[str, object]:
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, dict) else {}


def _read_text(content: object) -> str:
    """Returns the text: the content itself, or of a list of parts those that are text and not reasoning."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _read_name(value: object) -> str | None:
    """Returns a name that can be shown; None for anything else."""
    is_name = isinstance(value, str) and 0 < len(value) <= _NAME_MAXIMUM_CHARACTERS and value.isprintable()
    return str(value) if is_name else None


def _read_usage(usage: object) -> Usage | None:
    """Returns the figures if there are both. No prompt takes zero tokens: such figures say that nothing was counted."""
    if not isinstance(usage, dict):
        return None
    prompt_tokens = _read_count(usage.get("prompt_tokens"))
    completion_tokens = _read_count(usage.get("completion_tokens"))
    if not prompt_tokens or completion_tokens is None:
        return None
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def _read_count(value: object) -> int | None:
    # A boolean is an int to Python, and some servers write all numbers as floats.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= _TOKENS_MAXIMUM and value == int(value) else None


class SurrogateMender:
    """Puts characters together again whose halves came in two pieces, as from servers that count in UTF-16."""

    def __init__(self) -> None:
        self._half = ""

    def mend(self, text: str) -> str:
        """Returns the text with the half that was kept back, and keeps back one at its end.

        Halves that nothing completes become replacement characters, for no text can hold them; the last one is lost.
        """
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text.removesuffix(self._half)
        return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
