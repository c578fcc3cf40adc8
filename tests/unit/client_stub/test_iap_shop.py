import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money
from iap.broker.v1 import catalog_pb2, purchase_pb2
from iap.broker.v1.purchase_pb2 import PurchaseState, SandboxOutcome

from client_stub.cli.money import format_money
from tests.unit.client_stub.command_line import Outcome, iap
from tests.unit.client_stub.scripted_server import ScriptedServer, serving

SERVICES, PACKS = "CatalogService.ListServices", "CatalogService.ListPacks"
CREATE, COMPLETE = "PurchaseService.CreatePurchase", "PurchaseService.CompleteSandboxPayment"
SMS = catalog_pb2.Service(service="sms", title="Text messages", unit_name="segment", trial_credits=3)
FAX = catalog_pb2.Service(service="fax", unit_name="page")
SMALL = catalog_pb2.Pack(
    pack_id="pck_small", service="sms", title="Small", credits=100, price=Money(currency_code="EUR", units=5)
)
LARGE = catalog_pb2.Pack(
    pack_id="pck_large",
    service="sms",
    title="Large",
    credits=1000,
    price=Money(currency_code="EUR", units=39, nanos=990_000_000),
    validity=Duration(seconds=365 * 86_400),
)


def packs(request: catalog_pb2.ListPacksRequest) -> catalog_pb2.ListPacksResponse:
    return catalog_pb2.ListPacksResponse(packs=[SMALL, LARGE] if request.service == "sms" else [])


def purchase(state: PurchaseState, gateway: str = "sandbox") -> purchase_pb2.Purchase:
    return purchase_pb2.Purchase(
        purchase_id="pur_1",
        account_id="acc_1",
        pack=SMALL,
        credits=100,
        price=SMALL.price,
        state=state,
        gateway=gateway,
    )


def created(checkout_url: str, gateway: str) -> purchase_pb2.CreatePurchaseResponse:
    return purchase_pb2.CreatePurchaseResponse(
        purchase=purchase(PurchaseState.PURCHASE_STATE_PENDING, gateway), checkout_url=checkout_url
    )


def completed(request: purchase_pb2.CompleteSandboxPaymentRequest) -> purchase_pb2.CompleteSandboxPaymentResponse:
    paid = request.outcome == SandboxOutcome.SANDBOX_OUTCOME_SUCCEEDED
    state = PurchaseState.PURCHASE_STATE_PAID if paid else PurchaseState.PURCHASE_STATE_FAILED
    return purchase_pb2.CompleteSandboxPaymentResponse(purchase=purchase(state))


def a_shop(checkout_url: str = "sandbox:pur_1", gateway: str = "sandbox") -> ScriptedServer:
    return ScriptedServer({CREATE: created(checkout_url, gateway), COMPLETE: completed})


async def buy(shop: ScriptedServer, *arguments: str, standard_input: str = "") -> Outcome:
    return await iap(
        "buy",
        "pck_small",
        *arguments,
        standard_input=standard_input,
        IAP_BROKER=shop.target,
        IAP_ACCOUNT_TOKEN="tok_secret",
    )


async def test_catalog_shows_services_packs_and_prices() -> None:
    script = ScriptedServer({SERVICES: catalog_pb2.ListServicesResponse(services=[FAX, SMS]), PACKS: packs})
    async with serving(script) as broker:
        outcome = await iap("catalog", IAP_BROKER=broker.target)
    assert outcome.exit_code == 0
    cells = [line.split() for line in outcome.output.splitlines()[2:]]
    assert cells == [
        ["fax", "page", "0", "–", "–", "–", "–", "–"],
        ["sms", "segment", "3", "pck_small", "Small", "100", "EUR", "5.00", "ever"],
        ["sms", "segment", "3", "pck_large", "Large", "1000", "EUR", "39.99", "365", "days"],
    ]


async def test_catalog_as_json_has_each_services_packs() -> None:
    script = ScriptedServer({SERVICES: catalog_pb2.ListServicesResponse(services=[FAX, SMS]), PACKS: packs})
    async with serving(script) as broker:
        outcome = await iap("catalog", "--json", "--broker", broker.target)
    fax, sms = outcome.document["services"]
    assert (fax["service"], fax["packs"]) == ("fax", [])
    assert sms["trial_credits"] == 3
    assert [pack["pack_id"] for pack in sms["packs"]] == ["pck_small", "pck_large"]
    assert sms["packs"][1]["price"] == {"currency_code": "EUR", "units": 39, "nanos": 990_000_000}
    assert sms["packs"][1]["validity"] == "31536000s"


async def test_an_empty_catalog_is_no_error() -> None:
    async with serving(ScriptedServer({SERVICES: catalog_pb2.ListServicesResponse()})) as broker:
        outcome = await iap("catalog", IAP_BROKER=broker.target)
    assert outcome.exit_code == 0
    assert "service" in outcome.output


