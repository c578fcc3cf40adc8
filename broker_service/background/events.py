"""What becomes of events once they are written, put together."""

import asyncio
from dataclasses import dataclass

from broker_service.background.event_delivery import DeliveryLimits, EventDelivery
from broker_service.background.event_placing import EventPlacing
from broker_service.background.webhook_sender import WebhookSender
from broker_service.engine.clock import Clock
from broker_service.engine.event_watch import EventWatch
from broker_service.engine.webhook_addresses import WebhookAddresses
from broker_service.storage.database import Database


@dataclass(frozen=True, slots=True)
class EventParts:
    """Events are placed, watched and delivered."""

    placing: EventPlacing
    watch: EventWatch
    delivery: EventDelivery

    def start(self) -> None:
        """Starts all of them."""
        self.watch.start()
        self.placing.start()
        self.delivery.start()

    async def close(self) -> None:
        """Places what has been committed and ends deliveries; call it when nothing commits any more."""
        await self.placing.stop()
        await self.delivery.stop()
        await self.watch.close()


def event_parts(
    database: Database, addresses: WebhookAddresses, clock: Clock, *, closing: asyncio.Event, poll_seconds: float
) -> EventParts:
    """Puts them together; `closing` ends those who watch."""
    limits = DeliveryLimits()
    watch = EventWatch(database, closing=closing, poll_seconds=poll_seconds)
    sender = WebhookSender(addresses, clock, connections=limits.in_all)
    delivery = EventDelivery(database, sender, clock, poll_seconds=poll_seconds, limits=limits)

    def tell() -> None:
        watch.placed()
        delivery.wake()

    placing = EventPlacing(database, clock, poll_seconds=poll_seconds, on_placed=tell)
    return EventParts(placing, watch, delivery)
