"""What is still to be sent to webhooks.

A webhook's events for one account are a line, and only its head is ever due: those behind it wait, at NEVER, until the
head has gone. So what is due is exactly what could be sent now, however much waits. A claim puts the head's next
attempt off for as long as a try may take; whoever claims and dies has thereby given it back.

All that changes deliveries takes the turn (events_turn.py).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from broker_service.domain.records import Event
from broker_service.storage import tables
from broker_service.storage.events_turn import take_turn
from broker_service.storage.ledger_rows import EVENTS

# When those who wait behind another would be tried.
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_LOOKED_AT: Final = 500
_LINES_AT_ONCE: Final = 200

_PENDING: Final = "PENDING"
_FAILED: Final = "FAILED"


class Claim(Struct, frozen=True):
    """A delivery that nobody else tries until its lease is over. `attempts` counts this one."""

    webhook_id: str
    url: str
    signing_secret: str
    position: int
    event: Event
    attempts: int
    create_time: datetime


class Outcome(Struct, frozen=True):
    """What came of a claim: delivered, or to be tried again at an instant, or given up (None).

    Without an error it was not tried to the end, and does not count.
    """

    claim: Claim
    delivered: bool
    next_attempt_time: datetime | None = None
    error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the next in its line can go on."""
        return self.delivered or self.next_attempt_time is None


def add_deliveries(connection: Connection, added: Sequence[tuple[str, int, Event]], now: datetime) -> None:
    """Adds events by webhook and place, in the order of their places; the caller has the turn."""
    if not added:
        return
    waiting = _lines_with_pending(connection, {(webhook_id, event.account_id) for webhook_id, _, event in added})
    rows: list[dict[str, Any]] = []
    for webhook_id, position, event in added:
        line = (webhook_id, event.account_id)
        rows.append(
            {
                "webhook_id": webhook_id,
                "position": position,
                "event_id": event.event_id,
                "account_id": event.account_id,
                "state": _PENDING,
                "attempts": 0,
                "next_attempt_time": NEVER if line in waiting else now,
                "last_error": "",
                "create_time": now,
            }
        )
        waiting.add(line)
    connection.execute(insert(tables.deliveries), rows)


def has_due(connection: Connection, now: datetime) -> bool:
    """Tells whether anything could be sent now."""
    return connection.execute(_ANY_DUE, {"now": now}).scalar_one()


def claim_due(
    connection: Connection, now: datetime, lease: timedelta, *, limit: int, limit_each: int, busy: Mapping[str, int]
) -> list[Claim]:
    """Claims what has been due for longest, up to limits in all and for each webhook, which is `busy` with some.

    Takes the turn. What is due at a webhook that has ended is removed.
    """
    take_turn(connection)
    taken = dict(busy)
    claims: list[Claim] = []
    while len(claims) < limit:
        full = [webhook_id for webhook_id, count in taken.items() if count >= limit_each]
        found = connection.execute(_DUE, {"now": now, "full": full}).all()
        chosen: dict[str, list[int]] = {}
        for row in found:
            if sum(taken.values()) - sum(busy.values()) < limit and taken.get(row.webhook_id, 0) < limit_each:
                taken[row.webhook_id] = taken.get(row.webhook_id, 0) + 1
                chosen.setdefault(row.webhook_id, []).append(row.position)
        claims += _claim(connection, chosen, now + lease)
        if len(found) < _LOOKED_AT or not chosen:
            break
    return claims


