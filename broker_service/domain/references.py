"""Which rows a batch of commands has to be decided on."""

from collections.abc import Iterable

from msgspec import Struct, field

from broker_service.domain.commands import (
    Capture,
    ChangeAccountState,
    Charge,
    Command,
    Extend,
    GrantCredits,
    OpenAccount,
    Refund,
    Release,
    Reserve,
    ResolvePayment,
    RotateToken,
    SetLowBalanceAlert,
    Settle,
    StartPurchase,
)


class References(Struct):
    """Ids of rows.

    With an account come, unnamed, its grants with credits left and its overdue reservations. `grants` are to be loaded
    even if they are spent, as are all grants of the reservations in `refunds`. `token_accounts` are accounts whose
    tokens are needed. Trial claims are named by customer and service.
    """

    accounts: set[str] = field(default_factory=set)
    grants: set[str] = field(default_factory=set)
    reservations: set[str] = field(default_factory=set)
    refunds: set[str] = field(default_factory=set)
    operations: set[str] = field(default_factory=set)
    purchases: set[str] = field(default_factory=set)
    purchase_refunds: set[str] = field(default_factory=set)
    payment_notices: set[str] = field(default_factory=set)
    token_accounts: set[str] = field(default_factory=set)
    webhooks: set[str] = field(default_factory=set)
    trial_claims: set[tuple[str, str]] = field(default_factory=set)


def references_of(commands: Iterable[Command]) -> References:  # noqa: C901 - one case for each command
    """Returns what the commands name."""
    references = References()
    for command in commands:
        references.accounts.add(command.account_id)
        match command:
            case Reserve() | Charge():
                references.reservations.add(command.reservation_id)
            case Capture() | Release() | Extend():
                references.reservations.add(command.reservation_id)
                references.operations.add(command.operation_id)
            case Refund():
                references.reservations.add(command.reservation_id)
                references.refunds.add(command.reservation_id)
                references.operations.add(command.operation_id)
            case GrantCredits():
                references.grants.add(command.grant_id)
                references.operations.add(command.operation_id)
            case RotateToken():
                references.token_accounts.add(command.account_id)
                references.operations.add(command.operation_id)
            case SetLowBalanceAlert():
                references.webhooks.add(command.webhook_id)
            case OpenAccount():
                references.token_accounts.add(command.account_id)
                references.trial_claims.add((command.customer_id, command.service))
            case StartPurchase():
                references.purchases.add(command.purchase_id)
            case ResolvePayment():
                references.purchases.add(command.purchase_id)
                references.operations.add(command.operation_id)
            case Settle() | ChangeAccountState():
                pass
    return references
