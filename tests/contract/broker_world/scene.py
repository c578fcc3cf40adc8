"""One valid request for every RPC that is built, so that tests can spoil one thing at a time."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, event_pb2, purchase_pb2, settlement_pb2

from tests.contract.broker_world.refusals import Refusal, refusal_of
from tests.contract.broker_world.world import Account, Amounts, World, new_id, new_name

PROVIDER_RPCS = (
    "Reserve",
    "Capture",
    "Release",
    "Extend",
    "Charge",
    "Refund",
    "CheckCredits",
    "GetReservation",
    "ListReservations",
    "CreateService",
    "UpdateService",
    "CreatePack",
    "ArchivePack",
)
# A provider's, a customer's or an operator's.
ANY_KEY_RPCS = ("ListEvents", "WatchEvents", "CreateWebhook", "ListWebhooks", "DeleteWebhook")
CUSTOMER_RPCS = ("OpenAccount", "RotateAccountToken", "SetLowBalanceAlert", "SetAutoTopUp", "GetAutoTopUp")
OPERATOR_RPCS = (
    "RegisterProvider",
    "RegisterCustomer",
    "IssueKey",
    "RevokeKey",
    "ListKeys",
    "GrantCredits",
    "SuspendAccount",
    "ResumeAccount",
    "SuspendProvider",
    "ResumeProvider",
    "SetCommission",
    "AuditLedger",
    "ListProviders",
    "CreatePayout",
    "MarkPayoutPaid",
    "MarkPayoutFailed",
    "ListPaymentNotices",
    "ListOwedRefunds",
    "MarkRefundPaid",
)
# With the provider's key, or the operator's.
SETTLEMENT_RPCS = ("GetProviderBalance", "ListSales", "GetStatement", "ListPayouts")
# A customer's key or the operator's; GetPurchase takes an account token instead.
PURCHASE_RPCS = ("GetPurchase", "RefundPurchase")
ACCOUNT_RPCS = ("GetBalance", "ListEntries", "WatchBalance", "CreatePurchase", "ListPurchases")
OPEN_RPCS = ("ListServices", "GetService", "ListPacks", "CompleteSandboxPayment")
BUILT_RPCS = (
    PROVIDER_RPCS
    + ANY_KEY_RPCS
    + CUSTOMER_RPCS
    + OPERATOR_RPCS
    + SETTLEMENT_RPCS
    + PURCHASE_RPCS
    + ACCOUNT_RPCS
    + OPEN_RPCS
)


@dataclass(slots=True)
class Scene:
    """An account with an active reservation, a pack on sale and a pending purchase of it."""

    world: World
    account: Account
    reservation_id: str
    pack_id: str
    purchase_id: str
    # The credits and the reservation as they were last read, and when: only time changes them, unless a test says so.
    _last_seen: tuple[datetime, Amounts, Message] | None = None

    def key(self, rpc: str) -> str:
        """Returns the key that an RPC needs; the empty string if it needs none."""
        if rpc in PROVIDER_RPCS + SETTLEMENT_RPCS + ANY_KEY_RPCS:
            return self.world.provider.key
        if rpc in CUSTOMER_RPCS + PURCHASE_RPCS:
            return self.account.customer.key
        return self.world.running.operator_key if rpc in OPERATOR_RPCS else ""

    def request(self, rpc: str) -> Any:
        """Returns a new request that the RPC accepts."""
        return _REQUESTS[rpc](self)

    async def refused(self, rpc: str, request: Message, key: str | None = None) -> Refusal:
        """Calls an RPC that must refuse; returns why, having made sure that no credits have moved."""
        if self._last_seen is None or self._last_seen[0] != self.world.clock.now:
            await self._see_credits()
        before = self._last_seen
        method = self.world.stubs.method(rpc)
        refusal = await refusal_of(self.world.call(method, request, self.key(rpc) if key is None else key))
        await self._see_credits()
        assert self._last_seen == before, "credits have moved, and no test has said that it moves them"
        return refusal

    def expect_movement(self) -> None:
        """Says that a test is about to move the scene's credits."""
        self._last_seen = None

    async def _see_credits(self) -> None:
        balance, reservation = await asyncio.gather(
            self.world.balance(self.account), self.world.reservation(self.reservation_id)
        )
        self._last_seen = self.world.clock.now, balance, reservation