def record_outcomes(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Writes down what came of claims, and lets the next in each line go on. Takes the turn; may be run again.

    A claim that was another's before its outcome came is left to that one, unless it was delivered.
    """
    take_turn(connection)
    delivered = [it.claim for it in outcomes if it.delivered]
    if delivered:
        connection.execute(_REMOVE, [{"webhook": it.webhook_id, "place": it.position} for it in delivered])
        connection.execute(_CLEAR_ERRORS, [{"webhook": name} for name in sorted({it.webhook_id for it in delivered})])
    put_off = [_put_off(it, now) for it in outcomes if not it.delivered]
    if put_off:
        connection.execute(_PUT_OFF, put_off)
    over = {(it.claim.webhook_id, it.claim.event.account_id) for it in outcomes if it.is_over}
    if over:
        going_on = [{"webhook": webhook_id, "account": account_id, "now": now} for webhook_id, account_id in over]
        connection.execute(_LET_NEXT_GO_ON, sorted(going_on, key=lambda it: (it["webhook"], it["account"])))


def _put_off(outcome: Outcome, now: datetime) -> dict[str, Any]:
    claim = outcome.claim
    return {
        "webhook": claim.webhook_id,
        "place": claim.position,
        "tried": claim.attempts,
        "counted": claim.attempts if outcome.error else claim.attempts - 1,
        "new_state": _FAILED if outcome.next_attempt_time is None else _PENDING,
        "next_time": outcome.next_attempt_time or now,
        "error": outcome.error,
    }


def remove_given_up(connection: Connection, before: datetime) -> int:
    """Removes what was given up and is older than an instant; returns how many that were."""
    take_turn(connection)
    deliveries = tables.deliveries
    gone = delete(deliveries).where(deliveries.c.state == _FAILED, deliveries.c.create_time < before)
    return connection.execute(gone).rowcount


def _claim(connection: Connection, chosen: Mapping[str, list[int]], lease_end: datetime) -> list[Claim]:
    """Claims deliveries by the places of each webhook."""
    if not chosen:
        return []
    deliveries = tables.deliveries
    named_by_webhook = (
        and_(deliveries.c.webhook_id == webhook_id, deliveries.c.position.in_(positions))
        for webhook_id, positions in chosen.items()
    )
    rows: Sequence[Any] = connection.execute(_WHOLE.where(or_(*named_by_webhook)).order_by(deliveries.c.position)).all()
    ended = {row.webhook_id for row in rows if not row.url}
    if ended:
        connection.execute(delete(deliveries).where(deliveries.c.webhook_id.in_(ended)))
    claims = [
        Claim(
            row.webhook_id,
            row.url,
            row.signing_secret,
            row.position,
            EVENTS.record_of_core(row),
            row.attempts + 1,
            row.delivery_create_time,
        )
        for row in rows
        if row.url
    ]
    if claims:
        leases = [{"webhook": it.webhook_id, "place": it.position, "lease_end": lease_end} for it in claims]
        connection.execute(_LEASE, leases)
    return claims


def _lines_with_pending(connection: Connection, lines: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Returns those lines, by webhook and account, that somebody waits in."""
    deliveries = tables.deliveries
    found: set[tuple[str, str]] = set()
    ordered = sorted(lines)
    for start in range(0, len(ordered), _LINES_AT_ONCE):
        some = ordered[start : start + _LINES_AT_ONCE]
        statement = (
            select(deliveries.c.webhook_id, deliveries.c.account_id)
            .distinct()
            .where(
                deliveries.c.state == _literal(_PENDING),
                deliveries.c.webhook_id.in_({webhook_id for webhook_id, _ in some}),
                deliveries.c.account_id.in_({account_id for _, account_id in some}),
            )
        )
        found.update((row.webhook_id, row.account_id) for row in connection.execute(statement))
    return found & lines


def _literal(text: str) -> Any:
    """A literal, for a partial index serves a statement only if the plan can see that it does."""
    return literal_column(f"'{text}'")


def _is_named() -> ColumnElement[bool]:
    return and_(
        tables.deliveries.c.webhook_id == bindparam("webhook"), tables.deliveries.c.position == bindparam("place")
    )


_IS_PENDING: Final = tables.deliveries.c.state == _literal(_PENDING)
_IS_DUE: Final = and_(_IS_PENDING, tables.deliveries.c.next_attempt_time <= bindparam("now"))
_ANY_DUE: Final = select(exists().where(_IS_DUE))
_DUE: Final = (
    select(tables.deliveries.c.webhook_id, tables.deliveries.c.position)
    .where(_IS_DUE, tables.deliveries.c.webhook_id.not_in(bindparam("full", expanding=True)))
    .order_by(tables.deliveries.c.next_attempt_time, tables.deliveries.c.webhook_id)
    .limit(_LOOKED_AT)
)
_WHOLE: Final = (
    select(
        *(tables.events.c[name] for name in EVENTS.fields),
        tables.deliveries.c.webhook_id,
        tables.deliveries.c.position,
        tables.deliveries.c.attempts,
        tables.deliveries.c.create_time.label("delivery_create_time"),
        tables.webhooks.c.url,
        tables.webhooks.c.signing_secret,
    )
    .join_from(tables.deliveries, tables.webhooks, tables.webhooks.c.webhook_id == tables.deliveries.c.webhook_id)
    .join(tables.events, tables.events.c.event_id == tables.deliveries.c.event_id)
)
_LEASE: Final = (
    update(tables.deliveries)
    .where(_is_named())
    .values(next_attempt_time=bindparam("lease_end"), attempts=tables.deliveries.c.attempts + 1)
)
_REMOVE: Final = delete(tables.deliveries).where(_is_named())
_CLEAR_ERRORS: Final = (
    update(tables.deliveries)
    .where(tables.deliveries.c.webhook_id == bindparam("webhook"), tables.deliveries.c.last_error != "")
    .values(last_error="")
)
_PUT_OFF: Final = (
    update(tables.deliveries)
    .where(_is_named(), _IS_PENDING, tables.deliveries.c.attempts == bindparam("tried"))
    .values(
        state=bindparam("new_state"),
        attempts=bindparam("counted"),
        next_attempt_time=bindparam("next_time"),
        last_error=func.coalesce(func.nullif(bindparam("error", type_=Text), ""), tables.deliveries.c.last_error),
    )
)
_OTHERS: Final = tables.deliveries.alias("others")
_LET_NEXT_GO_ON: Final = (
    update(tables.deliveries)
    .where(
        tables.deliveries.c.webhook_id == bindparam("webhook"),
        tables.deliveries.c.position
        == select(func.min(_OTHERS.c.position))
        .where(
            _OTHERS.c.state == _literal(_PENDING),
            _OTHERS.c.webhook_id == bindparam("webhook"),
            _OTHERS.c.account_id == bindparam("account"),
        )
        .scalar_subquery(),
        tables.deliveries.c.next_attempt_time == NEVER,
    )
    .values(next_attempt_time=bindparam("now"))
)
