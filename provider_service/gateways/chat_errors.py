"""What becomes of a chat completion endpoint's refusals: a word for the customer, and a line for the operator.

The endpoint's own words go to neither. They may quote the prompt, or a part of the key.
"""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import aiohttp

from mesh_runtime.logs import get_logger
from provider_service.gateways.gateway_error import GatewayError

_RETRY_AFTER_MAXIMUM_SECONDS: Final = 24 * 3600
# Without digits and hyphens, of which keys and ids are made.
_NAME_PATTERN: Final = re.compile(r"[A-Za-z][A-Za-z_.]{0,63}")
_TOO_LONG: Final = frozenset({"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"})
_FILTERED: Final = frozenset({"content_filter", "content_policy_violation"})
# Nobody's money is back in a moment.
_OUT_OF_QUOTA: Final = "insufficient_quota"
_RETRYABLE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
# The key, the bill, the address or the model's name: nothing that a customer could put right.
_OPERATORS_CONCERN: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
    }
)
_logger = get_logger("provider_service.gateways")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an endpoint says is wrong, in whichever form it says it."""

    names: frozenset[str] = frozenset()
    """The codes and types of the error; short words that quote nobody."""
    status: int | None = None
    """The HTTP status that it would have, where the answer itself had another one."""


def parse_complaint(body: bytes) -> Complaint:
    """Reads the body of a refusal: an object of any known form, or anything at all."""
    try:
        return read_complaint(json.loads(body))
    except (ValueError, RecursionError):
        return Complaint()


def read_complaint(document: object) -> Complaint:
    """Reads `{"error": {…}}`, `{"error": "…"}`, or an object that is itself the error."""
    error = document.get("error", document) if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return Complaint()
    values = [error.get("code"), error.get("type"), error.get("status")]
    return Complaint(
        names=frozenset(value for value in values if isinstance(value, str) and _NAME_PATTERN.fullmatch(value)),
        status=next((value for value in values if type(value) is int and 400 <= value < 600), None),  # noqa: PLR2004
    )


def has_error(document: object) -> bool:
    """Whether an answer that came with status 200 is an error after all."""
    if not isinstance(document, dict):
        return False
    return bool(document.get("error")) or document.get("object") == "error"


def refusal(status: int, complaint: Complaint, headers: Mapping[str, str], *, model: str) -> GatewayError:
    """Returns the error for an answer that is a refusal, and tells the operator of it."""
    fields = {"status": status, "names": sorted(complaint.names), "model": model}
    if status in _OPERATORS_CONCERN or _OUT_OF_QUOTA in complaint.names or status < HTTPStatus.BAD_REQUEST:
        # The only ones that go on until somebody does something.
        _logger.error("completion.endpoint_refuses", **fields)
        return GatewayError("the language model cannot be used at the moment", retryable=False)
    if status in _RETRYABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _logger.warning("completion.endpoint_unavailable", **fields)
        return GatewayError(f"the language model is busy or out of order{_render_wait(headers)}", retryable=True)
    _logger.warning("completion.request_refused", **fields)
    if complaint.names & _TOO_LONG or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return GatewayError("the prompt and max_tokens are more than the language model can take", retryable=False)
    if complaint.names & _FILTERED:
        return GatewayError("the prompt was refused by the language model's content filter", retryable=False)
    return GatewayError(f"the language model refused the request (HTTP status {status})", retryable=False)


def failure_in_answer(complaint: Complaint, *, model: str) -> GatewayError:
    """Returns the error for one that came in the midst of an answer."""
    return refusal(complaint.status or HTTPStatus.INTERNAL_SERVER_ERROR, complaint, {}, model=model)


@contextlib.contextmanager
def explain_failures(*, model: str) -> Iterator[None]:
    """Turns what goes wrong on the way into a GatewayError.

    None is chained: the client's own messages show the URL, and those of a parser the answer.
    """
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise GatewayError("the language model could not be reached in time", retryable=True) from None
    except TimeoutError:
        raise GatewayError("the language model did not answer in time", retryable=True) from None
    except (aiohttp.ClientError, OSError) as error:
        message = f"the connection to the language model failed ({type(error).__name__})"
        raise GatewayError(message, retryable=True) from None
    except (ValueError, RecursionError):
        raise _unreadable_answer(model=model) from None


def _unreadable_answer(*, model: str) -> GatewayError:
    """Returns the error for an answer that is none."""
    _logger.error("completion.unreadable_answer", model=model)
    return GatewayError("the language model answered in a form that is not understood", retryable=False)


def _render_wait(headers: Mapping[str, str]) -> str:
    seconds = _read_retry_after(headers.get("Retry-After", ""))
    return "" if seconds is None else f"; it asks to be tried again in {seconds} s"


def _read_retry_after(value: str) -> int | None:
    """Reads whole seconds or an HTTP date (RFC 9110, 10.2.3)."""
    try:
        seconds = int(value) if value.isdecimal() else _seconds_until(parsedate_to_datetime(value))
    except ValueError:
        return None
    return seconds if 0 < seconds <= _RETRY_AFTER_MAXIMUM_SECONDS else None


def _seconds_until(moment: datetime) -> int:
    return math.ceil((moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
