"""How a text is cut into SMS segments, which is what networks charge by.

The alphabets are those of 3GPP TS 23.038 (formerly GSM 03.38), without national language tables. A text in
which every character is in the basic or the extension table goes as GSM-7, any other as UCS-2. A text too
long for one segment is cut into several, each of which gives up six octets to the header that joins them
again (3GPP TS 23.040, 9.2.3.24.1).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)
"""The basic table, one septet each. The escape code itself is no character and cannot be sent."""

GSM_EXTENSION = frozenset("\f^{}\\[~]|€")
"""The extension table: an escape and a second septet, which stay together."""

_GSM_ALPHABET = GSM_BASIC | GSM_EXTENSION


class Encoding(StrEnum):
    """How a text is coded on the air."""

    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


@dataclass(frozen=True, slots=True)
class SegmentedText:
    """A text and the segments it is sent in."""

    text: str
    encoding: Encoding
    segments: tuple[str, ...]
    """At least one; joined, they are the text."""


@dataclass(frozen=True, slots=True)
class _Capacity:
    """What one segment holds, in septets (GSM-7) or UTF-16 code units (UCS-2)."""

    alone: int
    joined: int
    cost: Callable[[str], int]


def _count_septets(character: str) -> int:
    return 2 if character in GSM_EXTENSION else 1


def _count_utf16_units(character: str) -> int:
    return 2 if character > "\uffff" else 1


_CAPACITIES = {
    Encoding.GSM_7: _Capacity(alone=160, joined=153, cost=_count_septets),
    Encoding.UCS_2: _Capacity(alone=70, joined=67, cost=_count_utf16_units),
}

CHARACTERS_PER_SEGMENT_MAXIMUM = max(capacity.joined for capacity in _CAPACITIES.values())
"""A text with more characters than this many times `n` takes more than `n` segments, for any `n` from 2."""


def split_text(text: str) -> SegmentedText:
    """Cuts a text into as few segments as it takes. The empty text is one segment, as it is on the air.

    No character is cut: an escape and its septet, or the two halves of a surrogate pair, stay in one segment.
    Characters that combine into one sign may part; the phone joins them again.
    """
    encoding = _choose_encoding(text)
    capacity = _CAPACITIES[encoding]
    if sum(map(capacity.cost, text)) <= capacity.alone:
        return SegmentedText(text=text, encoding=encoding, segments=(text,))
    return SegmentedText(text=text, encoding=encoding, segments=tuple(_cut(text, capacity=capacity)))


def has_surrogates(text: str) -> bool:
    """Whether the text holds half of a surrogate pair, which stands for no character and cannot be sent."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _choose_encoding(text: str) -> Encoding:
    return Encoding.GSM_7 if _GSM_ALPHABET.issuperset(text) else Encoding.UCS_2


def _cut(text: str, *, capacity: _Capacity) -> Iterator[str]:
    start = used = 0
    for position, character in enumerate(text):
        cost = capacity.cost(character)
        if used + cost > capacity.joined:
            yield text[start:position]
            start, used = position, 0
        used += cost
    yield text[start:]
