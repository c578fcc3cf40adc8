"""Ledger records of every kind, with values that a database might bend, and lanes that write and load them."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.decide import Verdict
from broker_service.domain.records import (
    Account,
    AccountState,
    AccountToken,
    Allocation,
    Counterpart,
    Entry,
    EntryKind,
    Event,
    EventType,
    Grant,
    GrantKind,
    JournalEntry,
    JournalKind,
    Operation,
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Posting,
    Purchase,
    PurchaseOrigin,
    PurchaseRefund,
    PurchaseRefundKind,
    PurchaseRefundState,
    PurchaseState,
    Reservation,
    ReservationState,
    SavedPaymentMethod,
    TrialClaim,
)
from broker_service.domain.references import References
from broker_service.domain.webhooks import Webhook, WebhookOwner
from broker_service.storage.ledger import LedgerLane

NOW = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=400, microseconds=999_999)
LARGEST = 2**63 - 1


def now() -> datetime:
    return NOW


def account(account_id: str = "acc", text: str = "", number: int = 0, time: datetime = NOW) -> Account:
    return Account(account_id, text, text, text, AccountState.ACTIVE, number, number, number, time, time, text, number)


def grant(account_id: str = "acc", grant_id: str = "grt", number: int = 1, time: datetime = NOW) -> Grant:
    return Grant(account_id, grant_id, GrantKind.PAID, 100, LARGEST, number, min(number, 1), None, None, time)


def reservation(
    account_id: str = "acc", reservation_id: str = "rsv", text: str = "", number: int = 1, time: datetime = NOW
) -> Reservation:
    return Reservation(
        account_id,
        reservation_id,
        text,
        text,
        ReservationState.ACTIVE,
        *(number, 0, 0, 0),
        (),
        "f" * 32,
        time,
        time,
        None,
        text,
        {},
    )


def purchase(purchase_id: str = "pur", text: str = "", number: int = 1, time: datetime = NOW) -> Purchase:
    return Purchase(
        *("acc", purchase_id, text[:500], text, text, text, number, None, "EUR", number, number),
        PurchaseState.PENDING,
        "f" * 32,
        time,
        None,
        PurchaseOrigin.CUSTOMER,
        *(text, text, text, text, time),
    )


def page(text: str = "", number: int = 1, time: datetime = NOW) -> Changes:
    """Returns the rows of one account: one of each kind with its fields empty, and one with all of them filled."""
    allocations = (Allocation("grt-1", number), Allocation(text, number, number, number))
    captured = Reservation(
        *("acc", "rsv-2", text, text, ReservationState.CAPTURED, number, number, 0, number, allocations, "f" * 32),
        *(time, time, time, text, {"": text, "key": "", 'quoted \\ "': text}),
    )
    promotional = Grant("acc", "grt-2", GrantKind.PROMOTIONAL, -(2**31), number, number, 0, time, "pur-2", time)
    spent = Grant("acc", "grt-3", GrantKind.TRIAL, 2**31 - 1, number, 0, 0, None, text, time)
    paid = Purchase(
        *("acc", "pur-2", text[:500], text, text, text, number, timedelta(microseconds=number), "JPY", number, 0),
        PurchaseState.PAID,
        "0" * 32,
        time,
        time,
        PurchaseOrigin.AUTO_TOP_UP,
        *(text, text, text, text, time, number, number, 0),
    )
    refund = PurchaseRefund(
        *("acc", "rfd-1", "pur-2", PurchaseRefundKind.REFUND, PurchaseRefundState.REQUESTED, number, "JPY", number, 0),
        *(text, "f" * 32, text, time, None),
    )
    chargeback = replace(
        refund,
        refund_id="rfd-2",
        kind=PurchaseRefundKind.CHARGEBACK,
        state=PurchaseRefundState.PAID,
        resolve_time=time,
    )
    silent_notice = PaymentNotice(
        *("acc", "ntc-1", "sandbox", text, PaymentNoticeKind.FAILED, "pur-2", None, None),
        *(PaymentNoticeOutcome.IGNORED, text, 1, time),
    )
    notice = replace(
        silent_notice, notice_id="ntc-2", currency="JPY", amount_minor_units=number, times_received=2**31 - 1
    )
    booked = (Posting(text[:500], "EUR", number), Posting(text[:500], "EUR", -number))
    return Changes(
        account=account(text=text, number=number, time=time),
        grants=(grant(grant_id="grt-1", number=number, time=time), promotional, spent),
        reservations=(reservation(reservation_id="rsv-1", text=text, number=number, time=time), captured),
        entries=(
            Entry("acc", 1, EntryKind.CAPTURE, -number, Counterpart.REDEEMED, number, time, "rsv-2", None, text),
            Entry("acc", LARGEST, EntryKind.PURCHASE, number, Counterpart.ISSUED, number, time, None, "pur-2", text),
        ),
        operations=(
            Operation("acc", "opr-1", text, "f" * 32, time),
            Operation("acc", "opr-2", "Capture", "0" * 32, time, number, number, number),
        ),
        purchases=(purchase("pur-1", text, number, time), paid),
        purchase_refunds=(refund, chargeback),
        payment_notices=(silent_notice, notice),
        payment_methods=(SavedPaymentMethod("acc", text[:500], text, "", time),),
        journal_entries=(
            JournalEntry("jnl-1", JournalKind.SALE, text[:500], "pur-2", None, time, (*booked,)),
            JournalEntry("jnl-2", JournalKind.PAYOUT, text[:500], None, "pay-1", time, ()),
        ),
        trial_claims=(TrialClaim("cus", text[:500], "acc", time),),
        account_tokens=(AccountToken("tok-1", "acc", time, None), AccountToken("tok-2", "acc", time, time)),
        webhooks=(
            Webhook("whk-1", WebhookOwner.ACCOUNT, "acc", text[:500], tuple(EventType), text[:500], "f" * 32, time),
            Webhook("whk-2", WebhookOwner.ACCOUNT, "acc", "", (), "", "", time),
        ),
        events=(
            Event(
                "evt-1",
                EventType.BALANCE_LOW,
                text[:500],
                text[:500],
                text,
                {"": text, "credits": number},
                time,
                number,
                1,
            ),
        ),
    )


def all_of(changes: Changes) -> References:
    """Returns what names every row of a page."""
    return References(
        accounts={"acc"},
        grants={it.grant_id for it in changes.grants},
        reservations={it.reservation_id for it in changes.reservations},
        operations={it.operation_id for it in changes.operations},
        purchases={it.purchase_id for it in changes.purchases},
        purchase_refunds={it.refund_id for it in changes.purchase_refunds},
        payment_notices={it.notice_id for it in changes.payment_notices},
        method_accounts={"acc"},
        token_accounts={"acc"},
        trial_claims={(it.customer_id, it.service) for it in changes.trial_claims},
        webhooks={it.webhook_id for it in changes.webhooks},
    )


def book_of(changes: Changes) -> Book:
    """Returns the book that holds the rows of a page."""
    return Book(
        "acc",
        changes.account,
        {it.grant_id: it for it in changes.grants},
        {it.reservation_id: it for it in changes.reservations},
        {it.operation_id: it for it in changes.operations},
        {it.purchase_id: it for it in changes.purchases},
        {it.refund_id: it for it in changes.purchase_refunds},
        {it.notice_id: it for it in changes.payment_notices},
        {it.method_id: it for it in changes.payment_methods},
        {it.token_hash: it for it in changes.account_tokens},
        {(it.customer_id, it.service): it for it in changes.trial_claims},
        {it.webhook_id: it for it in changes.webhooks},
    )


async def write(lane: LedgerLane, *changes: Changes, references: References | None = None) -> None:
    """Writes rows; those that `references` name are changed, the others are new."""
    await commit(lane, references or References(), lambda _: changes)


async def load(lane: LedgerLane, references: References) -> dict[str, Book]:
    loaded: dict[str, Book] = {}

    def look(books: dict[str, Book]) -> Iterable[Changes]:
        # It may be called again.
        loaded.clear()
        loaded.update(books)
        return ()

    await commit(lane, references, look)
    return loaded


async def commit(
    lane: LedgerLane, references: References, decide: Callable[[dict[str, Book]], Iterable[Changes]]
) -> None:
    def verdict(books: dict[str, Book], instant: datetime) -> Verdict:
        return Verdict((), tuple(decide(books)), instant)

    await lane.commit(references, now, verdict)
