from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.message import Message
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, purchase_pb2, settlement_pb2
from iap.provider.v1 import provider_pb2

from client_stub.accounts import AccountClient
from client_stub.admin import AdminClient
from client_stub.broker import BrokerClient
from client_stub.catalog import CatalogClient
from client_stub.provider import ProviderClient
from client_stub.purchases import PurchaseClient
from client_stub.service_client import ServiceClient
from client_stub.settlement import SettlementClient
from client_stub.structs import to_struct
from tests.unit.client_stub.scripted_server import Script, ScriptedServer, serving

Client = TypeVar("Client", bound=ServiceClient)
ID = "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f"


@asynccontextmanager
async def connected(client_class: type[Client], **answers: Script) -> AsyncIterator[tuple[Client, ScriptedServer]]:
    service = client_class.__name__.removesuffix("Client")
    script = ScriptedServer({f"{service}Service.{method}": answer for method, answer in answers.items()})
    async with serving(script) as server, client_class.connect(server.target, key="key") as client:
        yield client, server


def only_request(server: ScriptedServer) -> Message:
    (call,) = server.calls
    request: Message = call.request
    return request


async def collect(items: AsyncIterator[Message]) -> list[Message]:
    return [item async for item in items]


def without_tokens(requests: Iterable[Message]) -> list[Message]:
    """The requests for pages, apart from their page tokens."""
    copies = []
    for request in requests:
        copy = type(request)()
        copy.CopyFrom(request)
        copy.ClearField("page_token")
        copies.append(copy)
    return copies


async def test_reserve() -> None:
    response = broker_pb2.ReserveResponse(reservation={"reservation_id": "rsv_1"})
    async with connected(BrokerClient, Reserve=response) as (broker, server):
        received = await broker.reserve(
            account_token="token",
            credits=5,
            ttl=timedelta(seconds=90),
            description="words",
            metadata={"a": "b"},
            request_id=ID,
        )
    assert received == response
    assert only_request(server) == broker_pb2.ReserveRequest(
        request_id=ID,
        account_token="token",
        credits=5,
        ttl=timedelta(seconds=90),
        description="words",
        metadata={"a": "b"},
    )


async def test_reserve_leaves_the_ttl_to_the_service() -> None:
    async with connected(BrokerClient, Reserve=broker_pb2.ReserveResponse()) as (broker, server):
        await broker.reserve(account_token="token", credits=5, request_id=ID)
    assert not only_request(server).HasField("ttl")


async def test_capture_tells_nothing_from_all() -> None:
    async with connected(BrokerClient, Capture=broker_pb2.CaptureResponse()) as (broker, server):
        await broker.capture(reservation_id="rsv_1", request_id=ID)
        await broker.capture(reservation_id="rsv_1", credits=0, keep_open=True, request_id=ID)
    everything, nothing = server.requests("BrokerService.Capture")
    assert everything == broker_pb2.CaptureRequest(request_id=ID, reservation_id="rsv_1")
    assert nothing == broker_pb2.CaptureRequest(request_id=ID, reservation_id="rsv_1", credits=0, keep_open=True)


async def test_release() -> None:
    async with connected(BrokerClient, Release=broker_pb2.ReleaseResponse()) as (broker, server):
        await broker.release(reservation_id="rsv_1", reason="failed", request_id=ID)
    assert only_request(server) == broker_pb2.ReleaseRequest(request_id=ID, reservation_id="rsv_1", reason="failed")


async def test_extend() -> None:
    async with connected(BrokerClient, Extend=broker_pb2.ExtendResponse()) as (broker, server):
        await broker.extend(reservation_id="rsv_1", ttl=timedelta(minutes=1), additional_credits=2, request_id=ID)
    assert only_request(server) == broker_pb2.ExtendRequest(
        request_id=ID, reservation_id="rsv_1", ttl=timedelta(minutes=1), additional_credits=2
    )


async def test_charge() -> None:
    async with connected(BrokerClient, Charge=broker_pb2.ChargeResponse()) as (broker, server):
        await broker.charge(account_token="token", credits=5, description="words", metadata={"a": "b"}, request_id=ID)
    assert only_request(server) == broker_pb2.ChargeRequest(
        request_id=ID, account_token="token", credits=5, description="words", metadata={"a": "b"}
    )


async def test_refund() -> None:
    async with connected(BrokerClient, Refund=broker_pb2.RefundResponse()) as (broker, server):
        await broker.refund(reservation_id="rsv_1", credits=2, reason="sorry", request_id=ID)
    assert only_request(server) == broker_pb2.RefundRequest(
        request_id=ID, reservation_id="rsv_1", credits=2, reason="sorry"
    )


