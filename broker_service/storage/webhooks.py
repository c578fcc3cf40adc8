"""Webhooks: few rows, looked up whenever events are placed."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select

from broker_service.domain.errors import InvalidField, RequestIdReused, WebhookNotFound
from broker_service.domain.records import Event
from broker_service.domain.webhooks import MAX_WEBHOOKS, Webhook, WebhookHealth, WebhookOwner
from broker_service.storage import tables
from broker_service.storage.events_turn import take_turn
from broker_service.storage.ledger_rows import WEBHOOKS

_PENDING: Final = "PENDING"
_FAILED: Final = "FAILED"


def webhook_made_before(connection: Connection, wanted: Webhook, request_id: str) -> Webhook | None:
    """Returns the webhook that this request has made before, if it has. Raises RequestIdReused."""
    row = connection.execute(
        select(tables.webhooks).where(tables.webhooks.c.webhook_id == wanted.webhook_id)
    ).one_or_none()
    if row is None:
        return None
    found = WEBHOOKS.record_of_core(row)
    if found.fingerprint != wanted.fingerprint:
        raise RequestIdReused(request_id=request_id, rpc="CreateWebhook")
    return found


def add_webhook(connection: Connection, wanted: Webhook, request_id: str) -> tuple[Webhook, bool]:
    """Adds a webhook, or finds the one this request added before; returns it and whether another try did.

    Raises RequestIdReused, or InvalidField if its owner has as many as there may be.
    """
    # So that no events are placed meanwhile, and that two requests at once do not both find room.
    take_turn(connection)
    found = webhook_made_before(connection, wanted, request_id)
    if found is not None:
        # With the same secret it is the very same try, run again after an unclear commit.
        return found, found.signing_secret != wanted.signing_secret
    owned = select(func.count()).where(_is_owned_by(wanted.owner_role, wanted.owner_id))
    if connection.execute(owned).scalar_one() >= MAX_WEBHOOKS:
        raise InvalidField(
            field="url", description=f"is one too many: {MAX_WEBHOOKS} webhooks are the most; delete another first"
        )
    row = dict(zip(WEBHOOKS.columns, WEBHOOKS.row_of(wanted), strict=True)) | {"create_time": wanted.create_time}
    connection.execute(insert(tables.webhooks), row)
    return wanted, False


def webhooks_after(
    connection: Connection, owner_role: WebhookOwner, owner_id: str, after_id: str, limit: int
) -> list[tuple[Webhook, WebhookHealth]]:
    """Returns an owner's webhooks behind an id, by their ids, and how each is doing."""
    webhooks = tables.webhooks
    statement = (
        select(webhooks)
        .where(_is_owned_by(owner_role, owner_id), webhooks.c.webhook_id > after_id)
        .order_by(webhooks.c.webhook_id)
        .limit(limit)
    )
    found = [WEBHOOKS.record_of_core(row) for row in connection.execute(statement)]
    return [(webhook, health_of(connection, webhook.webhook_id)) for webhook in found]


def delete_webhook(connection: Connection, owner_role: WebhookOwner, owner_id: str, webhook_id: str) -> None:
    """Removes a webhook and its deliveries. Raises WebhookNotFound, also for another's."""
    # Else events that are being placed could leave deliveries to nobody.
    take_turn(connection)
    webhooks, deliveries = tables.webhooks, tables.deliveries
    gone = delete(webhooks).where(webhooks.c.webhook_id == webhook_id, _is_owned_by(owner_role, owner_id))
    if not connection.execute(gone).rowcount:
        raise WebhookNotFound(webhook_id=webhook_id)
    connection.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))


def webhooks_for(connection: Connection, events: Iterable[Event]) -> list[Webhook]:
    """Returns the webhooks of all whom any of these events concerns."""
    webhooks = tables.webhooks
    concerned = {
        WebhookOwner.PROVIDER: {event.provider_id for event in events},
        WebhookOwner.CUSTOMER: {event.customer_id for event in events},
        WebhookOwner.ACCOUNT: {event.account_id for event in events},
    }
    of_parties = [
        and_(webhooks.c.owner_role == role.value, webhooks.c.owner_id.in_(owner_ids - {""}))
        for role, owner_ids in concerned.items()
    ]
    statement = select(webhooks).where(or_(webhooks.c.owner_role == WebhookOwner.OPERATOR.value, *of_parties))
    return [WEBHOOKS.record_of_core(row) for row in connection.execute(statement)]


def health_of(connection: Connection, webhook_id: str) -> WebhookHealth:
    """Returns how a webhook is doing."""
    deliveries = tables.deliveries
    counted = select(deliveries.c.state, func.count().label("deliveries")).where(deliveries.c.webhook_id == webhook_id)
    counts = {row.state: row.deliveries for row in connection.execute(counted.group_by(deliveries.c.state))}
    if not counts:
        return WebhookHealth()
    last_failed = (
        select(deliveries.c.last_error)
        .where(deliveries.c.webhook_id == webhook_id, deliveries.c.last_error != "")
        .order_by(deliveries.c.next_attempt_time.desc(), deliveries.c.position.desc())
        .limit(1)
    )
    last_error = connection.execute(last_failed).scalar_one_or_none() or ""
    return WebhookHealth(counts.get(_PENDING, 0), counts.get(_FAILED, 0), last_error)


def _is_owned_by(owner_role: WebhookOwner, owner_id: str) -> ColumnElement[bool]:
    return and_(tables.webhooks.c.owner_role == owner_role.value, tables.webhooks.c.owner_id == owner_id)
