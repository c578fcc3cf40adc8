"""Every request that changes an account, ready to be sent, and what becomes of the account when it is done once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, purchase_pb2

from tests.chaos.effects import Effect, effect_of
from tests.contract.broker_world.operations import charged
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import TRIAL_CREDITS, Account, Amounts, Party, World, new_id

SECRET_RPCS = ("OpenAccount", "RotateAccountToken")
# Who an account belongs to whose tokens alone are used.
NOBODY = Party("", "")


@dataclass(frozen=True, slots=True)
class Movement:
    """A request, and the account's balance and number of entries after it. `account` is None if it opens one."""

    rpc: str
    request: Any
    key: str
    account: Account | None
    balance: Amounts
    entries: int = 1

    async def send(self, world: World) -> Any:
        return await world.call(world.stubs.method(self.rpc), self.request, self.key)

    def effect(self, answer: Any) -> Effect:
        """Returns what an answer and its replays have in common."""
        return effect_of(self.rpc, answer)

    async def assert_done_once(self, world: World, answer: Any) -> None:
        """Holds the account to one effect of the request, and a repetition to being a replay of `answer`.

        `answer` is the one with the secret, if the request makes one.
        """
        again = await self.send(world)
        assert again.replayed
        assert self.effect(again) == self.effect(answer)
        account = self._account_after(answer)
        assert await world.balance(account) == self.balance
        statement = await world.entries(account)
        assert (len(statement), statement[-1].ledger_credits_after) == (self.entries, self.balance[0])
        if self.rpc == "RotateAccountToken":
            assert self.account is not None
            stopped = await refusal_of(world.reserve(self.account, 1))
            assert stopped.reason == "ACCOUNT_NOT_FOUND"

    def _account_after(self, answer: Any) -> Account:
        """Returns the account with the token that works: a secret that was made must open it."""
        if self.rpc not in SECRET_RPCS:
            assert self.account is not None
            return self.account
        assert answer.account_token, "the secret is shown to the try that made it"
        if self.account is None:
            return Account(answer.account.account_id, answer.account_token, customer=NOBODY, service="")
        return Account(self.account.id, answer.account_token, self.account.customer, self.account.service)


async def _reserve(world: World) -> Movement:
    account = await world.new_account()
    request = broker_pb2.ReserveRequest(request_id=new_id(), account_token=account.token, credits=10)
    return Movement("Reserve", request, world.provider.key, account, (100, 10, 90))


async def _capture(world: World) -> Movement:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10)
    request = broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=reservation_id, credits=4)
    return Movement("Capture", request, world.provider.key, account, (96, 0, 96), entries=2)


async def _capture_a_part(world: World) -> Movement:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 10)
    request = broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=reservation_id, credits=4, keep_open=True)
    return Movement("Capture", request, world.provider.key, account, (96, 6, 90), entries=2)


async def _release(world: World) -> Movement:
    account = await world.new_account()
    request = broker_pb2.ReleaseRequest(request_id=new_id(), reservation_id=await world.reserved(account, 10))
    return Movement("Release", request, world.provider.key, account, (100, 0, 100))


async def _extend(world: World) -> Movement:
    account = await world.new_account()
    request = broker_pb2.ExtendRequest(
        request_id=new_id(),
        reservation_id=await world.reserved(account, 10),
        ttl=Duration(seconds=60),
        additional_credits=5,
    )
    return Movement("Extend", request, world.provider.key, account, (100, 15, 85))


async def _charge(world: World) -> Movement:
    account = await world.new_account()
    request = broker_pb2.ChargeRequest(request_id=new_id(), account_token=account.token, credits=10)
    return Movement("Charge", request, world.provider.key, account, (90, 0, 90), entries=2)


async def _refund(world: World) -> Movement:
    account = await world.new_account()
    request = broker_pb2.RefundRequest(request_id=new_id(), reservation_id=await charged(world, account, 10), credits=4)
    return Movement("Refund", request, world.provider.key, account, (94, 0, 94), entries=3)


async def _refund_all(world: World) -> Movement:
    account = await world.new_account()
    request = broker_pb2.RefundRequest(request_id=new_id(), reservation_id=await charged(world, account, 10))
    return Movement("Refund", request, world.provider.key, account, (100, 0, 100), entries=3)


async def _grant_credits(world: World) -> Movement:
    account = await world.new_account()
    request = admin_pb2.GrantCreditsRequest(request_id=new_id(), account_id=account.id, credits=5)
    return Movement("GrantCredits", request, world.running.operator_key, account, (105, 0, 105), entries=2)


async def _open_account(world: World) -> Movement:
    customer = await world.new_customer()
    service = await world.service_with_trial(TRIAL_CREDITS)
    request = account_pb2.OpenAccountRequest(request_id=new_id(), service=service)
    return Movement("OpenAccount", request, customer.key, None, (100, 0, 100))


async def _rotate_account_token(world: World) -> Movement:
    account = await world.new_account()
    request = account_pb2.RotateAccountTokenRequest(request_id=new_id(), account_id=account.id)
    return Movement("RotateAccountToken", request, account.customer.key, account, (100, 0, 100))


async def _create_purchase(world: World) -> Movement:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    request = purchase_pb2.CreatePurchaseRequest(request_id=new_id(), pack_id=pack.pack_id, account_token=account.token)
    return Movement("CreatePurchase", request, "", account, (100, 0, 100))


async def _pay(world: World) -> Movement:
    account = await world.new_account()
    pack = await world.new_pack(account.service)
    request = purchase_pb2.CompleteSandboxPaymentRequest(
        request_id=new_id(),
        purchase_id=(await world.purchase(account, pack.pack_id)).purchase_id,
        outcome=purchase_pb2.SANDBOX_OUTCOME_SUCCEEDED,
    )
    return Movement("CompleteSandboxPayment", request, "", account, (200, 0, 200), entries=2)


async def _refund_purchase(world: World) -> Movement:
    account = await world.new_account()
    purchase = await world.buy(account, (await world.new_pack(account.service)).pack_id)
    request = purchase_pb2.RefundPurchaseRequest(
        request_id=new_id(), purchase_id=purchase.purchase_id, reason="a mistake"
    )
    return Movement("RefundPurchase", request, account.customer.key, account, (100, 0, 100), entries=3)


MOVEMENTS: dict[str, Callable[[World], Awaitable[Movement]]] = {
    "Reserve": _reserve,
    "Capture": _capture,
    "Capture, kept open": _capture_a_part,
    "Release": _release,
    "Extend": _extend,
    "Charge": _charge,
    "Refund": _refund,
    "Refund of the rest": _refund_all,
    "GrantCredits": _grant_credits,
    "OpenAccount": _open_account,
    "RotateAccountToken": _rotate_account_token,
    "CreatePurchase": _create_purchase,
    "CompleteSandboxPayment": _pay,
    "RefundPurchase": _refund_purchase,
}