async def test_check_credits() -> None:
    response = broker_pb2.CheckCreditsResponse(sufficient=True)
    async with connected(BrokerClient, CheckCredits=response) as (broker, server):
        assert (await broker.check_credits(account_token="token", credits=5)).sufficient
    assert only_request(server) == broker_pb2.CheckCreditsRequest(account_token="token", credits=5)


async def test_get_reservation_by_id_or_by_request() -> None:
    async with connected(BrokerClient, GetReservation=broker_pb2.GetReservationResponse()) as (broker, server):
        await broker.get_reservation(reservation_id="rsv_1")
        await broker.get_reservation(request_id=ID, account_token="token")
    assert server.requests("BrokerService.GetReservation") == [
        broker_pb2.GetReservationRequest(reservation_id="rsv_1"),
        broker_pb2.GetReservationRequest(request_id=ID, account_token="token"),
    ]


async def test_list_reservations_reads_all_pages() -> None:
    pages = [
        broker_pb2.ListReservationsResponse(
            reservations=[{"reservation_id": "1"}, {"reservation_id": "2"}], next_page_token="two"
        ),
        broker_pb2.ListReservationsResponse(next_page_token="three"),
        broker_pb2.ListReservationsResponse(reservations=[{"reservation_id": "3"}]),
    ]
    state = broker_pb2.ReservationState.RESERVATION_STATE_ACTIVE
    async with connected(BrokerClient, ListReservations=pages) as (broker, server):
        listed = broker.list_reservations(account_token="token", state=state, page_size=2)
        assert [reservation.reservation_id async for reservation in listed] == ["1", "2", "3"]
    requests = server.requests("BrokerService.ListReservations")
    assert [request.page_token for request in requests] == ["", "two", "three"]
    expected = broker_pb2.ListReservationsRequest(account_token="token", state=state, page_size=2)
    assert without_tokens(requests) == [expected] * 3


async def test_a_page_is_fetched_when_it_is_needed() -> None:
    pages = [
        catalog_pb2.ListServicesResponse(services=[{"service": "sms"}], next_page_token="two"),
        catalog_pb2.ListServicesResponse(services=[{"service": "fax"}]),
    ]
    async with connected(CatalogClient, ListServices=pages) as (catalog, server):
        async for service in catalog.list_services():
            assert service.service == "sms"
            break
    assert len(server.calls) == 1


async def test_open_account() -> None:
    response = account_pb2.OpenAccountResponse(account_token="secret")
    async with connected(AccountClient, OpenAccount=response) as (accounts, server):
        assert (await accounts.open_account(service="sms", request_id=ID)).account_token == "secret"
    assert only_request(server) == account_pb2.OpenAccountRequest(request_id=ID, service="sms")


async def test_get_balance_by_id_or_by_token() -> None:
    async with connected(AccountClient, GetBalance=account_pb2.GetBalanceResponse()) as (accounts, server):
        await accounts.get_balance(account_id="acc_1")
        await accounts.get_balance(account_token="token")
    assert server.requests("AccountService.GetBalance") == [
        account_pb2.GetBalanceRequest(account_id="acc_1"),
        account_pb2.GetBalanceRequest(account_token="token"),
    ]


async def test_list_entries_of_a_time() -> None:
    start, end = datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    page = account_pb2.ListEntriesResponse(entries=[{"entry_id": "ent_1"}])
    async with connected(AccountClient, ListEntries=page) as (accounts, server):
        listed = accounts.list_entries(account_token="token", start_time=start, end_time=end, page_size=7)
        assert await collect(listed) == [account_pb2.Entry(entry_id="ent_1")]
    assert only_request(server) == account_pb2.ListEntriesRequest(
        account_token="token", start_time=start, end_time=end, page_size=7
    )


async def test_the_catalogue_is_read() -> None:
    service = catalog_pb2.Service(service="sms")
    pack = catalog_pb2.Pack(pack_id="pck_1")
    async with connected(
        CatalogClient,
        GetService=catalog_pb2.GetServiceResponse(service=service),
        ListServices=catalog_pb2.ListServicesResponse(services=[service]),
        ListPacks=catalog_pb2.ListPacksResponse(packs=[pack]),
    ) as (catalog, server):
        assert (await catalog.get_service(service="sms")).service == service
        assert await collect(catalog.list_services()) == [service]
        assert await collect(catalog.list_packs(service="sms", page_size=5)) == [pack]
    assert [call.request for call in server.calls] == [
        catalog_pb2.GetServiceRequest(service="sms"),
        catalog_pb2.ListServicesRequest(page_size=1000),
        catalog_pb2.ListPacksRequest(service="sms", page_size=5),
    ]


