"""What stands in the books after an example, and what must stand there for the model to be right."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, or_, select

from broker_service.storage import tables
from tests.ledger_model.figures import Figures, figures_of
from tests.money_model import requests as ask
from tests.money_model.naive_sales import movements
from tests.money_model.naive_shop import NaiveShop

_CAUSES = ("reservation_id", "refund_id", "payout_id", "purchase_id")
_AMOUNTS = ("credits", "amount_minor_units", "price_minor_units", "commission_minor_units")


def stored_books(connection: Connection, account_ids: Collection[str], provider_ids: Collection[str]) -> Figures:
    """Returns the rows of some accounts and providers, read by nobody's rules but what tables there are."""
    return {
        "journal": _journal(connection, provider_ids),
        "entries": _entries(connection, account_ids),
        "events": _events(connection, account_ids, provider_ids),
        "notices": _notices(connection, account_ids),
        "refunds": {
            row.refund_id: figures_of(row, (*ask.RETURN, "purchase_id", "currency"))
            for row in _rows(connection, tables.purchase_refunds, "account_id", account_ids)
        },
        "payouts": {
            row.payout_id: figures_of(row, ask.PAYOUT)
            for row in _rows(connection, tables.payouts, "provider_id", provider_ids)
        },
    }


def expected_books(model: NaiveShop) -> Figures:
    """Returns the same of the model, whose accounts are settled."""
    return {
        "journal": Counter(
            (kind, key, provider_id, currency, *sorted(postings.items()))
            for kind, key, provider_id, currency, postings in movements(model.sales, model.payouts)
        ),
        "entries": Counter({key: amount for key, amount in _expected_entries(model).items() if amount}),
        "events": Counter(_expected_events(model)),
        "notices": Counter(
            (event_id, kind.value, purchase_id, outcome)
            for (_, event_id, kind, purchase_id, _, is_unknown), (outcome, _) in model.heard.items()
            if not is_unknown
        ),
        "refunds": {
            refund_id: figures_of(back, ask.RETURN)
            | {"purchase_id": back.sale.purchase_id, "currency": back.sale.currency}
            for refund_id, back in model.returns.items()
        },
        "payouts": {payout_id: figures_of(payout, ask.PAYOUT) for payout_id, payout in model.payouts.items()},
    }


def times_heard(connection: Connection, prefix: str) -> Figures:
    """Returns how often each notice came whose event has an id that begins so, and what came of it."""
    it = tables.payment_notices.c
    statement = select(it.gateway, it.gateway_event_id, it.kind, it.purchase_id, it.outcome, it.times_received)
    heard: Counter[Any] = Counter()
    for *notice, times in connection.execute(statement.where(it.gateway_event_id.startswith(prefix))):
        heard[tuple(notice)] += times
    return {"heard": heard}


def expected_times_heard(model: NaiveShop, prefix: str) -> Figures:
    heard: Counter[Any] = Counter()
    for (gateway, event_id, kind, purchase_id, _, _), (outcome, times) in model.heard.items():
        if event_id.startswith(prefix):
            heard[gateway, event_id, kind.value, purchase_id, outcome] += times
    return {"heard": heard}


def statement_figures(model: NaiveShop, provider_id: str) -> Counter[Any]:
    """Returns the lines of a provider's statement: kind, what it is of, and its gross, commission and net."""
    lines: Counter[Any] = Counter()
    for kind, key, whose, currency, postings in movements(model.sales, model.payouts):
        payable = f"provider_payable:{provider_id}"
        if whose == provider_id and payable in postings:
            net, commission = -postings[payable], -postings.get("commission", 0)
            gross = 0 if kind.startswith("PAYOUT") else net + commission
            lines[kind, key, currency, gross, commission, net] += 1
    return lines


def balance_figures(model: NaiveShop, provider_id: str) -> Figures:
    """Returns what a provider is owed, has sold and has paid of it to the broker, by currency."""
    owed = model.money()
    figures: Figures = {}
    for sale in model.sales.values():
        if sale.provider_id == provider_id and sale.pay_time is not None:
            line = figures.setdefault(sale.currency, {"payable": 0, "sales": 0, "commission": 0})
            line["payable"] = -owed[f"provider_payable:{provider_id}", sale.currency]
            line["sales"] += sale.left
            line["commission"] += sale.commission_minor_units - sale.refunded_commission_minor_units
    return figures


def due_figures(model: NaiveShop) -> Figures:
    """Returns what could be paid out now, by provider and currency."""
    suspended = {seller.provider_id for seller in model.sellers.values() if seller.suspended}
    return {
        f"{account.partition(':')[2]} {currency}": -amount
        for (account, currency), amount in model.money().items()
        if account.startswith("provider_payable:")
        and account.partition(":")[2] not in suspended
        and -amount >= ask.PAYOUT_MINIMUMS.get(currency, 1)
    }


def sales_figures(model: NaiveShop, provider_id: str) -> list[tuple[datetime, str]]:
    """Returns when a provider's purchases were paid, oldest first."""
    paid = [(it.pay_time, it.purchase_id) for it in model.sales.values() if it.provider_id == provider_id]
    return sorted((pay_time, purchase_id) for pay_time, purchase_id in paid if pay_time is not None)


