"""The money side of the demo: a refund, what the provider is owed, and its payout."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from google.type.money_pb2 import Money
from iap.broker.v1.purchase_pb2 import Purchase
from iap.broker.v1.settlement_pb2 import GetProviderBalanceResponse, StatementLine, StatementLineKind

from client_stub.cli.money import format_money
from client_stub.cli.tables import LEFT, RIGHT, table
from client_stub.purchases import PurchaseClient
from client_stub.settlement import SettlementClient
from deploy.seeding import Seeded

CURRENCY: Final = "EUR"

_CENTS: Final = 10_000_000
_LINES: Final = {
    StatementLineKind.STATEMENT_LINE_KIND_SALE: "sale",
    StatementLineKind.STATEMENT_LINE_KIND_REFUND: "refund",
    StatementLineKind.STATEMENT_LINE_KIND_PAYOUT: "payout",
}
_COLUMNS: Final = (("movement", LEFT), ("customer", RIGHT), ("broker’s commission", RIGHT), ("provider", RIGHT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of the money. The sums are those of the statement, in cents."""

    refund_cents: int
    owed_cents: int
    payout_cents: int
    payable_cents: int
    lines: tuple[StatementLine, ...]


async def settle_up(broker: str, *, operator_key: str, seeded: Seeded, purchase: Purchase) -> Settled:
    """Refund what is unspent of a purchase, and pay the provider what it is owed then. Raises IapError."""
    async with PurchaseClient.connect(broker, key=seeded.customer_key) as purchases:
        refunded = await purchases.refund_purchase(purchase_id=purchase.purchase_id, reason="no more texts to send")
    async with SettlementClient.connect(broker, key=operator_key) as settlement:
        owed = await settlement.get_provider_balance(provider_id=seeded.provider_id)
        payout = (await settlement.create_payout(provider_id=seeded.provider_id, currency=CURRENCY)).payout
        await settlement.mark_payout_paid(payout_id=payout.payout_id, reference="transfer 1")
    async with SettlementClient.connect(broker, key=seeded.provider_key) as own:
        left = await own.get_provider_balance(provider_id=seeded.provider_id)
        now = datetime.now(UTC)
        statement = await own.get_statement(
            provider_id=seeded.provider_id, start_time=now - timedelta(days=1), end_time=now + timedelta(days=1)
        )
    return Settled(
        refund_cents=cents(refunded.refund),
        owed_cents=_payable_cents(owed),
        payout_cents=cents(payout.amount),
        payable_cents=_payable_cents(left),
        lines=tuple(statement.lines),
    )


def money_table(lines: Sequence[StatementLine]) -> str:
    """Return the provider's statement as a table with its sums."""
    rows = [
        (_LINES.get(line.kind, "other"), *map(format_money, (line.gross, line.commission, line.net))) for line in lines
    ]
    sums = [_sum(getattr(line, column) for line in lines) for column in ("gross", "commission", "net")]
    return table(_COLUMNS, [*rows, ("together", *map(format_money, sums))])


def cents(money: Money) -> int:
    """Return an amount in euros as cents."""
    return int(money.units) * 100 + int(money.nanos) // _CENTS


def euros(amount_cents: int) -> str:
    """Return cents as people read them."""
    return format_money(_money(amount_cents))


def _sum(amounts: Iterable[Money]) -> Money:
    return _money(sum(map(cents, amounts)))


def _money(amount_cents: int) -> Money:
    sign = -1 if amount_cents < 0 else 1
    units, rest = divmod(abs(amount_cents), 100)
    return Money(currency_code=CURRENCY, units=sign * units, nanos=sign * rest * _CENTS)


def _payable_cents(balance: GetProviderBalanceResponse) -> int:
    return sum(cents(money) for money in balance.payable)