async def test_the_catalogue_is_written() -> None:
    price = Money(currency_code="EUR", units=5)
    async with connected(
        CatalogClient,
        CreateService=catalog_pb2.CreateServiceResponse(),
        CreatePack=catalog_pb2.CreatePackResponse(),
        ArchivePack=catalog_pb2.ArchivePackResponse(),
    ) as (catalog, server):
        await catalog.create_service(
            service="sms",
            title="SMS",
            description="words",
            unit_name="segment",
            trial_credits=3,
            default_ttl=timedelta(minutes=1),
            max_ttl=timedelta(hours=1),
            request_id=ID,
        )
        await catalog.create_pack(
            service="sms", title="Small", credits=100, price=price, validity=timedelta(days=365), request_id=ID
        )
        await catalog.archive_pack(pack_id="pck_1")
    assert [call.request for call in server.calls] == [
        catalog_pb2.CreateServiceRequest(
            request_id=ID,
            service="sms",
            title="SMS",
            description="words",
            unit_name="segment",
            trial_credits=3,
            default_ttl=timedelta(minutes=1),
            max_ttl=timedelta(hours=1),
        ),
        catalog_pb2.CreatePackRequest(
            request_id=ID, service="sms", title="Small", credits=100, price=price, validity=timedelta(days=365)
        ),
        catalog_pb2.ArchivePackRequest(pack_id="pck_1"),
    ]


async def test_list_purchases_page_by_page() -> None:
    def page(request: purchase_pb2.ListPurchasesRequest) -> purchase_pb2.ListPurchasesResponse:
        purchase = purchase_pb2.Purchase(purchase_id=f"pur_{len(request.page_token)}")
        return purchase_pb2.ListPurchasesResponse(
            purchases=[purchase], next_page_token="" if request.page_token else "x"
        )

    async with connected(PurchaseClient, ListPurchases=page) as (purchases, server):
        listed = [it.purchase_id async for it in purchases.list_purchases(account_token="token", page_size=1)]
    assert listed == ["pur_0", "pur_1"]
    assert (
        without_tokens(call.request for call in server.calls)
        == [purchase_pb2.ListPurchasesRequest(account_token="token", page_size=1)] * 2
    )


async def test_a_purchase_from_start_to_payment() -> None:
    failed = purchase_pb2.SandboxOutcome.SANDBOX_OUTCOME_FAILED
    succeeded = purchase_pb2.SandboxOutcome.SANDBOX_OUTCOME_SUCCEEDED
    async with connected(
        PurchaseClient,
        CreatePurchase=purchase_pb2.CreatePurchaseResponse(),
        GetPurchase=purchase_pb2.GetPurchaseResponse(),
        CompleteSandboxPayment=purchase_pb2.CompleteSandboxPaymentResponse(),
    ) as (purchases, server):
        await purchases.create_purchase(
            pack_id="pck_1", account_id="acc_1", return_url="https://shop.example", request_id=ID
        )
        await purchases.get_purchase(purchase_id="pur_1", account_token="token")
        await purchases.complete_sandbox_payment(purchase_id="pur_1", request_id=ID)
        await purchases.complete_sandbox_payment(purchase_id="pur_1", outcome=failed, request_id=ID)
    assert [call.request for call in server.calls] == [
        purchase_pb2.CreatePurchaseRequest(
            request_id=ID, pack_id="pck_1", account_id="acc_1", return_url="https://shop.example"
        ),
        purchase_pb2.GetPurchaseRequest(purchase_id="pur_1", account_token="token"),
        purchase_pb2.CompleteSandboxPaymentRequest(request_id=ID, purchase_id="pur_1", outcome=succeeded),
        purchase_pb2.CompleteSandboxPaymentRequest(request_id=ID, purchase_id="pur_1", outcome=failed),
    ]


async def test_the_operator_registers_parties() -> None:
    async with connected(
        AdminClient,
        RegisterProvider=admin_pb2.RegisterProviderResponse(provider_key="secret"),
        RegisterCustomer=admin_pb2.RegisterCustomerResponse(customer_key="secret"),
    ) as (admin, server):
        await admin.register_provider(name="P", commission_basis_points=0, request_id=ID)
        await admin.register_provider(name="P", request_id=ID)
        await admin.register_customer(name="C", email="c@example.com", request_id=ID)
    assert [call.request for call in server.calls] == [
        admin_pb2.RegisterProviderRequest(request_id=ID, name="P", commission_basis_points=0),
        admin_pb2.RegisterProviderRequest(request_id=ID, name="P"),
        admin_pb2.RegisterCustomerRequest(request_id=ID, name="C", email="c@example.com"),
    ]


