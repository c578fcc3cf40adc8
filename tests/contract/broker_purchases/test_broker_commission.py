"""The broker's cut: frozen at the start, and together with the provider's share the price, to the last minor unit."""

import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import purchase_pb2

from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import World, new_world

NANOS = 10**9


def nanos(money: Money) -> int:
    """Returns an amount in billionths of a unit."""
    assert (money.units >= 0) == (money.nanos >= 0)
    return int(money.units) * NANOS + int(money.nanos)


def euro(cents: int) -> Money:
    return Money(currency_code="EUR", units=cents // 100, nanos=cents % 100 * 10_000_000)


async def buy(world: World, price: Money, *, rate: int | None = None) -> purchase_pb2.Purchase:
    """Returns a purchase at a price from a provider with a rate of its own, or without one."""
    provider = world.provider if rate is None else await world.new_provider(commission_basis_points=rate)
    service = await world.new_service(provider=provider)
    pack = await world.new_pack(service, provider=provider, price=price)
    purchase = await world.buy(await world.new_account(service=service), pack.pack_id)
    for part in (purchase.price, purchase.commission, purchase.provider_share):
        assert part.currency_code == price.currency_code
        assert nanos(part) >= 0
    assert purchase.price == purchase.pack.price == pack.price == price
    assert nanos(purchase.commission) + nanos(purchase.provider_share) == nanos(price)
    return purchase


@pytest.mark.parametrize(
    ("cents", "commission"), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (6, 2), (10, 3), (100, 25), (999, 250)]
)
async def test_the_broker_takes_25_percent_by_default(world: World, cents: int, commission: int) -> None:
    purchase = await buy(world, euro(cents))
    assert abs(nanos(purchase.commission) - nanos(euro(cents)) // 4) <= nanos(euro(1)) // 2
    assert purchase.commission == euro(commission)


@pytest.mark.parametrize("cents", [1, 2, 99, 12_345, 10**11])
@pytest.mark.parametrize("rate", [0, 1, 3_333, 5_000, 9_999, 10_000])
async def test_a_provider_s_own_rate_goes_before_the_broker_s(world: World, cents: int, rate: int) -> None:
    purchase = await buy(world, euro(cents), rate=rate)
    exact = nanos(euro(cents)) * rate / 10_000
    assert abs(nanos(purchase.commission) - exact) <= nanos(euro(1)) / 2
    if rate in {0, 10_000}:
        assert nanos(purchase.commission) == exact


@pytest.mark.parametrize(
    ("price", "commission", "share"),
    [
        (Money(currency_code="JPY", units=1), (0, 0), (1, 0)),
        (Money(currency_code="JPY", units=2), (1, 0), (1, 0)),
        (Money(currency_code="JPY", units=1_000), (250, 0), (750, 0)),
        (Money(currency_code="JPY", units=10**9), (250_000_000, 0), (750_000_000, 0)),
        (Money(currency_code="KWD", nanos=1_000_000), (0, 0), (0, 1_000_000)),
        (Money(currency_code="KWD", nanos=2_000_000), (0, 1_000_000), (0, 1_000_000)),
        (Money(currency_code="KWD", units=1, nanos=1_000_000), (0, 250_000_000), (0, 751_000_000)),
        (Money(currency_code="KWD", units=10**9), (250_000_000, 0), (750_000_000, 0)),
        (Money(currency_code="EUR", units=9, nanos=990_000_000), (2, 500_000_000), (7, 490_000_000)),
    ],
)
async def test_money_is_reckoned_in_the_currency_s_own_minor_unit(
    world: World, price: Money, commission: tuple[int, int], share: tuple[int, int]
) -> None:
    purchase = await buy(world, price)
    assert (purchase.commission.units, purchase.commission.nanos) == commission
    assert (purchase.provider_share.units, purchase.provider_share.nanos) == share


async def test_the_rate_is_frozen_when_the_purchase_is_started(forgetful_world: World) -> None:
    world = forgetful_world
    provider = await world.new_provider()
    service = await world.new_service(provider=provider)
    pack = await world.new_pack(service, provider=provider, price=euro(1_000))
    account = await world.new_account(service=service)
    started = await world.purchase(account, pack.pack_id)
    world.running.sql("UPDATE providers SET commission_basis_points = 0 WHERE provider_id = ?", provider.id)
    paid = (await world.pay(started.purchase_id)).purchase
    assert (paid.commission, paid.provider_share) == (euro(250), euro(750))
    assert (await world.purchase(account, pack.pack_id)).commission == euro(0)


async def test_the_broker_s_own_rate_can_be_set(database_url: str) -> None:
    async with running_broker(database_url, commission_basis_points=1_000) as running:
        world = await new_world(running)
        assert (await buy(world, euro(1_000))).commission == euro(100)
        assert (await buy(world, euro(1_000), rate=2_000)).commission == euro(200)


async def test_a_sale_is_booked_in_double_entry(world: World) -> None:
    purchase = await buy(world, euro(1_001), rate=2_500)
    rows = world.running.sql(
        "SELECT money_account, currency, amount_minor_units FROM journal_postings JOIN journal_entries"
        " USING (journal_entry_id) WHERE purchase_id = ?",
        purchase.purchase_id,
    )
    by_account = {account.partition(":")[0]: (currency, amount) for account, currency, amount in rows}
    assert by_account == {
        "gateway_clearing": ("EUR", 1_001),
        "commission": ("EUR", -250),
        "provider_payable": ("EUR", -751),
    }
