"""Which rows a batch of commands has to be decided on."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from broker_service.domain.commands import (
    Capture,
    Command,
    OpenAccount,
    Release,
    Reserve,
    ResolvePayment,
    Settle,
    StartPurchase,
)


@dataclass(slots=True)
class References:
    """Ids of rows; trial claims have none and are named by customer and service."""

    accounts: set[str] = field(default_factory=set)
    reservations: set[str] = field(default_factory=set)
    operations: set[str] = field(default_factory=set)
    purchases: set[str] = field(default_factory=set)
    trial_claims: set[tuple[str, str]] = field(default_factory=set)


def references_of(commands: Iterable[Command]) -> References:
    """Returns what the commands name. An account's grants and overdue reservations go with the account, unnamed."""
    references = References()
    for command in commands:
        references.accounts.add(command.account_id)
        match command:
            case Settle():
                pass
            case Reserve():
                references.reservations.add(command.reservation_id)
            case Capture() | Release():
                references.reservations.add(command.reservation_id)
                references.operations.add(command.operation_id)
            case OpenAccount():
                references.trial_claims.add((command.customer_id, command.service))
            case StartPurchase():
                references.purchases.add(command.purchase_id)
            case ResolvePayment():
                references.purchases.add(command.purchase_id)
                references.operations.add(command.operation_id)
    return references