def _rows(connection: Connection, table: Table, column: str, values: Collection[str]) -> list[Any]:
    return list(connection.execute(select(table).where(table.c[column].in_(values))))


def _journal(connection: Connection, provider_ids: Collection[str]) -> Counter[Any]:
    entries, postings = tables.journal_entries, tables.journal_postings
    statement = (
        select(entries, postings.c.money_account, postings.c.currency, postings.c.amount_minor_units)
        .join_from(entries, postings, entries.c.journal_entry_id == postings.c.journal_entry_id)
        .where(entries.c.provider_id.in_(provider_ids))
    )
    of_entry: dict[Any, list[Any]] = {}
    for row in connection.execute(statement):
        key = (row.journal_entry_id, row.kind, row.purchase_id or row.payout_id, row.provider_id, row.currency)
        of_entry.setdefault(key, []).append((row.money_account, row.amount_minor_units))
    for key, lines in of_entry.items():
        assert sum(amount for _, amount in lines) == 0, f"{key} does not sum to zero: {lines}"
    return Counter((*key[1:], *sorted(lines)) for key, lines in of_entry.items())


def _entries(connection: Connection, account_ids: Collection[str]) -> Counter[Any]:
    """Returns the credits that entries have moved, by account, kind and cause; gapless ones, each after the other."""
    sums: Counter[Any] = Counter()
    balances: dict[str, tuple[int, int]] = {}
    rows = _rows(connection, tables.entries, "account_id", account_ids)
    for row in sorted(rows, key=lambda row: (row.account_id, row.sequence)):
        # What goes for ever is of a grant, or of a reservation that has given it back too late.
        cause = {"EXPIRY": None, "PURCHASE_REFUND": row.purchase_id}.get(
            row.kind, row.reservation_id or row.purchase_id
        )
        sums[row.account_id, row.kind, cause] += row.credits
        sequence, ledger_credits = balances.get(row.account_id, (0, 0))
        balances[row.account_id] = sequence + 1, ledger_credits + row.credits
        assert (row.sequence, row.ledger_credits_after) == balances[row.account_id], f"{row} does not follow"
    return sums


def _expected_entries(model: NaiveShop) -> Counter[Any]:
    """Credits come from paid purchases and recorded grants, and from nowhere else."""
    sums: Counter[Any] = Counter()
    sale_of_grant = {sale.grant.grant_id: sale for sale in model.sales.values() if sale.pay_time is not None}
    for account_id, account in model.accounts.items():
        for grant in account.grants.values():
            sale = sale_of_grant.get(grant.grant_id)
            cause, refunded = (sale.purchase_id, sale.refunded_credits + sale.taken_back) if sale else (None, 0)
            sums[account_id, "PURCHASE" if sale else str(grant.kind), cause] += grant.credits
            sums[account_id, "PURCHASE_REFUND", cause] -= refunded
            sums[account_id, "EXPIRY", None] -= grant.gone_credits - refunded
        for reservation_id, row in account.reservations.items():
            sums[account_id, "CAPTURE", reservation_id] -= row.captured_credits
            sums[account_id, "REFUND", reservation_id] += row.refunded_credits
    return sums


def _notices(connection: Connection, account_ids: Collection[str]) -> Counter[Any]:
    """Returns what came of each notice of a purchase that is there."""
    rows = _rows(connection, tables.payment_notices, "account_id", account_ids)
    return Counter((row.gateway_event_id, row.kind, row.purchase_id, row.outcome) for row in rows)


def _events(connection: Connection, account_ids: Collection[str], provider_ids: Collection[str]) -> Counter[Any]:
    it = tables.events.c
    # A payout has no account.
    of_these = or_(it.account_id.in_(account_ids), it.provider_id.in_(provider_ids))
    return Counter((row.type, *_told(row)) for row in connection.execute(select(tables.events).where(of_these)))


def _told(row: Any) -> Iterator[Any]:
    """Yields what an event is of, and the amounts it tells."""
    data = json.loads(row.data)
    yield next((data[key] for key in _CAUSES if key in data), row.account_id)
    yield from (data.get(key) for key in _AMOUNTS)


def _expected_events(model: NaiveShop) -> Iterator[tuple[Any, ...]]:
    for sale in model.sales.values():
        price, cut = sale.price_minor_units, sale.commission_minor_units
        if sale.pay_time is not None:
            yield "purchase.paid", sale.purchase_id, sale.credits, None, price, cut
        for back in sale.returns:
            amounts = (back.credits, back.amount_minor_units, None, back.commission_minor_units)
            yield "purchase.refunded", back.refund_id, *amounts
    for payout_id, payout in model.payouts.items():
        yield "payout.created", payout_id, None, payout.amount_minor_units, None, None
    for account_id, times in model.suspensions.items():
        yield from [("account.suspended", account_id, None, None, None, None)] * times
    for account in model.accounts.values():
        for reservation_id, row in account.reservations.items():
            if row.state == "EXPIRED":
                yield "reservation.expired", reservation_id, None, None, None, None
