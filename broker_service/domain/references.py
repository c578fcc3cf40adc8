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
    RotateToken,
    SetLowBalanceAlert,
    Settle,
)
from broker_service.domain.identities import account_id_within
from broker_service.domain.purchase_commands import (
    AttachCheckout,
    CompleteSandboxPayment,
    RefundPurchase,
    SettleRefund,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.records import PaymentNoticeKind


class References(Struct):
    """Ids of rows.

    With an account come, unnamed, its grants with credits left and its overdue reservations. `grants` are to be loaded
    even if they are spent, as are all grants of the reservations in `refunds`. Of `refunded_purchases` all refunds are
    needed, of `token_accounts` the tokens, of `method_accounts` the payment methods. Trial claims are named by customer
    and service.
    """

    accounts: set[str] = field(default_factory=set)
    grants: set[str] = field(default_factory=set)
    reservations: set[str] = field(default_factory=set)
    refunds: set[str] = field(default_factory=set)
    operations: set[str] = field(default_factory=set)
    purchases: set[str] = field(default_factory=set)
    purchase_refunds: set[str] = field(default_factory=set)
    refunded_purchases: set[str] = field(default_factory=set)
    payment_notices: set[str] = field(default_factory=set)
    method_accounts: set[str] = field(default_factory=set)
    token_accounts: set[str] = field(default_factory=set)
    webhooks: set[str] = field(default_factory=set)
    trial_claims: set[tuple[str, str]] = field(default_factory=set)


def references_of(commands: Iterable[Command]) -> References:  # noqa: C901, PLR0912 - one case for each command
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
            case StartPurchase() | AttachCheckout():
                references.purchases.add(command.purchase_id)
            case TakePaymentNotice():
                _add_notice(references, command)
            case CompleteSandboxPayment():
                references.operations.add(command.operation_id)
                _add_notice(references, command.notice)
            case RefundPurchase():
                references.purchases.add(command.purchase_id)
                references.purchase_refunds.add(command.refund_id)
                references.grants.add(command.grant_id)
            case SettleRefund():
                references.operations.add(command.operation_id)
                _add_notice(references, command.notice)
            case Settle() | ChangeAccountState():
                pass
    return references


def _add_notice(references: References, command: TakePaymentNotice) -> None:
    references.payment_notices.add(command.notice_id)
    references.purchases.add(command.purchase_id)
    match command.kind:
        case PaymentNoticeKind.SUCCEEDED:
            references.method_accounts.add(command.account_id)
        case PaymentNoticeKind.CHARGED_BACK:
            references.refunded_purchases.add(command.purchase_id)
            references.grants.add(command.grant_id)
        case PaymentNoticeKind.REFUND_SUCCEEDED | PaymentNoticeKind.REFUND_FAILED:
            # Whatever a gateway names: another account's rows are in no book of this batch.
            if account_id_within(command.refund_id, "rfd") == command.account_id:
                references.purchase_refunds.add(command.refund_id)
        case PaymentNoticeKind.FAILED:
            pass