@pytest.mark.parametrize("arguments", [["--pay"], ["--yes"], ["--pay", "--yes"]])
async def test_buy_pays_without_asking_when_told_so(arguments: list[str]) -> None:
    async with serving(a_shop()) as shop:
        outcome = await buy(shop, *arguments)
    assert outcome.exit_code == 0
    assert "Pay" not in outcome.errors + outcome.output
    rows = [line.split(maxsplit=1) for line in outcome.output.splitlines()]
    assert ["purchase", "pur_1"] in rows
    assert ["state", "paid"] in rows
    assert ["credits", "100"] in rows
    assert ["price", "EUR 5.00"] in rows
    (start,), (payment,) = shop.requests(CREATE), shop.requests(COMPLETE)
    assert (start.pack_id, start.account_token) == ("pck_small", "tok_secret")
    assert (payment.purchase_id, payment.outcome) == ("pur_1", SandboxOutcome.SANDBOX_OUTCOME_SUCCEEDED)
    assert payment.request_id == start.request_id


async def test_buy_asks_before_it_pays() -> None:
    async with serving(a_shop()) as shop:
        outcome = await buy(shop, standard_input="y\n")
    assert "Pay EUR 5.00 for 100 credits (Small)?" in outcome.errors
    assert "paid" in outcome.output
    assert len(shop.requests(COMPLETE)) == 1


async def test_buy_does_not_pay_when_the_answer_is_no() -> None:
    async with serving(a_shop()) as shop:
        outcome = await buy(shop, standard_input="n\n")
    assert outcome.exit_code == 0
    assert "pending" in outcome.output
    assert shop.requests(COMPLETE) == []


async def test_buy_without_an_answer_does_not_pay() -> None:
    async with serving(a_shop()) as shop:
        outcome = await buy(shop)
    assert outcome.exit_code == 130
    assert shop.requests(COMPLETE) == []


async def test_a_payment_can_be_made_to_fail() -> None:
    async with serving(a_shop()) as shop:
        outcome = await buy(shop, "--fail")
    assert outcome.exit_code == 0
    assert "failed" in outcome.output
    assert shop.requests(COMPLETE)[0].outcome == SandboxOutcome.SANDBOX_OUTCOME_FAILED


async def test_a_purchase_can_be_left_unpaid_and_says_how_to_pay_it_later() -> None:
    async with serving(a_shop()) as shop:
        outcome = await buy(shop, "--no-pay")
    request_id = shop.requests(CREATE)[0].request_id
    assert outcome.exit_code == 0
    assert "Not paid yet. To pay:" in outcome.output
    assert f"iap buy pck_small --pay --request-id {request_id}" in outcome.output
    assert shop.requests(COMPLETE) == []


async def test_a_checkout_page_of_a_gateway_is_where_to_pay_and_nothing_is_asked() -> None:
    async with serving(a_shop("https://pay.example/1", "stripe")) as shop:
        outcome = await buy(shop, "--pay")
    assert outcome.exit_code == 0
    assert outcome.output.endswith("\n\nPay at https://pay.example/1\n")
    assert shop.requests(COMPLETE) == []


async def test_a_repeated_purchase_that_is_paid_is_not_paid_again() -> None:
    replay = purchase_pb2.CreatePurchaseResponse(purchase=purchase(PurchaseState.PURCHASE_STATE_PAID), replayed=True)
    request_id = "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f"
    async with serving(ScriptedServer({CREATE: replay})) as shop:
        outcome = await buy(shop, "--pay", "--request-id", request_id)
    assert outcome.exit_code == 0
    assert "paid" in outcome.output
    assert shop.requests(CREATE)[0].request_id == request_id


async def test_buy_as_json_asks_on_standard_error() -> None:
    async with serving(a_shop()) as shop:
        outcome = await buy(shop, "--json", standard_input="y\n")
    document = outcome.document
    assert document["purchase"]["state"] == "PURCHASE_STATE_PAID"
    assert document["purchase"]["credits"] == 100
    assert document["checkout_url"] == ""


async def test_buy_for_an_account_by_its_id() -> None:
    async with serving(a_shop()) as shop:
        outcome = await iap(
            "buy",
            "pck_small",
            "--pay",
            "--account-id",
            "acc_1",
            IAP_BROKER=shop.target,
            IAP_CUSTOMER_KEY="key_1",
        )
    assert outcome.exit_code == 0
    assert shop.calls[0].request.account_id == "acc_1"
    assert shop.calls[0].metadata["authorization"] == "Bearer key_1"


@pytest.mark.parametrize(
    ("currency_code", "units", "nanos", "expected"),
    [
        ("EUR", 5, 0, "EUR 5.00"),
        ("EUR", 0, 10_000_000, "EUR 0.01"),
        ("EUR", 39, 990_000_000, "EUR 39.99"),
        ("EUR", 1, 500_000_000, "EUR 1.50"),
        ("EUR", 0, 1, "EUR 0.000000001"),
        ("EUR", -1, -250_000_000, "EUR -1.25"),
        ("EUR", 0, -250_000_000, "EUR -0.25"),
        ("EUR", 9_007_199_254_740_993, 10_000_000, "EUR 9007199254740993.01"),
        ("JPY", 500, 0, "JPY 500"),
        ("JPY", 500, 500_000_000, "JPY 500.5"),
        ("KWD", 1, 5_000_000, "KWD 1.005"),
        ("KWD", 10, 0, "KWD 10.000"),
        ("XAU", -9_223_372_036_854_775_808, -1, "XAU -9223372036854775808.000000001"),
        ("USD", 100, 0, "USD 100.00"),
    ],
)
def test_money_is_exact(currency_code: str, units: int, nanos: int, expected: str) -> None:
    assert format_money(Money(currency_code=currency_code, units=units, nanos=nanos)) == expected
