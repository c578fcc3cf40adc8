"""What a provider sees: its balance, its sales, its statement."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import admin_pb2, purchase_pb2, settlement_pb2

from broker_service.engine import settlement
from tests.contract.broker_world.money import Seller, dinar, euro, mark, new_seller, timestamp, yen
from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import World, call

SALE = settlement_pb2.STATEMENT_LINE_KIND_SALE
REFUND = settlement_pb2.STATEMENT_LINE_KIND_REFUND
CHARGEBACK = settlement_pb2.STATEMENT_LINE_KIND_CHARGEBACK
PAYOUT = settlement_pb2.STATEMENT_LINE_KIND_PAYOUT
PAYOUT_FAILED = settlement_pb2.STATEMENT_LINE_KIND_PAYOUT_FAILED
TICK = timedelta(microseconds=1)

Figures = tuple[list[Money], list[Money], list[Money]]


async def figures(seller: Seller) -> Figures:
    found = await seller.balance()
    return list(found.payable), list(found.sales), list(found.commission)


async def sales_pages(seller: Seller, **fields: Any) -> list[list[str]]:
    """Returns the ids of the purchases on every page."""
    request = settlement_pb2.ListSalesRequest(provider_id=seller.id, **fields)
    found = []
    while True:
        answer = await call(seller.world.stubs.settlement.ListSales, request, seller.provider.key)
        found.append([sale.purchase_id for sale in answer.sales])
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def cells(line: settlement_pb2.StatementLine) -> tuple[Any, ...]:
    return line.kind, line.reference, line.gross, line.commission, line.net


async def test_a_provider_that_has_sold_nothing_has_no_figures(world: World) -> None:
    seller = await new_seller(world)
    assert await figures(seller) == ([], [], [])
    assert await sales_pages(seller) == [[]]
    assert await seller.statement() == settlement_pb2.GetStatementResponse()
    assert await seller.payouts() == []


async def test_the_balance_has_each_currency_by_itself(world: World) -> None:
    seller, other = await new_seller(world), await new_seller(world)
    await seller.sell(euro(1_000))
    await seller.sell(yen(400))
    await seller.sell(dinar(1_001))
    await seller.sell(euro(2))
    await other.sell(euro(77))
    assert await figures(seller) == (
        [euro(751), yen(300), dinar(751)],
        [euro(1_002), yen(400), dinar(1_001)],
        [euro(251), yen(100), dinar(250)],
    )


async def test_an_unpaid_purchase_is_no_sale(world: World) -> None:
    seller = await new_seller(world)
    pack = await world.new_pack(seller.account.service, provider=seller.provider)
    await world.purchase(seller.account, pack.pack_id)
    await world.pay((await world.purchase(seller.account, pack.pack_id)).purchase_id, succeeds=False)
    assert await figures(seller) == ([], [], [])
    assert await sales_pages(seller) == [[]]


@pytest.mark.parametrize("kind", ["REFUND", "CHARGEBACK"])
async def test_what_goes_back_to_customers_is_no_longer_sold(own_world: World, kind: str) -> None:
    seller = await new_seller(own_world)
    sale = await seller.sell(euro(1_000))
    seller.take_back(sale, share=300, commission=100, kind=kind)
    assert await figures(seller) == ([euro(450)], [euro(600)], [euro(150)])
    seller.take_back(sale, share=450, commission=150, kind=kind)
    assert await figures(seller) == ([euro(0)], [euro(0)], [euro(0)])


async def test_sales_less_commission_less_payable_is_what_was_paid_out(own_world: World) -> None:
    world = own_world
    seller = await new_seller(world)
    sale = await seller.sell(euro(1_000))
    failed = (await seller.pay_out()).payout
    await mark(world, failed.payout_id, paid=False)
    arrived = (await seller.pay_out()).payout
    await mark(world, arrived.payout_id, paid=True)
    await seller.sell(euro(400))
    under_way = (await seller.pay_out()).payout
    assert (arrived.amount, under_way.amount) == (euro(750), euro(300))
    seller.take_back(sale, share=750, commission=250)
    # 400 sold and kept, 100 of them commission, 1050 paid out.
    assert await figures(seller) == ([euro(-750)], [euro(400)], [euro(100)])


async def test_sales_show_what_the_provider_is_owed(world: World) -> None:
    seller = await new_seller(world, commission_basis_points=1_000)
    purchase = await seller.sell(dinar(1_005))
    request = settlement_pb2.ListSalesRequest(provider_id=seller.id)
    (sale,) = (await call(world.stubs.settlement.ListSales, request, seller.provider.key)).sales
    assert sale == settlement_pb2.Sale(
        purchase_id=purchase.purchase_id,
        service=seller.account.service,
        pack_id=purchase.pack.pack_id,
        credits=purchase.credits,
        price=dinar(1_005),
        commission=dinar(101),
        provider_share=dinar(904),
        state=purchase_pb2.PURCHASE_STATE_PAID,
        pay_time=purchase.pay_time,
    )


@pytest.mark.parametrize("state", ["REFUNDED", "PARTIALLY_REFUNDED", "CHARGED_BACK"])
async def test_a_sale_stays_listed_when_its_money_goes_back(own_world: World, state: str) -> None:
    seller = await new_seller(own_world)
    purchase = await seller.sell(euro(1_000))
    own_world.running.sql("UPDATE purchases SET state = ?", state)
    request = settlement_pb2.ListSalesRequest(provider_id=seller.id)
    (sale,) = (await call(own_world.stubs.settlement.ListSales, request, seller.provider.key)).sales
    assert (sale.purchase_id, sale.price) == (purchase.purchase_id, euro(1_000))
    assert sale.state == purchase_pb2.PurchaseState.Value(f"PURCHASE_STATE_{state}")


async def test_sales_come_by_the_time_they_were_paid_page_by_page(world: World) -> None:
    seller = await new_seller(world)
    made: list[list[str]] = []
    # Some in the same instant.
    for count in (1, 3, 2):
        world.clock.move(TICK)
        made.append(sorted([(await seller.sell(euro(100))).purchase_id for _ in range(count)]))
    expected = [name for names in made for name in names]
    for size in (1, 2, 5, 6, 7, 1_000, 2**31 - 1):
        pages = await sales_pages(seller, page_size=size)
        assert [name for page in pages for name in page] == expected
        assert all(len(page) == size for page in pages[:-1])
        assert pages[-1]


async def test_a_period_begins_at_its_start_and_ends_before_its_end(world: World) -> None:
    seller = await new_seller(world)
    instants, names = [], []
    for _ in range(3):
        instants.append(world.clock.move(timedelta(seconds=1)))
        names.append((await seller.sell(euro(100))).purchase_id)
    for start, end, expected in (
        (instants[0], instants[2] + TICK, names),
        (instants[0] + TICK, instants[2], names[1:2]),
        (instants[1], instants[1] + TICK, names[1:2]),
        (instants[1], instants[1], []),
        (instants[2], datetime.fromisoformat("9999-12-31T23:59:59.999999+00:00"), names[2:]),
        (datetime.fromisoformat("0001-01-01T00:00:00+00:00"), instants[0], []),
    ):
        fields = {"start_time": timestamp(start), "end_time": timestamp(end)}
        assert await sales_pages(seller, **fields) == [expected]
        assert [line.reference for line in (await seller.statement(start, end)).lines] == expected
    assert await sales_pages(seller, start_time=timestamp(instants[1])) == [names[1:]]
    assert await sales_pages(seller, end_time=timestamp(instants[1])) == [names[:1]]


async def test_a_token_of_another_request_is_refused(world: World) -> None:
    seller, other = await new_seller(world), await new_seller(world)
    for _ in range(2):
        await seller.sell(euro(100))
        await seller.pay_out()
        world.clock.move(TICK)
    stubs, operator = world.stubs, world.running.operator_key
    sales = settlement_pb2.ListSalesRequest(provider_id=seller.id, page_size=1)
    token = (await call(stubs.settlement.ListSales, sales, operator)).next_page_token
    assert token
    for changed in (
        settlement_pb2.ListSalesRequest(provider_id=other.id),
        settlement_pb2.ListSalesRequest(provider_id=seller.id, start_time=timestamp(world.clock.now)),
        settlement_pb2.ListSalesRequest(provider_id=seller.id, end_time=timestamp(world.clock.now)),
    ):
        changed.page_token = token
        assert (await refusal_of(call(stubs.settlement.ListSales, changed, operator))).fields == ["page_token"]
    payouts = settlement_pb2.ListPayoutsRequest(provider_id=seller.id, page_size=1)
    token = (await call(stubs.settlement.ListPayouts, payouts, operator)).next_page_token
    assert token
    foreign = settlement_pb2.ListPayoutsRequest(provider_id=other.id, page_token=token)
    assert (await refusal_of(call(stubs.settlement.ListPayouts, foreign, operator))).fields == ["page_token"]


async def test_payouts_come_newest_first_page_by_page(world: World) -> None:
    seller = await new_seller(world)
    made = []
    for number in range(6):
        await seller.sell(euro(100))
        made.append((await seller.pay_out()).payout)
        if number % 2:
            world.clock.move(TICK)
    newest_first = sorted(made, key=lambda it: (it.create_time.ToMicroseconds(), it.payout_id), reverse=True)
    request = settlement_pb2.ListPayoutsRequest(provider_id=seller.id)
    for size in (1, 2, 4, 5, 6, 7, 1_000):
        request.page_size, request.page_token = size, ""
        found: list[settlement_pb2.Payout] = []
        while True:
            answer = await call(world.stubs.settlement.ListPayouts, request, seller.provider.key)
            found += answer.payouts
            if not answer.next_page_token:
                break
            assert len(answer.payouts) == size
            request.page_token = answer.next_page_token
        assert found == newest_first


async def test_a_statement_has_all_that_moves_the_payable(own_world: World) -> None:
    world = own_world
    seller = await new_seller(world)
    moments = [world.clock.now]

    def later() -> None:
        moments.append(world.clock.move(timedelta(hours=1)))

    sale = await seller.sell(euro(1_000))
    later()
    yens = await seller.sell(yen(400))
    later()
    seller.take_back(sale, share=75, commission=25)
    later()
    failed = (await seller.pay_out()).payout
    later()
    await mark(world, failed.payout_id, paid=False)
    later()
    arrived = (await seller.pay_out()).payout
    later()
    await mark(world, arrived.payout_id, paid=True)
    seller.take_back(sale, share=675, commission=225, kind="CHARGEBACK")
    statement = await seller.statement()
    nothing = Money(currency_code="EUR")
    assert [cells(line) for line in statement.lines] == [
        (SALE, sale.purchase_id, euro(1_000), euro(250), euro(750)),
        (SALE, yens.purchase_id, yen(400), yen(100), yen(300)),
        (REFUND, sale.purchase_id, euro(-100), euro(-25), euro(-75)),
        (PAYOUT, failed.payout_id, nothing, nothing, euro(-675)),
        (PAYOUT_FAILED, failed.payout_id, nothing, nothing, euro(675)),
        (PAYOUT, arrived.payout_id, nothing, nothing, euro(-675)),
        (CHARGEBACK, sale.purchase_id, euro(-900), euro(-225), euro(-675)),
    ]
    assert [line.time for line in statement.lines] == [timestamp(moment) for moment in moments]
    assert list(statement.totals) == [
        settlement_pb2.StatementTotal(gross=euro(0), commission=euro(0), net=euro(-675)),
        settlement_pb2.StatementTotal(gross=yen(400), commission=yen(100), net=yen(300)),
    ]
    assert [total.net for total in statement.totals] == await seller.payable()
    # Of a part, the sums are of that part.
    part = await seller.statement(moments[2], moments[4])
    assert [line.kind for line in part.lines] == [REFUND, PAYOUT]
    assert list(part.totals) == [
        settlement_pb2.StatementTotal(gross=euro(-100), commission=euro(-25), net=euro(-750)),
    ]


async def test_lines_of_one_instant_keep_their_order(world: World) -> None:
    seller = await new_seller(world)
    for _ in range(5):
        await seller.sell(euro(100))
    await seller.pay_out()
    first = await seller.statement()
    assert len(first.lines) == 6
    assert [await seller.statement() for _ in range(3)] == [first] * 3


async def test_a_statement_that_is_too_long_asks_for_a_shorter_period(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "MOST_LINES", 3)
    seller = await new_seller(world)
    for _ in range(3):
        world.clock.move(TICK)
        await seller.sell(euro(100))
    assert len((await seller.statement()).lines) == 3
    world.clock.move(TICK)
    await seller.sell(euro(100))
    refusal = await refusal_of(seller.statement())
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["end_time"])
    assert "shorter" in refusal.message
    assert len((await seller.statement(None, world.clock.now)).lines) == 3


async def test_the_longest_statement_fits_into_a_message(own_world: World) -> None:
    seller = await new_seller(own_world)
    sale = await seller.sell(euro(100))
    account = f"provider_payable:{seller.id}"
    time = timestamp(own_world.clock.now).ToMicroseconds()
    sql = own_world.running.sql
    for thousand in range(settlement.MOST_LINES // 1_000):
        names = [f"refund:rfd_{'0' * 24}_{thousand:04}{number:020}" for number in range(1_000)]
        heads = ", ".join(f"('{it}', 'REFUND', '{seller.id}', '{sale.purchase_id}', {time})" for it in names)
        sql(f"INSERT INTO journal_entries (journal_entry_id, kind, provider_id, purchase_id, time) VALUES {heads}")
        share = ", ".join(f"('{it}', 1, '{account}', 'EUR', -{10**13 + 1})" for it in names)
        commission = ", ".join(f"('{it}', 2, 'commission', 'EUR', -{10**13 + 1})" for it in names)
        sql(
            "INSERT INTO journal_postings (journal_entry_id, line, money_account, currency, amount_minor_units)"
            f" VALUES {share}, {commission}"
        )
    refusal = await refusal_of(seller.statement())
    assert (refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", ["end_time"])
    sql("DELETE FROM journal_entries WHERE kind = 'SALE'")
    answer = await seller.statement()
    assert len(answer.lines) == settlement.MOST_LINES
    assert answer.ByteSize() < 3 * 1024 * 1024


async def test_providers_are_listed_by_their_ids(own_world: World) -> None:
    world = own_world
    made = sorted([world.provider.id, world.rival.id, *[(await world.new_provider()).id for _ in range(4)]])
    request = admin_pb2.ListProvidersRequest()
    for size in (1, 5, 6, 7, 0):
        request.page_size, request.page_token = size, ""
        found: list[str] = []
        while True:
            answer = await call(world.stubs.admin.ListProviders, request, world.running.operator_key)
            found += [it.provider_id for it in answer.providers]
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        assert found == made
    operator = world.running.operator_key
    await call(world.stubs.admin.SuspendProvider, admin_pb2.SuspendProviderRequest(provider_id=made[0]), operator)
    rate = admin_pb2.SetCommissionRequest(provider_id=made[1], commission_basis_points=0)
    await call(world.stubs.admin.SetCommission, rate, operator)
    request.page_token = ""
    listed = (await call(world.stubs.admin.ListProviders, request, operator)).providers
    assert [it.state for it in listed[:2]] == [admin_pb2.PROVIDER_STATE_SUSPENDED, admin_pb2.PROVIDER_STATE_ACTIVE]
    assert [it.HasField("commission_basis_points") for it in listed[:3]] == [False, True, False]
