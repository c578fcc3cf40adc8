"""Calls to Stripe's API, and what their failures mean here."""

import asyncio
import contextlib
from collections.abc import Awaitable, Generator
from logging import WARNING, getLogger
from typing import Any, Final

import stripe
from aiohttp import ClientError, ClientTimeout

from broker_service.payments.gateway import GatewayError, PaymentDeclinedError

DEFAULT_API_URL: Final = "https://api.stripe.com"
_CALL_SECONDS: Final = 20.0
_RETRIES: Final = 2
# Stripe waits some seconds for the answer to a notice, and those of questions on the way to it come before.
_QUESTION_SECONDS: Final = 6.0

# It says nothing about the request: who asks here may not ask, or Stripe does not answer.
_UNCLEAR: Final = (
    stripe.APIConnectionError,
    stripe.APIError,
    stripe.AuthenticationError,
    stripe.IdempotencyError,
    stripe.PermissionError,
    stripe.RateLimitError,
)


def new_http_client() -> stripe.AIOHTTPClient:
    """Returns what carries the calls; whoever makes it closes it."""
    return stripe.AIOHTTPClient(timeout=ClientTimeout(total=_CALL_SECONDS))


def new_client(secret_key: str, api_url: str, http_client: stripe.AIOHTTPClient) -> stripe.StripeClient:
    """Returns a client of Stripe's API at a URL."""
    # What it says at info may quote what customers have entered.
    getLogger("stripe").setLevel(WARNING)
    stripe.enable_telemetry = False
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_url},
        max_network_retries=_RETRIES,
        http_client=http_client,
    )


@contextlib.contextmanager
def explaining_failures() -> Generator[None, None, None]:
    """Turns what the library raises into GatewayError and PaymentDeclinedError; a CardError goes through as it is.

    Texts are made of Stripe's codes: its messages may name keys and customers.
    """
    try:
        yield
    except stripe.CardError:
        raise
    except _UNCLEAR as error:
        raise GatewayError(f"Stripe: {type(error).__name__} {_code(error)}".rstrip()) from error
    except stripe.StripeError as error:
        raise PaymentDeclinedError(f"Stripe refuses the request: {_code(error)}") from error
    except (ClientError, TimeoutError) as error:
        # In the middle of an answer, where the library does not look for it.
        raise GatewayError(f"Stripe: {type(error).__name__}") from error


async def answered(question: Awaitable[Any]) -> Any:
    """Returns the answer to a question that changes nothing; whatever keeps it from coming, it may be asked again.

    Raises GatewayError.
    """
    try:
        with explaining_failures():
            async with asyncio.timeout(_QUESTION_SECONDS):
                return await question
    except (stripe.CardError, PaymentDeclinedError) as error:
        raise GatewayError(str(error)) from error


def decline_reason(error: stripe.CardError) -> str:
    """Returns why a card was refused, in Stripe's code."""
    decline_code = getattr(error.error, "decline_code", None)
    return str(decline_code or error.code or "card_declined")


def _code(error: stripe.StripeError) -> str:
    parameter = getattr(error, "param", None)
    return " ".join(str(part) for part in (error.code, parameter, error.http_status) if part)
