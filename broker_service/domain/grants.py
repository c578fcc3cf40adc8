"""Which grants pay, and which get credits back."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.errors import InvariantError
from broker_service.domain.identities import grant_id_for
from broker_service.domain.records import DEFAULT_PRIORITY, Allocation, Grant, GrantKind, Reservation

_NEVER = datetime.max.replace(tzinfo=UTC)


class TakenBack(Struct, frozen=True):
    """Credits that were to go back to the grant of a purchase that was charged back, and so are off the account."""

    purchase_id: str | None
    credits: int


class GivenBack(Struct, frozen=True):
    """What a refund does to a reservation's parts and to the grants they came from.

    `expired_credits` were to go back to grants that have expired meanwhile, `taken_back` to revoked ones; both are
    gone.
    """

    allocations: tuple[Allocation, ...]
    grants: tuple[Grant, ...]
    expired_credits: int
    taken_back: tuple[TakenBack, ...]


class Resolution(Struct, frozen=True):
    """What a capture, release or expiry does to a reservation's parts and to the grants they came from.

    `expired_credits` were to be released to grants that have expired meanwhile, `taken_back` to revoked ones; both are
    gone.
    """

    allocations: tuple[Allocation, ...]
    grants: tuple[Grant, ...]
    released_credits: int
    expired_credits: int
    taken_back: tuple[TakenBack, ...]


def new_grant(
    account_id: str,
    kind: GrantKind,
    granted_credits: int,
    now: datetime,
    *,
    grant_id: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    purchase_id: str | None = None,
    expire_time: datetime | None = None,
) -> Grant:
    """Returns a grant with all its credits remaining.

    Unless it is given, its id follows from its purchase, else from account and kind.
    """
    return Grant(
        account_id=account_id,
        grant_id=grant_id or grant_id_for(purchase_id or f"{kind} {account_id}"),
        kind=kind,
        priority=priority,
        credits=granted_credits,
        remaining_credits=granted_credits,
        reserved_credits=0,
        expire_time=expire_time,
        purchase_id=purchase_id,
        create_time=now,
    )


def order_of_use(grant: Grant) -> tuple[int, datetime, bool, datetime, str]:
    """Sorts grants as they are used up.

    Lowest priority first, then earliest expiry, then trial and promotional before paid, then oldest.
    """
    return (
        grant.priority,
        grant.expire_time or _NEVER,
        grant.kind is GrantKind.PAID,
        grant.create_time,
        grant.grant_id,
    )


def allocate(
    grants: Iterable[Grant], reserved_credits: int, now: datetime
) -> tuple[tuple[Allocation, ...], tuple[Grant, ...]]:
    """Sets credits aside on unexpired grants; returns the parts and the grants' new versions.

    The caller has made sure that they suffice; otherwise raises InvariantError.
    """
    allocations: list[Allocation] = []
    changed: list[Grant] = []
    missing_credits = reserved_credits
    for grant in sorted(grants, key=order_of_use):
        part_credits = min(grant.free_credits, missing_credits)
        if part_credits == 0 or grant.is_expired(now):
            continue
        allocations.append(Allocation(grant.grant_id, part_credits))
        changed.append(replace(grant, reserved_credits=grant.reserved_credits + part_credits))
        missing_credits -= part_credits
        if missing_credits == 0:
            return tuple(allocations), tuple(changed)
    raise InvariantError(f"grants fall short of available credits by {missing_credits}")


def spend(
    grants: Iterable[Grant], captured_credits: int, now: datetime
) -> tuple[tuple[Allocation, ...], tuple[Grant, ...]]:
    """Takes credits off unexpired grants for good; returns the parts, captured, and the grants' new versions.

    The caller has made sure that they suffice; otherwise raises InvariantError.
    """
    parts, reserved = allocate(grants, captured_credits, now)
    captured = tuple(replace(part, captured_credits=part.reserved_credits) for part in parts)
    changed = tuple(
        replace(
            grant,
            remaining_credits=grant.remaining_credits - part.reserved_credits,
            reserved_credits=grant.reserved_credits - part.reserved_credits,
        )
        for part, grant in zip(parts, reserved, strict=True)
    )
    return captured, changed


def without_free_credits(grant: Grant) -> Grant:
    """Returns a grant that keeps only what reservations hold of it."""
    return replace(grant, remaining_credits=grant.reserved_credits)


def merge(
    allocations: tuple[Allocation, ...], added: tuple[Allocation, ...], grants: Mapping[str, Grant]
) -> tuple[Allocation, ...]:
    """Returns a reservation's parts with further ones added: one part per grant, and those still open in order of use.

    Every rule reads a part's grant once, so two parts of one grant would lose what happens to one of them. Parts that
    are captured to the last credit come first, as they were: their grants may be spent, and so not among `grants`.
    """
    merged = {part.grant_id: part for part in allocations}
    for part in added:
        before = merged.get(part.grant_id)
        merged[part.grant_id] = (
            part
            if before is None
            else replace(before, reserved_credits=before.reserved_credits + part.reserved_credits)
        )
    captured = [part for part in merged.values() if part.uncaptured_credits == 0]
    still_open = [part for part in merged.values() if part.uncaptured_credits > 0]
    return (*captured, *sorted(still_open, key=lambda part: order_of_use(grants[part.grant_id])))


def take_and_return(
    reservation: Reservation,
    grants: Mapping[str, Grant],
    now: datetime,
    *,
    captured_credits: int,
    returns_rest: bool,
) -> Resolution:
    """Captures credits of a reservation's parts in their order, and returns the rest to the grants it came from.

    `captured_credits` is 0 … the reservation's open credits. A part returned to a grant that was revoked or has expired
    meanwhile is gone instead.
    """
    allocations: list[Allocation] = []
    changed: list[Grant] = []
    returns = _Returns(now)
    missing_credits = captured_credits
    released_credits = 0
    for part in reservation.allocations:
        open_credits = part.uncaptured_credits
        taken_credits = min(open_credits, missing_credits)
        returned_credits = open_credits - taken_credits if returns_rest else 0
        missing_credits -= taken_credits
        allocations.append(replace(part, captured_credits=part.captured_credits + taken_credits))
        if taken_credits == returned_credits == 0:
            continue
        grant = grants.get(part.grant_id)
        if grant is None:
            raise InvariantError(
                f"reservation {reservation.reservation_id} names grant {part.grant_id}, which is empty"
            )
        gone_credits = returned_credits - returns.kept_credits(grant, returned_credits)
        changed.append(
            replace(
                grant,
                remaining_credits=grant.remaining_credits - taken_credits - gone_credits,
                reserved_credits=grant.reserved_credits - taken_credits - returned_credits,
            )
        )
        released_credits += returned_credits
    return Resolution(
        tuple(allocations), tuple(changed), released_credits, returns.expired_credits, tuple(returns.taken_back)
    )


def give_back(
    reservation: Reservation, grants: Mapping[str, Grant], now: datetime, *, refunded_credits: int
) -> GivenBack:
    """Returns captured credits of a reservation's parts to the grants they came from, the last part first.

    So the grants stand as if so much less had been captured. `refunded_credits` is 1 … what was captured and not yet
    refunded; a part returned to a grant that was revoked or has expired meanwhile is gone instead.
    """
    allocations = list(reservation.allocations)
    changed: list[Grant] = []
    returns = _Returns(now)
    missing_credits = refunded_credits
    for index in reversed(range(len(allocations))):
        part = allocations[index]
        part_credits = min(part.refundable_credits, missing_credits)
        if part_credits == 0:
            continue
        grant = grants.get(part.grant_id)
        if grant is None:
            raise InvariantError(f"reservation {reservation.reservation_id} names grant {part.grant_id}, which is gone")
        allocations[index] = replace(part, refunded_credits=part.refunded_credits + part_credits)
        missing_credits -= part_credits
        if kept_credits := returns.kept_credits(grant, part_credits):
            changed.append(replace(grant, remaining_credits=grant.remaining_credits + kept_credits))
    if missing_credits:
        raise InvariantError(f"parts of reservation {reservation.reservation_id} fall short by {missing_credits}")
    return GivenBack(tuple(allocations), tuple(changed), returns.expired_credits, tuple(returns.taken_back))


class _Returns:
    """Where credits end that come back to their grants."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.expired_credits = 0
        self.taken_back: list[TakenBack] = []

    def kept_credits(self, grant: Grant, returned_credits: int) -> int:
        """Returns how many of some credits stay on a grant: all or none, and notes where they go otherwise."""
        if grant.revoked:
            if returned_credits:
                self.taken_back.append(TakenBack(grant.purchase_id, returned_credits))
            return 0
        if grant.is_expired(self._now):
            self.expired_credits += returned_credits
            return 0
        return returned_credits
