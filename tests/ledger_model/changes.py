"""Another value for each field of a command, so that a request can come again with one thing changed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import fields, replace

from broker_service.domain.commands import Charge, Command, GrantCredits, Reserve
from broker_service.domain.purchase_commands import StartPurchase
from broker_service.domain.records import GrantKind
from tests.ledger_model.requests import Ending, Making

_TICK = timedelta(microseconds=1)
_LATER = datetime(2027, 1, 1, tzinfo=UTC)

# The service's terms are among them, though they are no parameters: with other terms it is the same request.
_CHANGES: dict[str, Callable[[Any], Any]] = {
    "additional_credits": lambda amount: amount + 1,
    "credits": lambda amount: (amount or 0) + 1,
    "customer_id": lambda customer_id: f"{customer_id}-other",
    "default_ttl": lambda ttl: ttl - _TICK,
    "description": lambda description: f"{description}!",
    "expire_time": lambda expire_time: _LATER if expire_time is None else None,
    "keep_open": lambda keep_open: not keep_open,
    "kind": lambda kind: GrantKind.TRIAL if kind is GrantKind.PROMOTIONAL else GrantKind.PROMOTIONAL,
    "max_ttl": lambda ttl: ttl - _TICK,
    "metadata": lambda metadata: {**metadata, "added": "label"},
    "overlap": lambda overlap: overlap + _TICK,
    "priority": lambda priority: priority + 1,
    "provider_suspended": lambda suspended: not suspended,
    "reason": lambda reason: f"{reason}!",
    "provider_id": lambda provider_id: f"{provider_id}-other",
    "return_url": lambda return_url: f"{return_url}/other",
    "service": lambda service: f"{service}-other",
    "succeeded": lambda succeeded: not succeeded,
    "ttl": lambda ttl: timedelta(seconds=1) if ttl is None else ttl + _TICK,
}


def with_a_change(command: Command, choice: int) -> Command:
    """Returns a command with one of its fields changed."""
    names = [field.name for field in fields(command) if field.name in _CHANGES]
    if not isinstance(command, Ending):
        # Who may ask at all is decided before.
        names = [name for name in names if name != "provider_id"]
    if not names:
        return command
    name = names[choice % len(names)]
    return replace(command, **{name: _CHANGES[name](getattr(command, name))})


def about_another(command: Command, other: Making) -> Command:
    """Returns a command with another reservation named in it, or for another account, if it can be."""
    if isinstance(command, Ending):
        return replace(command, account_id=other.account_id, reservation_id=other.reservation_id)
    if isinstance(command, Reserve | Charge | GrantCredits | StartPurchase):
        return replace(command, account_id=other.account_id)
    return command
