"""What others are told of: one event for each thing that happened, its id derived from its cause."""

from broker_service.domain.identities import event_id_for
from broker_service.domain.records import Event, EventType, Payout


def payout_created(payout: Payout) -> Event:
    """Tells a provider that its money is under way."""
    return Event(
        event_id=event_id_for(EventType.PAYOUT_CREATED, payout.payout_id),
        type=EventType.PAYOUT_CREATED,
        provider_id=payout.provider_id,
        customer_id="",
        account_id="",
        data={
            "payout_id": payout.payout_id,
            "currency": payout.currency,
            "amount_minor_units": payout.amount_minor_units,
        },
        time=payout.create_time,
    )
