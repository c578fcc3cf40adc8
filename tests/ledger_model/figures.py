"""What is compared, of the engine and of the naive model alike."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from broker_service.domain import commands as ask
from broker_service.domain import purchase_commands as sales

Figures = dict[str, Any]

# What makes two requests the same one, for each command that has a request_id: the contract's fields.
PARAMETERS: dict[type, tuple[str, ...]] = {
    ask.Reserve: ("credits", "ttl", "description", "metadata"),
    ask.Capture: ("reservation_id", "credits", "keep_open"),
    ask.Release: ("reservation_id", "reason"),
    ask.Charge: ("credits", "description", "metadata"),
    ask.Extend: ("reservation_id", "ttl", "additional_credits"),
    ask.Refund: ("reservation_id", "credits", "reason"),
    ask.GrantCredits: ("credits", "kind", "priority", "expire_time", "reason"),
    ask.RotateToken: ("overlap",),
    ask.OpenAccount: ("service",),
    sales.StartPurchase: ("pack.pack_id", "return_url"),
    sales.CompleteSandboxPayment: ("purchase_id", "succeeded"),
}

BALANCE = ("ledger_credits", "reserved_credits", "available_credits")
ACCOUNT = ("state", "create_time", "ledger_credits", "reserved_credits")
GRANT = ("kind", "priority", "credits", "remaining_credits", "reserved_credits", "expire_time", "create_time")
PURCHASE = ("state", "credits", "commission_minor_units", "provider_share_minor_units", "create_time", "pay_time")
RESERVATION = (
    "provider_id",
    "state",
    "reserved_credits",
    "captured_credits",
    "released_credits",
    "refunded_credits",
    "create_time",
    "expire_time",
    "resolve_time",
)

_PARTS = {"account": ACCOUNT, "balance": BALANCE, "grant": GRANT, "purchase": PURCHASE, "reservation": RESERVATION}


def parameters_of(command: ask.Command) -> object:
    """Returns the values of a command's parameters; nothing for one without a request_id."""
    names = PARAMETERS.get(type(command))
    return None if names is None else attrgetter(*names)(command)


def ttl_of(command: Any) -> Any:
    """Returns for how long a command asks, if it does: a Reserve says so by its own field, or by the service's."""
    return getattr(command, "ttl", None) or getattr(command, "default_ttl", None)


def credits_to_set_aside(command: ask.Command) -> int:
    """Returns how many credits a command asks to set aside."""
    match command:
        case ask.Reserve() | ask.Charge():
            return command.credits
        case ask.Extend():
            return command.additional_credits
        case _:
            return 0


def figures_of(row: Any, names: tuple[str, ...]) -> Figures:
    return {name: getattr(row, name) for name in names}


def book_figures(balance: Any, grants: Mapping[str, Any]) -> Figures:
    """Returns an account's balance and its grants that have credits left."""
    left = {grant_id: figures_of(grant, GRANT) for grant_id, grant in grants.items() if grant.remaining_credits}
    return figures_of(balance, BALANCE) | {"grants": left}


def model_figures(account: Any, command: Any, moved: tuple[int, int, int], *, replays: bool) -> Figures:
    """Returns what an answer of the naive model tells: the resource as it now stands, and what the first try moved."""
    # A token's secret is shown to the very try that made it, however often that is run.
    is_first_try = getattr(command, "token_hash", None) in account.tokens
    figures: Figures = {"replayed": replays and not is_first_try}
    match command:
        case sales.StartPurchase() | sales.CompleteSandboxPayment():
            # No balance: whoever pays need not be the customer.
            return figures | {"purchase": figures_of(account.purchases[command.purchase_id], PURCHASE)}
        case ask.GrantCredits():
            figures["grant"] = figures_of(account.grants[command.grant_id], GRANT)
        case ask.Reserve() | ask.Capture() | ask.Release() | ask.Charge() | ask.Extend() | ask.Refund():
            figures["reservation"] = figures_of(account.reservations[command.reservation_id], RESERVATION)
            figures["moved"] = moved
        case _:
            figures["account"] = figures_of(account, ACCOUNT)
            return figures | ({"tokens": account.tokens} if isinstance(command, ask.RotateToken) else {})
    return figures | {"balance": figures_of(account, BALANCE)}


def result_figures(result: Any) -> Figures:
    """Returns what a result of the engine tells."""
    figures: Figures = {"replayed": result.replayed}
    for part, names in _PARTS.items():
        if hasattr(result, part):
            figures[part] = figures_of(getattr(result, part), names)
    if hasattr(result, "tokens"):
        figures["tokens"] = {token.token_hash: token.expire_time for token in result.tokens}
    if hasattr(result, "reservation"):
        figures["moved"] = result.captured_credits, result.released_credits, result.refunded_credits
    return figures
