"""Payouts: what a provider is owed is sent on its way, and arrives or comes back.

The payout's row is the record of its requests: its id follows from the request that made it, and it remembers the
request that resolved it. So replays are answered first, and need nothing else.
"""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.directory import Provider, ProviderState
from broker_service.domain.errors import (
    PayoutBelowMinimum,
    PayoutNotFound,
    PayoutResolved,
    ProviderSuspended,
    RequestIdReused,
)
from broker_service.domain.events import payout_created
from broker_service.domain.fingerprints import fingerprint
from broker_service.domain.identities import payout_id_for, resolution_id_for
from broker_service.domain.journal import GATEWAY_CLEARING, payable_to
from broker_service.domain.records import Event, JournalEntry, JournalKind, Payout, PayoutState, Posting

PAYOUTS_IN_TRANSIT = "payouts_in_transit"

_RESOLVED_BY = {PayoutState.PAID: "MarkPayoutPaid", PayoutState.FAILED: "MarkPayoutFailed"}


class CreatePayout(Struct, frozen=True):
    """Pays out all that is payable to a provider in one currency, if it is at least the minimum (minor units)."""

    request_id: str
    provider_id: str
    currency: str
    minimum_minor_units: int = 1

    @property
    def payout_id(self) -> str:
        """The payout it makes."""
        return payout_id_for(self.provider_id, self.request_id)

    @property
    def fingerprint(self) -> str:
        """Its parameters; the minimum is the broker's, so it may change between retries."""
        return fingerprint(self.currency)


class ResolvePayout(Struct, frozen=True):
    """Marks a payout PAID or FAILED; `reference` is the bank's, or why it failed."""

    request_id: str
    payout_id: str
    state: PayoutState
    reference: str

    @property
    def rpc(self) -> str:
        """What it came by."""
        return _RESOLVED_BY[self.state]

    @property
    def resolution_id(self) -> str:
        """What the payout remembers it by."""
        return resolution_id_for(self.payout_id, self.rpc, self.request_id)

    @property
    def fingerprint(self) -> str:
        """Its parameters."""
        return fingerprint(self.reference)


class PayoutChanges(Struct, frozen=True):
    """What is to be written, together or not at all."""

    payout: Payout
    journal_entries: tuple[JournalEntry, ...]
    events: tuple[Event, ...] = ()


class PayoutResult(Struct, frozen=True):
    """A payout as it stands after the command."""

    payout: Payout
    replayed: bool = False


def decide_create_payout(
    provider: Provider, payable_minor_units: int, first: Payout | None, command: CreatePayout, now: datetime
) -> tuple[PayoutChanges | None, PayoutResult]:
    """Makes a payout of all that is payable now. `first` is what the request made before; then nothing changes.

    Raises RequestIdReused, ProviderSuspended, PayoutBelowMinimum.
    """
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="CreatePayout")
        return None, PayoutResult(first, replayed=True)
    if provider.state is ProviderState.SUSPENDED:
        raise ProviderSuspended(provider_id=provider.provider_id)
    # Whatever the minimum: a payout pays something.
    minimum = max(1, command.minimum_minor_units)
    if payable_minor_units < minimum:
        raise PayoutBelowMinimum(
            provider_id=provider.provider_id, currency=command.currency, payable=payable_minor_units, minimum=minimum
        )
    # Nothing can be refused from here on.
    payout = Payout(
        payout_id=command.payout_id,
        provider_id=provider.provider_id,
        currency=command.currency,
        amount_minor_units=payable_minor_units,
        state=PayoutState.IN_TRANSIT,
        reference="",
        fingerprint=command.fingerprint,
        resolution_id=None,
        resolution_fingerprint=None,
        create_time=now,
        resolve_time=None,
    )
    return PayoutChanges(payout, (_creation_of(payout),), (payout_created(payout),)), PayoutResult(payout)


def decide_resolve_payout(
    payout: Payout | None, command: ResolvePayout, now: datetime
) -> tuple[PayoutChanges | None, PayoutResult]:
    """Ends a payout: its money has arrived, or is payable again.

    Raises PayoutNotFound, RequestIdReused, PayoutResolved.
    """
    if payout is None:
        raise PayoutNotFound(payout_id=command.payout_id)
    if payout.resolution_id == command.resolution_id:
        if payout.resolution_fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc=command.rpc)
        return None, PayoutResult(payout, replayed=True)
    if payout.state is not PayoutState.IN_TRANSIT:
        raise PayoutResolved(payout_id=payout.payout_id, state=payout.state)
    # Nothing can be refused from here on.
    resolved = replace(
        payout,
        state=command.state,
        reference=command.reference,
        resolution_id=command.resolution_id,
        resolution_fingerprint=command.fingerprint,
        resolve_time=max(now, payout.create_time),
    )
    return PayoutChanges(resolved, _resolution_of(resolved)), PayoutResult(resolved)


def movements_of(payout: Payout) -> tuple[JournalEntry, ...]:
    """Returns all movements of money that a payout in its state has made."""
    return _creation_of(payout), *_resolution_of(payout)


def _creation_of(payout: Payout) -> JournalEntry:
    return _movement(
        payout,
        JournalKind.PAYOUT,
        payout.create_time,
        onto=payable_to(payout.provider_id),
        off=PAYOUTS_IN_TRANSIT,
    )


def _resolution_of(payout: Payout) -> tuple[JournalEntry, ...]:
    if payout.resolve_time is None:
        return ()
    match payout.state:
        case PayoutState.PAID:
            kind, off = JournalKind.PAYOUT_PAID, GATEWAY_CLEARING
        case PayoutState.FAILED:
            kind, off = JournalKind.PAYOUT_FAILED, payable_to(payout.provider_id)
        case PayoutState.IN_TRANSIT:
            return ()
    return (_movement(payout, kind, payout.resolve_time, onto=PAYOUTS_IN_TRANSIT, off=off),)


def _movement(payout: Payout, kind: JournalKind, time: datetime, *, onto: str, off: str) -> JournalEntry:
    return JournalEntry(
        journal_entry_id=f"{kind.lower()}:{payout.payout_id}",
        kind=kind,
        provider_id=payout.provider_id,
        purchase_id=None,
        payout_id=payout.payout_id,
        time=time,
        postings=(
            Posting(onto, payout.currency, payout.amount_minor_units),
            Posting(off, payout.currency, -payout.amount_minor_units),
        ),
    )
