"""Money side of a world: sales, payouts, and rows of the journal that nobody makes by a call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from iap.broker.v1 import purchase_pb2, settlement_pb2

from tests.contract.broker_world.running_broker import Stubs
from tests.contract.broker_world.world import Account, Party, World, call, new_id

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def euro(cents: int) -> Money:
    sign = -1 if cents < 0 else 1
    return Money(currency_code="EUR", units=sign * (abs(cents) // 100), nanos=sign * (abs(cents) % 100) * 10_000_000)


def yen(units: int) -> Money:
    return Money(currency_code="JPY", units=units)


def dinar(fils: int) -> Money:
    return Money(currency_code="KWD", units=fils // 1_000, nanos=fils % 1_000 * 1_000_000)


def timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message


@dataclass(frozen=True, slots=True)
class Seller:
    """A provider with a service, and a customer's account for it."""

    world: World
    provider: Party
    account: Account

    @property
    def id(self) -> str:
        return self.provider.id

    async def sell(self, price: Money) -> purchase_pb2.Purchase:
        """Sells a pack at a price."""
        pack = await self.world.new_pack(self.account.service, provider=self.provider, price=price)
        return await self.world.buy(self.account, pack.pack_id)

    async def balance(self, key: str | None = None) -> settlement_pb2.GetProviderBalanceResponse:
        request = settlement_pb2.GetProviderBalanceRequest(provider_id=self.id)
        key = self.provider.key if key is None else key
        return await call(self.world.stubs.settlement.GetProviderBalance, request, key)

    async def payable(self) -> list[Money]:
        return list((await self.balance()).payable)

    async def statement(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> settlement_pb2.GetStatementResponse:
        request = settlement_pb2.GetStatementRequest(
            provider_id=self.id,
            start_time=timestamp(start_time or EPOCH),
            end_time=timestamp(end_time or datetime.fromisoformat("9999-12-31T00:00:00+00:00")),
        )
        return await call(self.world.stubs.settlement.GetStatement, request, self.provider.key)

    async def payouts(self) -> list[settlement_pb2.Payout]:
        request = settlement_pb2.ListPayoutsRequest(provider_id=self.id, page_size=1_000)
        return list((await call(self.world.stubs.settlement.ListPayouts, request, self.provider.key)).payouts)

    async def pay_out(
        self, currency: str = "EUR", *, request_id: str | None = None, world: World | None = None
    ) -> settlement_pb2.CreatePayoutResponse:
        request = settlement_pb2.CreatePayoutRequest(
            request_id=request_id or new_id(), provider_id=self.id, currency=currency
        )
        world = world or self.world
        return await call(world.stubs.settlement.CreatePayout, request, self.world.running.operator_key)

    def take_back(self, purchase: purchase_pb2.Purchase, share: int, commission: int, *, kind: str = "REFUND") -> str:
        """Books the return of a part of a sale, in minor units; returns the id of the entry."""
        entry_id = f"{kind.lower()}:{new_id()}"
        off = "refunds_in_transit" if kind == "REFUND" else "gateway_clearing"
        book(
            self.world,
            entry_id,
            kind,
            (
                (f"provider_payable:{self.id}", share),
                ("commission", commission),
                (off, -share - commission),
            ),
            provider_id=self.id,
            currency=purchase.price.currency_code,
            purchase_id=purchase.purchase_id,
        )
        return entry_id


async def new_seller(world: World, *, commission_basis_points: int = 2_500) -> Seller:
    provider = await world.new_provider(commission_basis_points=commission_basis_points)
    service = await world.new_service(provider=provider)
    return Seller(world, provider, await world.new_account(service=service))


def book(
    world: World,
    entry_id: str,
    kind: str,
    postings: Sequence[tuple[str, int]],
    *,
    provider_id: str,
    currency: str = "EUR",
    purchase_id: str | None = None,
    payout_id: str | None = None,
) -> None:
    """Writes an entry into the journal, at the world's time."""
    microseconds = timestamp(world.clock.now).ToMicroseconds()
    sql = world.running.sql
    sql(
        "INSERT INTO journal_entries (journal_entry_id, kind, provider_id, purchase_id, payout_id, time)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        entry_id,
        kind,
        provider_id,
        purchase_id,
        payout_id,
        microseconds,
    )
    for line, (money_account, amount) in enumerate(postings, start=1):
        sql(
            "INSERT INTO journal_postings (journal_entry_id, line, money_account, currency, amount_minor_units)"
            " VALUES (?, ?, ?, ?, ?)",
            entry_id,
            line,
            money_account,
            currency,
            amount,
        )


async def mark(
    world: World,
    payout_id: str,
    *,
    paid: bool,
    reference: str = "",
    request_id: str | None = None,
    stubs: Stubs | None = None,
) -> settlement_pb2.MarkPayoutPaidResponse | settlement_pb2.MarkPayoutFailedResponse:
    """Marks a payout paid or failed, at the world's broker or at the one that `stubs` reach."""
    request_id, key = request_id or new_id(), world.running.operator_key
    settlement = (stubs or world.stubs).settlement
    if paid:
        done = settlement_pb2.MarkPayoutPaidRequest(request_id=request_id, payout_id=payout_id, reference=reference)
        return await call(settlement.MarkPayoutPaid, done, key)
    failed = settlement_pb2.MarkPayoutFailedRequest(request_id=request_id, payout_id=payout_id, reason=reference)
    return await call(settlement.MarkPayoutFailed, failed, key)
