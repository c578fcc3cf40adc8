"""The requests of the demo, and what has to become of each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from provider_service.gateways.sandbox_sms import FAILING_RECIPIENT


class Outcome(StrEnum):
    """What can become of a request, in the words of the demo."""

    SENT = "sent"
    REPLAYED = "sent before: not sent and not charged again"
    REFUSED = "refused"
    FAILED = "the gateway failed: credits given back"
    NOT_PAID = "not enough credits: not sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a request. `charged_credits` is what the account has less since.

    `encoding` and `segments` are unknown, and empty, for what is refused.
    """

    outcome: Outcome = Outcome.SENT
    encoding: str = "GSM-7"
    segments: int = 1
    charged_credits: int = 0

    def __str__(self) -> str:
        encoding = self.encoding or "no encoding"
        return f"{self.outcome}, {encoding}, {self.segments} segments, {self.charged_credits} charged"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """One text to send, and what has to come of it."""

    title: str
    to: str
    text: str
    expected: Result
    repeats_first: bool = False
    """Whether it is sent with the request_id of the first request."""


# Numbers that the countries' authorities keep for use in fiction, so that nobody has them.
_WASHINGTON: Final = "+12025550143"
_LONDON: Final = "+442079460123"
_PARIS: Final = "+33199001234"
_BERLIN: Final = "+493023125042"

_SHORT_TEXT: Final = "Your code is 481516. It is good for ten minutes."
_LONG_TEXT: Final = """\
Your table for four is booked for Friday at half past seven in the evening.
Please come by the side entrance, since the square in front of the house
is being paved and the main door stays shut until the end of the month.
If anybody in your party cannot eat something, tell us by Thursday noon,
and the kitchen will think of it. We keep the table for twenty minutes."""

REQUESTS: Final = (
    TextRequest(title="a short text", to=_WASHINGTON, text=_SHORT_TEXT, expected=Result(charged_credits=1)),
    TextRequest(title="a long text", to=_WASHINGTON, text=_LONG_TEXT, expected=Result(segments=3, charged_credits=3)),
    TextRequest(
        title="with accents",
        to=_PARIS,
        text="Le café crème est déjà réglé. Voilà !",
        expected=Result(charged_credits=5),
    ),
    TextRequest(
        title="with an emoji",
        to=_LONDON,
        text="Your parcel is here 📦",
        expected=Result(encoding="UCS-2", charged_credits=4),
    ),
    TextRequest(
        title="to a wrong number",
        to="+1202555",
        text=_SHORT_TEXT,
        expected=Result(outcome=Outcome.REFUSED, encoding="", segments=0),
    ),
    TextRequest(
        title="to a dead line",
        to=FAILING_RECIPIENT,
        text="Can you hear me?",
        expected=Result(outcome=Outcome.FAILED),
    ),
    TextRequest(
        title="the first, retried",
        to=_WASHINGTON,
        text=_SHORT_TEXT,
        expected=Result(outcome=Outcome.REPLAYED),
        repeats_first=True,
    ),
    TextRequest(
        title="the long one, abroad",
        to=_BERLIN,
        text=_LONG_TEXT,
        expected=Result(outcome=Outcome.NOT_PAID, segments=3),
    ),
)
