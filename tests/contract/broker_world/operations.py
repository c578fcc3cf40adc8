"""Short ways to ask for what a provider and an operator ask less often."""

from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2

from tests.contract.broker_world.world import Account, World, call, duration, new_id


async def charge(
    world: World,
    account: Account,
    amount: int,
    *,
    request_id: str | None = None,
    description: str = "",
    key: str | None = None,
) -> broker_pb2.ChargeResponse:
    request = broker_pb2.ChargeRequest(
        request_id=request_id or new_id(), account_token=account.token, credits=amount, description=description
    )
    return await call(world.stubs.broker.Charge, request, world.provider.key if key is None else key)


async def charged(world: World, account: Account, amount: int) -> str:
    """Charges an account and returns the reservation's id."""
    return (await charge(world, account, amount)).reservation.reservation_id


async def extend(
    world: World,
    reservation_id: str,
    additional: int = 0,
    *,
    ttl: timedelta | None = None,
    request_id: str | None = None,
    key: str | None = None,
) -> broker_pb2.ExtendResponse:
    request = broker_pb2.ExtendRequest(
        request_id=request_id or new_id(),
        reservation_id=reservation_id,
        ttl=duration(ttl),
        additional_credits=additional,
    )
    return await call(world.stubs.broker.Extend, request, world.provider.key if key is None else key)


async def refund(
    world: World,
    reservation_id: str,
    amount: int | None = None,
    *,
    reason: str = "",
    request_id: str | None = None,
    key: str | None = None,
) -> broker_pb2.RefundResponse:
    request = broker_pb2.RefundRequest(
        request_id=request_id or new_id(), reservation_id=reservation_id, credits=amount, reason=reason
    )
    return await call(world.stubs.broker.Refund, request, world.provider.key if key is None else key)


async def grant_credits(
    world: World,
    account: Account,
    amount: int,
    *,
    kind: "account_pb2.GrantKind" = account_pb2.GRANT_KIND_UNSPECIFIED,
    priority: int | None = None,
    expire_time: datetime | None = None,
    reason: str = "",
    request_id: str | None = None,
) -> admin_pb2.GrantCreditsResponse:
    request = admin_pb2.GrantCreditsRequest(
        request_id=request_id or new_id(),
        account_id=account.id,
        credits=amount,
        kind=kind,
        priority=priority,
        expire_time=None if expire_time is None else timestamp(expire_time),
        reason=reason,
    )
    return await call(world.stubs.admin.GrantCredits, request, world.running.operator_key)


async def suspend_account(world: World, account: Account, reason: str = "") -> account_pb2.Account:
    request = admin_pb2.SuspendAccountRequest(account_id=account.id, reason=reason)
    return (await call(world.stubs.admin.SuspendAccount, request, world.running.operator_key)).account


async def resume_account(world: World, account: Account) -> account_pb2.Account:
    request = admin_pb2.ResumeAccountRequest(account_id=account.id)
    return (await call(world.stubs.admin.ResumeAccount, request, world.running.operator_key)).account


async def rotate_token(
    world: World, account: Account, *, overlap: timedelta | None = None, request_id: str | None = None
) -> account_pb2.RotateAccountTokenResponse:
    request = account_pb2.RotateAccountTokenRequest(
        request_id=request_id or new_id(), account_id=account.id, overlap=duration(overlap)
    )
    return await call(world.stubs.accounts.RotateAccountToken, request, account.customer.key)


def timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message