async def test_a_service_is_used() -> None:
    service_input = {"to": "+4930123", "copies": 2}
    async with connected(
        ProviderClient,
        ServeRequest=provider_pb2.ServeRequestResponse(charged_credits=2),
        Quote=provider_pb2.QuoteResponse(credits=2),
        ListServices=provider_pb2.ListServicesResponse(services=[{"service": "sms"}]),
    ) as (provider, server):
        served = await provider.serve(service="sms", input=service_input, account_token="token", request_id=ID)
        quoted = await provider.quote(service="sms", input=service_input)
        listed = await provider.list_services()
    assert (served.charged_credits, quoted.credits, listed.services[0].service) == (2, 2, "sms")
    assert [call.request for call in server.calls] == [
        provider_pb2.ServeRequestRequest(
            request_id=ID, service="sms", account_token="token", input=to_struct(service_input)
        ),
        provider_pb2.QuoteRequest(service="sms", input=to_struct(service_input)),
        provider_pb2.ListServicesRequest(),
    ]


async def test_a_refund_is_asked_for() -> None:
    async with connected(PurchaseClient, RefundPurchase=purchase_pb2.RefundPurchaseResponse()) as (purchases, server):
        await purchases.refund_purchase(purchase_id="pur_1", reason="sorry", request_id=ID)
    assert only_request(server) == purchase_pb2.RefundPurchaseRequest(
        request_id=ID, purchase_id="pur_1", reason="sorry"
    )


async def test_the_operator_lists_page_by_page() -> None:
    async with connected(
        AdminClient,
        ListProviders=[
            admin_pb2.ListProvidersResponse(providers=[{"provider_id": "prv_1"}], next_page_token="two"),
            admin_pb2.ListProvidersResponse(providers=[{"provider_id": "prv_2"}]),
        ],
        ListKeys=admin_pb2.ListKeysResponse(keys=[{"key_id": "key_1"}]),
        ListPaymentNotices=admin_pb2.ListPaymentNoticesResponse(notices=[{"notice_id": "ntc_1"}]),
        ListOwedRefunds=admin_pb2.ListOwedRefundsResponse(refunds=[{"refund_id": "rfd_1"}]),
    ) as (admin, server):
        assert [it.provider_id async for it in admin.list_providers(page_size=1)] == ["prv_1", "prv_2"]
        assert [it.key_id async for it in admin.list_keys(operator=True)] == ["key_1"]
        assert [it.notice_id async for it in admin.list_payment_notices(purchase_id="pur_1")] == ["ntc_1"]
        assert [it.refund_id async for it in admin.list_owed_refunds()] == ["rfd_1"]
    assert without_tokens(call.request for call in server.calls) == [
        admin_pb2.ListProvidersRequest(page_size=1),
        admin_pb2.ListProvidersRequest(page_size=1),
        admin_pb2.ListKeysRequest(operator=True, page_size=1000),
        admin_pb2.ListPaymentNoticesRequest(purchase_id="pur_1", page_size=1000),
        admin_pb2.ListOwedRefundsRequest(page_size=1000),
    ]


async def test_a_customer_is_paid_otherwise() -> None:
    answer = admin_pb2.MarkRefundPaidResponse(replayed=True)
    async with connected(AdminClient, MarkRefundPaid=answer) as (admin, server):
        assert (await admin.mark_refund_paid(refund_id="rfd_1", reference="17", request_id=ID)).replayed
    (sent,) = server.calls
    assert sent.request == admin_pb2.MarkRefundPaidRequest(request_id=ID, refund_id="rfd_1", reference="17")


async def test_a_provider_is_paid() -> None:
    async with connected(
        SettlementClient,
        CreatePayout=settlement_pb2.CreatePayoutResponse(replayed=True),
        MarkPayoutPaid=settlement_pb2.MarkPayoutPaidResponse(),
        MarkPayoutFailed=settlement_pb2.MarkPayoutFailedResponse(),
        GetProviderBalance=settlement_pb2.GetProviderBalanceResponse(payable=[{"units": 1}]),
        ListPayouts=settlement_pb2.ListPayoutsResponse(payouts=[{"payout_id": "pay_1"}]),
    ) as (settlement, server):
        assert (await settlement.create_payout(provider_id="prv_1", currency="EUR", request_id=ID)).replayed
        await settlement.mark_payout_paid(payout_id="pay_1", reference="17", request_id=ID)
        await settlement.mark_payout_failed(payout_id="pay_1", reason="closed", request_id=ID)
        assert (await settlement.get_provider_balance(provider_id="prv_1")).payable[0].units == 1
        assert [it.payout_id async for it in settlement.list_payouts(provider_id="prv_1", page_size=2)] == ["pay_1"]
    assert [call.request for call in server.calls] == [
        settlement_pb2.CreatePayoutRequest(request_id=ID, provider_id="prv_1", currency="EUR"),
        settlement_pb2.MarkPayoutPaidRequest(request_id=ID, payout_id="pay_1", reference="17"),
        settlement_pb2.MarkPayoutFailedRequest(request_id=ID, payout_id="pay_1", reason="closed"),
        settlement_pb2.GetProviderBalanceRequest(provider_id="prv_1"),
        settlement_pb2.ListPayoutsRequest(provider_id="prv_1", page_size=2),
    ]