async def new_scene(world: World) -> Scene:
    account = await world.new_account()
    reservation_id = await world.reserved(account, 5)
    pack = await world.new_pack(account.service)
    purchase = await world.purchase(account, pack.pack_id)
    return Scene(world, account, reservation_id, pack.pack_id, purchase.purchase_id)


_REQUESTS: dict[str, Any] = {
    "Reserve": lambda it: broker_pb2.ReserveRequest(request_id=new_id(), account_token=it.account.token, credits=1),
    "Capture": lambda it: broker_pb2.CaptureRequest(request_id=new_id(), reservation_id=it.reservation_id),
    "Release": lambda it: broker_pb2.ReleaseRequest(request_id=new_id(), reservation_id=it.reservation_id),
    "Extend": lambda it: broker_pb2.ExtendRequest(
        request_id=new_id(), reservation_id=it.reservation_id, additional_credits=1
    ),
    "Charge": lambda it: broker_pb2.ChargeRequest(request_id=new_id(), account_token=it.account.token, credits=1),
    "Refund": lambda it: broker_pb2.RefundRequest(request_id=new_id(), reservation_id=it.reservation_id),
    "CheckCredits": lambda it: broker_pb2.CheckCreditsRequest(account_token=it.account.token, credits=1),
    "GetReservation": lambda it: broker_pb2.GetReservationRequest(reservation_id=it.reservation_id),
    "ListReservations": lambda it: broker_pb2.ListReservationsRequest(account_token=it.account.token),
    "CreateService": lambda _: catalog_pb2.CreateServiceRequest(
        request_id=new_id(), service=new_name(), title="Service"
    ),
    "UpdateService": lambda it: catalog_pb2.UpdateServiceRequest(
        service=catalog_pb2.Service(service=it.account.service, title="Service"), update_mask=FieldMask(paths=["title"])
    ),
    "CreatePack": lambda it: catalog_pb2.CreatePackRequest(
        request_id=new_id(),
        service=it.account.service,
        title="Pack",
        credits=1,
        price=Money(currency_code="EUR", units=1),
    ),
    "ArchivePack": lambda it: catalog_pb2.ArchivePackRequest(pack_id=it.pack_id),
    "OpenAccount": lambda it: account_pb2.OpenAccountRequest(request_id=new_id(), service=it.account.service),
    "RotateAccountToken": lambda it: account_pb2.RotateAccountTokenRequest(
        request_id=new_id(), account_id=it.account.id
    ),
    "SetLowBalanceAlert": lambda it: account_pb2.SetLowBalanceAlertRequest(account_id=it.account.id),
    "SetAutoTopUp": lambda it: account_pb2.SetAutoTopUpRequest(account_id=it.account.id),
    "GetAutoTopUp": lambda it: account_pb2.GetAutoTopUpRequest(account_id=it.account.id),
    "ListEvents": lambda _: event_pb2.ListEventsRequest(),
    "WatchEvents": lambda _: event_pb2.WatchEventsRequest(),
    "CreateWebhook": lambda _: event_pb2.CreateWebhookRequest(request_id=new_id(), url="http://127.0.0.1:9/hook"),
    "ListWebhooks": lambda _: event_pb2.ListWebhooksRequest(),
    "DeleteWebhook": lambda _: event_pb2.DeleteWebhookRequest(webhook_id="unknown"),
    "RegisterProvider": lambda _: admin_pb2.RegisterProviderRequest(request_id=new_id(), name="Provider"),
    "RegisterCustomer": lambda _: admin_pb2.RegisterCustomerRequest(request_id=new_id(), name="Customer"),
    "IssueKey": lambda it: admin_pb2.IssueKeyRequest(request_id=new_id(), provider_id=it.world.provider.id),
    "RevokeKey": lambda _: admin_pb2.RevokeKeyRequest(key_id="unknown"),
    "ListKeys": lambda _: admin_pb2.ListKeysRequest(),
    "GrantCredits": lambda it: admin_pb2.GrantCreditsRequest(request_id=new_id(), account_id=it.account.id, credits=1),
    "SuspendAccount": lambda it: admin_pb2.SuspendAccountRequest(account_id=it.account.id),
    "ResumeAccount": lambda it: admin_pb2.ResumeAccountRequest(account_id=it.account.id),
    "SuspendProvider": lambda it: admin_pb2.SuspendProviderRequest(provider_id=it.world.provider.id),
    "ResumeProvider": lambda it: admin_pb2.ResumeProviderRequest(provider_id=it.world.provider.id),
    "SetCommission": lambda it: admin_pb2.SetCommissionRequest(provider_id=it.world.provider.id),
    "AuditLedger": lambda _: admin_pb2.AuditLedgerRequest(),
    "ListProviders": lambda _: admin_pb2.ListProvidersRequest(),
    "CreatePayout": lambda it: settlement_pb2.CreatePayoutRequest(
        request_id=new_id(), provider_id=it.world.provider.id, currency="EUR"
    ),
    "MarkPayoutPaid": lambda _: settlement_pb2.MarkPayoutPaidRequest(request_id=new_id(), payout_id="unknown"),
    "MarkPayoutFailed": lambda _: settlement_pb2.MarkPayoutFailedRequest(request_id=new_id(), payout_id="unknown"),
    "GetProviderBalance": lambda it: settlement_pb2.GetProviderBalanceRequest(provider_id=it.world.provider.id),
    "ListSales": lambda it: settlement_pb2.ListSalesRequest(provider_id=it.world.provider.id),
    "GetStatement": lambda it: settlement_pb2.GetStatementRequest(
        provider_id=it.world.provider.id, start_time=Timestamp(), end_time=Timestamp(seconds=1)
    ),
    "ListPayouts": lambda it: settlement_pb2.ListPayoutsRequest(provider_id=it.world.provider.id),
    "GetBalance": lambda it: account_pb2.GetBalanceRequest(account_token=it.account.token),
    "WatchBalance": lambda it: account_pb2.WatchBalanceRequest(account_token=it.account.token),
    "ListEntries": lambda it: account_pb2.ListEntriesRequest(account_token=it.account.token),
    "CreatePurchase": lambda it: purchase_pb2.CreatePurchaseRequest(
        request_id=new_id(), pack_id=it.pack_id, account_token=it.account.token
    ),
    "GetPurchase": lambda it: purchase_pb2.GetPurchaseRequest(purchase_id=it.purchase_id),
    "ListPurchases": lambda it: purchase_pb2.ListPurchasesRequest(account_token=it.account.token),
    "RefundPurchase": lambda it: purchase_pb2.RefundPurchaseRequest(request_id=new_id(), purchase_id=it.purchase_id),
    "ListPaymentNotices": lambda it: admin_pb2.ListPaymentNoticesRequest(purchase_id=it.purchase_id),
    "ListOwedRefunds": lambda _: admin_pb2.ListOwedRefundsRequest(),
    "MarkRefundPaid": lambda _: admin_pb2.MarkRefundPaidRequest(request_id=new_id(), refund_id="unknown"),
    "ListServices": lambda _: catalog_pb2.ListServicesRequest(),
    "GetService": lambda it: catalog_pb2.GetServiceRequest(service=it.account.service),
    "ListPacks": lambda it: catalog_pb2.ListPacksRequest(service=it.account.service),
    "CompleteSandboxPayment": lambda it: purchase_pb2.CompleteSandboxPaymentRequest(
        request_id=new_id(), purchase_id=it.purchase_id, outcome=purchase_pb2.SANDBOX_OUTCOME_SUCCEEDED
    ),
}
