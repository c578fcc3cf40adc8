"""`iap provider` and `iap statement --provider`."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from google.type.money_pb2 import Money
from iap.broker.v1 import admin_pb2, catalog_pb2, purchase_pb2, settlement_pb2

from tests.unit.client_stub.command_line import Outcome, iap
from tests.unit.client_stub.scripted_server import Answer, ScriptedServer, refusal, serving

REGISTER = "AdminService.RegisterProvider"
SERVICE, PACK, ARCHIVE = (f"CatalogService.{name}" for name in ("CreateService", "CreatePack", "ArchivePack"))
BALANCE, SALES, STATEMENT, PAYOUTS = (
    f"SettlementService.{name}" for name in ("GetProviderBalance", "ListSales", "GetStatement", "ListPayouts")
)
ID = "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def euro(cents: int) -> Money:
    sign = -1 if cents < 0 else 1
    return Money(currency_code="EUR", units=sign * (abs(cents) // 100), nanos=sign * (abs(cents) % 100) * 10_000_000)


def yen(units: int) -> Money:
    return Money(currency_code="JPY", units=units)


def line(kind: str, reference: str, gross: Money, commission: Money, net: Money) -> settlement_pb2.StatementLine:
    return settlement_pb2.StatementLine(
        time=NOON,
        kind=f"STATEMENT_LINE_KIND_{kind}",
        reference=reference,
        gross=gross,
        commission=commission,
        net=net,
    )


def total(gross: Money, commission: Money, net: Money) -> settlement_pb2.StatementTotal:
    return settlement_pb2.StatementTotal(gross=gross, commission=commission, net=net)


SOLD = line("SALE", "pur_1", euro(1_000), euro(250), euro(750))
SOLD_FOR_YEN = line("SALE", "=2+3", yen(400), yen(100), yen(300))
PAID_OUT = line("PAYOUT", "pay_1", euro(0), euro(0), euro(-750))
SALE = settlement_pb2.Sale(
    purchase_id="pur_1",
    service="sms",
    pack_id="pck_1",
    credits=100,
    price=euro(1_000),
    commission=euro(250),
    provider_share=euro(750),
    state=purchase_pb2.PURCHASE_STATE_PARTIALLY_REFUNDED,
    pay_time=NOON,
)
PAYOUT = settlement_pb2.Payout(
    payout_id="pay_1",
    provider_id="prv_1",
    amount=euro(750),
    state=settlement_pb2.PAYOUT_STATE_PAID,
    create_time=NOON,
    resolve_time=NOON + timedelta(days=1),
    reference="+49 SEPA",
)


async def as_provider(broker: ScriptedServer, *arguments: str) -> Outcome:
    return await iap(*arguments, IAP_BROKER=broker.target, IAP_PROVIDER_KEY="key_provider", IAP_PROVIDER_ID="prv_1")


def keys_of(broker: ScriptedServer) -> set[str]:
    return {call.metadata["authorization"] for call in broker.calls}


def read_csv(output: str) -> list[list[str]]:
    assert output.count("\r\n") == output.count("\n"), "line ends are those of RFC 4180"
    return list(csv.reader(io.StringIO(output, newline="")))


async def test_register_prints_the_key_once_and_how_to_use_it() -> None:
    answer = admin_pb2.RegisterProviderResponse(
        provider=admin_pb2.Provider(provider_id="prv_1", name="You"), provider_key="secret"
    )
    async with serving(ScriptedServer({REGISTER: answer})) as broker:
        outcome = await iap(
            *("provider", "register", "You", "--commission-basis-points", "0", "--request-id", ID),
            IAP_BROKER=broker.target,
            IAP_OPERATOR_KEY="key_operator",
        )
    assert outcome.exit_code == 0
    assert "export IAP_PROVIDER_ID=prv_1 IAP_PROVIDER_KEY=secret" in outcome.output
    assert broker.calls[0].request == admin_pb2.RegisterProviderRequest(
        request_id=ID, name="You", commission_basis_points=0
    )
    assert keys_of(broker) == {"Bearer key_operator"}


async def test_register_again_says_that_the_key_was_shown() -> None:
    answer = admin_pb2.RegisterProviderResponse(provider=admin_pb2.Provider(provider_id="prv_1"), replayed=True)
    async with serving(ScriptedServer({REGISTER: answer})) as broker:
        outcome = await iap("provider", "register", "You", "--broker", broker.target, "--operator-key", "k")
    assert "registered before" in outcome.output
    assert "export" not in outcome.output


async def test_a_service_and_a_pack_are_published() -> None:
    made = catalog_pb2.CreateServiceResponse(service=catalog_pb2.Service(service="sms", title="Texts"))
    pack = catalog_pb2.CreatePackResponse(
        pack=catalog_pb2.Pack(pack_id="pck_1", service="sms", title="Small", credits=100, price=yen(500))
    )
    archived = catalog_pb2.ArchivePackResponse(pack=pack.pack)
    async with serving(ScriptedServer({SERVICE: made, PACK: pack, ARCHIVE: archived})) as broker:
        published = await as_provider(
            broker,
            *("provider", "service", "sms", "--title", "Texts", "--unit-name", "segment", "--trial-credits", "3"),
            *("--default-ttl", "60", "--request-id", ID),
        )
        on_sale = await as_provider(
            broker,
            *("provider", "pack", "sms", "--title", "Small", "--credits", "100", "--price", "JPY=500"),
            *("--valid-days", "30", "--request-id", ID),
        )
        off_sale = await as_provider(broker, "provider", "archive", "pck_1")
    assert [it.exit_code for it in (published, on_sale, off_sale)] == [0, 0, 0]
    assert "JPY 500\n" in on_sale.output
    assert off_sale.output == "pck_1 is no longer on sale\n"
    assert [call.request for call in broker.calls] == [
        catalog_pb2.CreateServiceRequest(
            request_id=ID,
            service="sms",
            title="Texts",
            unit_name="segment",
            trial_credits=3,
            default_ttl=timedelta(seconds=60),
        ),
        catalog_pb2.CreatePackRequest(
            request_id=ID, service="sms", title="Small", credits=100, price=yen(500), validity=timedelta(days=30)
        ),
        catalog_pb2.ArchivePackRequest(pack_id="pck_1"),
    ]
    assert keys_of(broker) == {"Bearer key_provider"}


@pytest.mark.parametrize("price", ["5", "EUR=0.001", "EUR=-5"])
async def test_a_price_that_is_none_is_named(price: str) -> None:
    outcome = await iap("provider", "pack", "sms", "--title", "T", "--credits", "1", "--price", price)
    assert outcome.exit_code == 2
    assert "--price" in outcome.errors


async def test_the_balance_has_each_currency_s_decimals() -> None:
    answer = settlement_pb2.GetProviderBalanceResponse(
        payable=[euro(-75), yen(300)], sales=[euro(1_000), yen(400)], commission=[euro(250), yen(100)]
    )
    async with serving(ScriptedServer({BALANCE: answer})) as broker:
        outcome = await as_provider(broker, "provider", "balance")
    cells = [row.split() for row in outcome.output.splitlines()[2:]]
    assert cells == [["EUR", "-0.75", "10.00", "2.50"], ["JPY", "300", "400", "100"]]
    assert broker.calls[0].request.provider_id == "prv_1"


async def test_sales_are_listed_for_people_programs_and_spreadsheets() -> None:
    pages = [
        settlement_pb2.ListSalesResponse(sales=[SALE], next_page_token="two"),
        settlement_pb2.ListSalesResponse(sales=[SALE]),
    ]
    period = ("--start", "2026-01-01", "--end", "2026-02-01T01:00:00+01:00")
    outcomes = []
    for options in ((), ("--json",), ("--csv",)):
        async with serving(ScriptedServer({SALES: list(pages)})) as broker:
            outcomes.append(await as_provider(broker, "provider", "sales", *period, *options))
    table, document, sheet = outcomes
    assert "2026-01-31 12:00:00  pur_1" in table.output
    assert "partially refunded" in table.output
    assert [sale["price"]["units"] for sale in document.document["sales"]] == [10, 10]
    header, *rows = read_csv(sheet.output)
    assert ",".join(header) == (
        "pay_time,purchase_id,service,pack_id,credits,currency,price,commission,provider_share,state"
    )
    row = ["2026-01-31T12:00:00Z", "pur_1", "sms", "pck_1", "100", "EUR", "10.00", "2.50", "7.50"]
    assert rows == [[*row, "partially_refunded"]] * 2
    request = broker.calls[0].request
    assert request.start_time == Timestamp(seconds=1_767_225_600)
    assert request.end_time == Timestamp(seconds=1_769_904_000)


async def test_payouts_are_listed_for_people_and_spreadsheets() -> None:
    answer = settlement_pb2.ListPayoutsResponse(payouts=[PAYOUT])
    async with serving(ScriptedServer({PAYOUTS: answer})) as broker:
        table = await as_provider(broker, "provider", "payouts")
        sheet = await as_provider(broker, "provider", "payouts", "--csv")
    assert "EUR 7.50" in table.output
    assert read_csv(sheet.output) == [
        ["create_time", "payout_id", "currency", "amount", "state", "resolve_time", "reference"],
        ["2026-01-31T12:00:00Z", "pay_1", "EUR", "7.50", "paid", "2026-02-01T12:00:00Z", "'+49 SEPA"],
    ]


@pytest.mark.parametrize("command", [("provider", "statement"), ("statement", "--provider", "prv_1")])
async def test_a_statement_has_lines_and_their_sums(command: tuple[str, ...]) -> None:
    answer = settlement_pb2.GetStatementResponse(
        lines=[SOLD, SOLD_FOR_YEN, PAID_OUT],
        totals=[total(euro(1_000), euro(250), euro(0)), total(yen(400), yen(100), yen(300))],
    )
    async with serving(ScriptedServer({STATEMENT: answer})) as broker:
        period = ("--start", "2026-01-01", "--end", "2026-02-01")
        table = await as_provider(broker, *command, *period)
        sheet = await as_provider(broker, *command, *period, "--csv")
        document = await as_provider(broker, *command, *period, "--json")
    assert table.output.splitlines()[-1] == "3 lines, together EUR 0.00, JPY 300"
    assert "EUR -7.50" in table.output
    assert read_csv(sheet.output) == [
        ["time", "kind", "reference", "currency", "gross", "commission", "net"],
        ["2026-01-31T12:00:00Z", "sale", "pur_1", "EUR", "10.00", "2.50", "7.50"],
        ["2026-01-31T12:00:00Z", "sale", "'=2+3", "JPY", "400", "100", "300"],
        ["2026-01-31T12:00:00Z", "payout", "pay_1", "EUR", "0.00", "0.00", "-7.50"],
    ]
    assert [it["kind"] for it in document.document["lines"]][2] == "STATEMENT_LINE_KIND_PAYOUT"
    assert len(document.document["totals"]) == 2
    assert {call.request.provider_id for call in broker.calls} == {"prv_1"}
    assert keys_of(broker) == {"Bearer key_provider"}


async def test_a_statement_that_is_too_long_is_asked_for_in_pieces() -> None:
    sold_at = [NOON + timedelta(hours=number) for number in range(8)]

    def answer(request: Any) -> Answer:
        """At most two lines in an answer."""
        start, end = (it.ToDatetime(tzinfo=UTC) for it in (request.start_time, request.end_time))
        found = [time for time in sold_at if start <= time < end]
        if len(found) > 2:
            violation = error_details_pb2.BadRequest(field_violations=[{"field": "end_time", "description": "shorter"}])
            refused: Answer = refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "too long", violation)
            return refused
        lines = [settlement_pb2.StatementLine(time=time, net=euro(1), gross=euro(1)) for time in found]
        totals = [total(euro(len(found)), euro(0), euro(len(found)))] if found else []
        return settlement_pb2.GetStatementResponse(lines=lines, totals=totals)

    async with serving(ScriptedServer({STATEMENT: answer})) as broker:
        document = await as_provider(broker, "provider", "statement", "--end", "2026-03-01", "--json")
        sheet = await as_provider(broker, "provider", "statement", "--end", "2026-03-01", "--csv")
    times = [it["time"] for it in document.document["lines"]]
    assert times == [time.isoformat().replace("+00:00", "Z") for time in sold_at]
    (sums,) = document.document["totals"]
    assert (sums["net"]["units"], sums["net"]["nanos"]) == (0, 80_000_000)
    assert [row[0] for row in read_csv(sheet.output)[1:]] == times


async def test_a_statement_that_cannot_be_divided_says_why() -> None:
    violation = error_details_pb2.BadRequest(field_violations=[{"field": "end_time", "description": "shorter"}])
    answer = refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "too long", violation)
    async with serving(ScriptedServer({STATEMENT: answer})) as broker:
        period = ("--start", "2026-01-01T00:00:00", "--end", "2026-01-01T00:00:00.000002")
        outcome = await as_provider(broker, "provider", "statement", *period)
    assert outcome.exit_code == 1
    assert "end_time: shorter" in outcome.errors
    assert len(broker.calls) == 2


async def test_the_operator_s_key_shows_figures_too() -> None:
    async with serving(ScriptedServer({BALANCE: settlement_pb2.GetProviderBalanceResponse()})) as broker:
        outcome = await iap(
            *("provider", "balance", "--provider-id", "prv_2"),
            IAP_BROKER=broker.target,
            IAP_OPERATOR_KEY="key_operator",
        )
    assert outcome.exit_code == 0
    assert keys_of(broker) == {"Bearer key_operator"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["provider", "balance"], ["--provider-id", "IAP_PROVIDER_ID"]),
        (["provider", "balance", "--provider-id", "p"], ["IAP_PROVIDER_KEY", "IAP_OPERATOR_KEY"]),
        (["provider", "register", "You"], ["IAP_OPERATOR_KEY"]),
        (["provider", "service", "sms", "--title", "T"], ["IAP_PROVIDER_KEY"]),
        (["provider", "statement", "--provider-id", "p", "--csv", "--json"], ["either --csv or --json"]),
        (["provider", "sales", "--provider-id", "p", "--csv", "--json"], ["either --csv or --json"]),
        (["provider", "payouts", "--provider-id", "p", "--provider-key", "k", "--csv", "--json"], ["either --csv"]),
        (["statement", "--csv"], ["--csv goes with --provider"]),
        (["provider", "sales", "--provider-id", "p", "--start", "soon"], ["'soon' is no time"]),
    ],
)
async def test_what_is_missing_or_wrong_is_named(arguments: list[str], words: list[str]) -> None:
    outcome = await iap(*arguments)
    assert outcome.exit_code == 2
    assert outcome.output == ""
    for word in words:
        assert word in outcome.errors
