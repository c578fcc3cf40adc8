"""How a command fails: one line on standard error, and an exit code that says whose turn it is.

1    a server refused
2    the command line or the settings are wrong; nothing was sent
3    no server was reached, or it could not answer now: the same command may succeed later
"""

from collections.abc import Mapping
from typing import Any, Final

import click
from iap.broker.v1.broker_pb2 import Offer
from iap.broker.v1.catalog_pb2 import Pack

from client_stub.cli.documents import print_document, to_document
from client_stub.cli.money import format_money
from client_stub.cli.settings import Settings
from client_stub.cli.tables import LEFT, RIGHT, printable, table
from client_stub.errors import (
    DeadlineExceededError,
    IapError,
    InsufficientCreditsError,
    InvalidArgumentError,
    TemporaryError,
)

REFUSED: Final = 1
WRONG_SETTINGS: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130

NOT_ANSWERED: Final = (TemporaryError, DeadlineExceededError)


def print_error(text: str) -> None:
    """Print one line on standard error."""
    click.echo(f"iap: error: {printable(' '.join(text.split()))}", err=True)


def report(error: IapError, settings: Settings) -> int:
    """Tell what went wrong and return the exit code. With --json the error is the command's document."""
    print_error("; ".join([_describe(error), *getattr(error, "__notes__", [])]))
    if settings.as_json:
        print_document({"error": _to_error_document(error)})
    elif isinstance(error, InsufficientCreditsError) and error.offer is not None:
        _print_offer(error.offer)
    return UNAVAILABLE if isinstance(error, NOT_ANSWERED) else REFUSED


def _describe(error: IapError) -> str:
    match error:
        case InvalidArgumentError() if error.violations:
            return "; ".join(
                f"{field}: {description}" if field else description for field, description in error.violations.items()
            )
        case InsufficientCreditsError():
            return (
                f"not enough credits: {error.required} required, {error.available} available, {error.missing} missing"
            )
        case _:
            return error.message or error.reason


def _to_error_document(error: IapError) -> Mapping[str, Any]:
    document: dict[str, Any] = {
        "code": error.code.name,
        "reason": error.reason,
        "domain": error.domain,
        "message": error.message,
        "metadata": dict(error.metadata),
    }
    if isinstance(error, InvalidArgumentError):
        document["violations"] = [
            {"field": field, "description": description} for field, description in error.violations.items()
        ]
    if isinstance(error, InsufficientCreditsError) and error.offer is not None:
        document["offer"] = to_document(error.offer)
    return document


def _print_offer(offer: Offer) -> None:
    if offer.packs:
        columns = [("pack", LEFT), ("title", LEFT), ("credits", RIGHT), ("price", RIGHT)]
        rows = [(pack.pack_id, pack.title, pack.credits, format_money(pack.price)) for pack in offer.packs]
        click.echo(f"\n{table(columns, rows)}", err=True)
        click.echo(f"\nBuy credits with\n  iap buy {_fitting_pack(offer).pack_id}", err=True)
    if offer.purchase_url:
        click.echo(f"\nBuy credits at {printable(offer.purchase_url)}", err=True)


def _fitting_pack(offer: Offer) -> Pack:
    """Return the smallest pack that is enough, else the largest."""
    by_size = sorted(offer.packs, key=lambda pack: pack.credits)
    return next((pack for pack in by_size if pack.credits >= offer.missing_credits), by_size[-1])
