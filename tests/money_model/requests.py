"""What is asked in one example, beside the domain's own commands, and who is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from broker_service.domain.auto_top_ups import AutoTopUp
from broker_service.domain.commands import Command
from broker_service.domain.directory import Pack
from broker_service.domain.identities import purchase_id_for
from broker_service.domain.payouts import CreatePayout, ResolvePayout
from broker_service.domain.purchase_commands import RefundPurchase
from broker_service.payments.gateway import GatewayNotice

SECOND = timedelta(seconds=1)
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 1, 1, tzinfo=UTC)
CHECKOUT_LIFETIME = 4 * SECOND
BROKERS_RATE = 2_500
PAYOUT_MINIMUMS = {"EUR": 500}
# The gateway that each currency is paid through; the broker has none for USD.
GATEWAYS = {"EUR": "scripted", "KWD": "scripted", "JPY": "second"}


class Goods(NamedTuple):
    """The terms of a pack; the price is in minor units."""

    credits: int
    currency: str
    price: int
    validity: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Starts a purchase, as CreatePurchase does."""

    request_id: str
    account_id: str
    pack: Pack
    return_url: str = "https://shop.example"
    saves_method: bool = True

    @property
    def purchase_id(self) -> str:
        return purchase_id_for(self.account_id, self.request_id)


@dataclass(frozen=True, slots=True)
class Tell:
    """Delivers a notice of a gateway's."""

    gateway: str
    notice: GatewayNotice


@dataclass(frozen=True, slots=True)
class Agree:
    """Agrees to automatic top-ups."""

    account_id: str
    pack: Pack
    threshold_credits: int
    monthly_cap_minor_units: int


@dataclass(frozen=True, slots=True)
class TurnOff:
    """Ends automatic top-ups."""

    account_id: str


@dataclass(frozen=True, slots=True)
class TopUpAll:
    """Goes one step with every automatic top-up that is due, once the accounts are settled."""

    account_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PayBackAll:
    """Asks gateways for all refunds that are owed, as the refund runner does."""


@dataclass(frozen=True, slots=True)
class ChangeProvider:
    """Suspends or resumes a provider, or changes its rate (None: the broker's)."""

    provider_id: str
    suspended: bool | None = None
    basis_points: int | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """Takes a pack off sale."""

    pack: Pack


Request = (
    Start
    | Tell
    | Agree
    | TurnOff
    | TopUpAll
    | PayBackAll
    | ChangeProvider
    | Archive
    | RefundPurchase
    | CreatePayout
    | ResolvePayout
    | Command
)

# What is compared of the records, beside what the ledger's model compares.
PURCHASE = (
    "credits",
    "currency",
    "price_minor_units",
    "commission_minor_units",
    "provider_share_minor_units",
    "gateway",
    "origin",
    "create_time",
    "pay_time",
    "refunded_credits",
    "refunded_minor_units",
    "refunded_commission_minor_units",
)
RETURN = ("kind", "state", "credits", "amount_minor_units", "commission_minor_units")
PAYOUT = ("provider_id", "currency", "amount_minor_units", "state", "reference")
TOP_UP = tuple(
    name for name in AutoTopUp.__struct_fields__ if name not in ("account_id", "consent", "consent_time", "currency")
)
