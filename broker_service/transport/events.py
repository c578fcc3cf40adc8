"""EventService: what has happened, for those it concerns."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from iap.broker.v1 import event_pb2, event_pb2_grpc

from broker_service.domain.directory import Role
from broker_service.domain.events import exact_data
from broker_service.domain.webhooks import Audience, Webhook, WebhookHealth, event_types
from broker_service.engine.event_watch import EventWatch
from broker_service.engine.webhooks import Webhooks
from broker_service.storage.database import Database
from broker_service.storage.events import EventSelection, PlacedEvent, events_after
from broker_service.transport.endpoint import Admit, Caller, Gate, rpc, stream_rpc
from broker_service.transport.errors import stopping
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.times import to_timestamp

_ANY_KEY = (Role.PROVIDER, Role.CUSTOMER, Role.OPERATOR)


class EventServicer(event_pb2_grpc.EventServiceServicer):
    """Lists and streams events, and keeps webhooks."""

    def __init__(self, gate: Gate, database: Database, watch: EventWatch, webhooks: Webhooks) -> None:
        self.gate = gate
        self._database = database
        self._watch = watch
        self._webhooks = webhooks

    @rpc(*_ANY_KEY)
    async def ListEvents(self, request: event_pb2.ListEventsRequest, caller: Caller) -> event_pb2.ListEventsResponse:
        """See the contract."""
        audience, types = audience_of(caller), event_types(request.types)
        scope = ("ListEvents", audience.role.value, audience.owner_id, request.after_position, ",".join(types))
        cursor = cursor_of(request.page_token, (int,), *scope)
        limit = page_size(request.page_size)
        after_position = request.after_position if cursor is None else cursor[0]
        selection = EventSelection(audience, after_position, types, limit + 1)
        found = await self._database.read(partial(events_after, selection=selection))
        shown = found[:limit]
        return event_pb2.ListEventsResponse(
            events=[render_event(placed) for placed in shown],
            next_page_token=page_token([shown[-1].position], *scope) if len(found) > limit else "",
        )

    @stream_rpc(*_ANY_KEY)
    async def WatchEvents(
        self, request: event_pb2.WatchEventsRequest, admit: Admit
    ) -> AsyncGenerator[event_pb2.WatchEventsResponse, None]:
        """See the contract."""
        audience, types = audience_of(await admit()), event_types(request.types)
        after_position = request.after_position if request.HasField("after_position") else None
        async with aclosing(self._watch.readings(audience, types, after_position)) as readings:
            async for page in readings:
                # A key that has stopped meanwhile shows nothing more.
                await admit()
                for placed in page:
                    yield event_pb2.WatchEventsResponse(event=render_event(placed))
                    await admit()
        raise stopping()

    @rpc(*_ANY_KEY)
    async def CreateWebhook(
        self, request: event_pb2.CreateWebhookRequest, caller: Caller
    ) -> event_pb2.CreateWebhookResponse:
        """See the contract."""
        webhook, health, replayed = await self._webhooks.create(
            audience_of(caller),
            request_id=request.request_id.lower(),
            url=request.url,
            types=event_types(request.types),
        )
        return event_pb2.CreateWebhookResponse(
            webhook=render_webhook(webhook, health), signing_secret=webhook.signing_secret, replayed=replayed
        )

    @rpc(*_ANY_KEY)
    async def ListWebhooks(
        self, request: event_pb2.ListWebhooksRequest, caller: Caller
    ) -> event_pb2.ListWebhooksResponse:
        """See the contract."""
        audience = audience_of(caller)
        scope = ("ListWebhooks", audience.role.value, audience.owner_id)
        cursor = cursor_of(request.page_token, (str,), *scope)
        limit = page_size(request.page_size)
        found = await self._webhooks.webhooks_after(audience, "" if cursor is None else cursor[0], limit + 1)
        shown = found[:limit]
        return event_pb2.ListWebhooksResponse(
            webhooks=[render_webhook(webhook, health) for webhook, health in shown],
            next_page_token=page_token([shown[-1][0].webhook_id], *scope) if len(found) > limit else "",
        )

    @rpc(*_ANY_KEY)
    async def DeleteWebhook(
        self, request: event_pb2.DeleteWebhookRequest, caller: Caller
    ) -> event_pb2.DeleteWebhookResponse:
        """See the contract."""
        await self._webhooks.delete(audience_of(caller), request.webhook_id)
        return event_pb2.DeleteWebhookResponse()


def audience_of(caller: Caller) -> Audience:
    """Returns whose events a caller may hear of; some key has come with the call."""
    return Audience(caller.role or Role.CUSTOMER, caller.owner_id)


def render_event(placed: PlacedEvent) -> event_pb2.Event:
    """Renders an event that has a place."""
    event = placed.event
    return event_pb2.Event(
        event_id=event.event_id,
        position=placed.position,
        type=event.type.value,
        time=to_timestamp(event.time),
        provider_id=event.provider_id,
        customer_id=event.customer_id,
        account_id=event.account_id,
        data=ParseDict(exact_data(event), Struct()),
    )


def render_webhook(webhook: Webhook, health: WebhookHealth) -> event_pb2.Webhook:
    """Renders a webhook; its secret is for its maker only."""
    return event_pb2.Webhook(
        webhook_id=webhook.webhook_id,
        url=webhook.url,
        types=[event_type.value for event_type in webhook.types],
        create_time=to_timestamp(webhook.create_time),
        pending_events=health.pending_events,
        failed_events=health.failed_events,
        last_error=health.last_error,
    )
