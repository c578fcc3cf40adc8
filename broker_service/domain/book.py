"""What the rules see of one account, and what they change of it."""

from datetime import datetime

from msgspec import Struct, field

from broker_service.domain.errors import InvariantError
from broker_service.domain.records import (
    Account,
    AccountToken,
    Entry,
    Event,
    Grant,
    JournalEntry,
    Operation,
    PaymentNotice,
    Purchase,
    PurchaseRefund,
    Reservation,
    SavedPaymentMethod,
    TrialClaim,
)
from broker_service.domain.webhooks import Webhook


class Changes(Struct, frozen=True):
    """New versions of rows of one account, to be written together or not at all."""

    account: Account | None = None
    grants: tuple[Grant, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    entries: tuple[Entry, ...] = ()
    operations: tuple[Operation, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    purchase_refunds: tuple[PurchaseRefund, ...] = ()
    payment_notices: tuple[PaymentNotice, ...] = ()
    payment_methods: tuple[SavedPaymentMethod, ...] = ()
    journal_entries: tuple[JournalEntry, ...] = ()
    trial_claims: tuple[TrialClaim, ...] = ()
    account_tokens: tuple[AccountToken, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    events: tuple[Event, ...] = ()


class Book(Struct):
    """The rows of one account that a batch has loaded, as they stand after the commands decided so far.

    `account` is None until it is opened. `grants` are those with credits remaining, besides spent ones that commands
    name; `reservations`, `operations`, `purchases`, `purchase_refunds` and `payment_notices` those that the batch's
    commands name, besides all reservations that are overdue and all refunds of purchases that notices name.
    `account_tokens` are by their hash, `payment_methods` by their `method_id`. `trial_claims` are
    those of the customers named, and one dictionary for all books of the batch: a claim is the customer's. `webhooks`
    holds that of the account's low-balance alert, if a command names it.
    """

    account_id: str
    account: Account | None = None
    grants: dict[str, Grant] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    purchases: dict[str, Purchase] = field(default_factory=dict)
    purchase_refunds: dict[str, PurchaseRefund] = field(default_factory=dict)
    payment_notices: dict[str, PaymentNotice] = field(default_factory=dict)
    payment_methods: dict[str, SavedPaymentMethod] = field(default_factory=dict)
    account_tokens: dict[str, AccountToken] = field(default_factory=dict)
    trial_claims: dict[tuple[str, str], TrialClaim] = field(default_factory=dict)
    webhooks: dict[str, Webhook] = field(default_factory=dict)

    def apply(self, changes: Changes) -> None:
        """Takes the changes over, and checks that the account still adds up. Raises InvariantError."""
        if changes.account is not None:
            self.account = changes.account
        for grant in changes.grants:
            self.grants[grant.grant_id] = grant
        for reservation in changes.reservations:
            self.reservations[reservation.reservation_id] = reservation
        for operation in changes.operations:
            self.operations[operation.operation_id] = operation
        self._take_sales(changes)
        self._take_claims(changes)
        self.check()
        for reservation in changes.reservations:
            check_reservation(reservation)
        for journal_entry in changes.journal_entries:
            check_journal_entry(journal_entry)

    def _take_sales(self, changes: Changes) -> None:
        for purchase in changes.purchases:
            self.purchases[purchase.purchase_id] = purchase
        for refund in changes.purchase_refunds:
            self.purchase_refunds[refund.refund_id] = refund
        for notice in changes.payment_notices:
            self.payment_notices[notice.notice_id] = notice
        for method in changes.payment_methods:
            self.payment_methods[method.method_id] = method

    def _take_claims(self, changes: Changes) -> None:
        for token in changes.account_tokens:
            self.account_tokens[token.token_hash] = token
        for claim in changes.trial_claims:
            self.trial_claims[claim.customer_id, claim.service] = claim
        for webhook in changes.webhooks:
            self.webhooks[webhook.webhook_id] = webhook

    def check(self) -> None:
        """Raises InvariantError unless the account's credits are those of its grants, and none is negative."""
        if self.account is None:
            return
        remaining_credits = reserved_credits = 0
        for grant in self.grants.values():
            if not 0 <= grant.reserved_credits <= grant.remaining_credits <= grant.credits:
                raise InvariantError(f"grant {grant.grant_id} of {self.account_id} is out of range: {grant}")
            remaining_credits += grant.remaining_credits
            reserved_credits += grant.reserved_credits
        account = self.account
        if (account.ledger_credits, account.reserved_credits) != (remaining_credits, reserved_credits):
            raise InvariantError(
                f"account {self.account_id} holds {account.ledger_credits} credits, {account.reserved_credits} of them "
                f"reserved, but its grants hold {remaining_credits} and {reserved_credits}"
            )


def check_reservation(reservation: Reservation) -> None:
    """Raises InvariantError unless a reservation's credits are those of its parts, one part a grant, none negative."""
    reserved_credits = captured_credits = refunded_credits = 0
    within_range = True
    parts = reservation.allocations
    for part in parts:
        if not 0 <= part.refunded_credits <= part.captured_credits <= part.reserved_credits:
            within_range = False
        reserved_credits += part.reserved_credits
        captured_credits += part.captured_credits
        refunded_credits += part.refunded_credits
    if (
        not within_range
        or reservation.reserved_credits != reserved_credits
        or reservation.captured_credits != captured_credits
        or reservation.refunded_credits != refunded_credits
        or reservation.open_credits < 0
        or reservation.released_credits < 0
        or (reservation.resolve_time is not None and reservation.open_credits != 0)
        or (len(parts) > 1 and len({part.grant_id for part in parts}) < len(parts))
    ):
        raise InvariantError(f"reservation {reservation.reservation_id} does not add up: {reservation}")


def check_journal_entry(journal_entry: JournalEntry) -> None:
    """Raises InvariantError unless the postings sum to zero in each currency."""
    sums: dict[str, int] = {}
    for posting in journal_entry.postings:
        sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount_minor_units
    if any(sums.values()):
        raise InvariantError(f"journal entry {journal_entry.journal_entry_id} does not sum to zero: {sums}")


def latest_time(books: list[Book], now: datetime) -> datetime:
    """Returns `now`, or the last change of any of these accounts if the clock has stepped back behind it."""
    return max([now, *(book.account.update_time for book in books if book.account is not None)])
