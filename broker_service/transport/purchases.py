"""PurchaseService: buying packs, and getting money back."""

from iap.broker.v1 import purchase_pb2, purchase_pb2_grpc

from broker_service.domain.directory import Role
from broker_service.domain.errors import InvalidField, PurchaseNotFound
from broker_service.domain.records import Purchase, PurchaseState
from broker_service.engine.directory import Directory
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.storage.purchase_queries import PurchaseSelection
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.errors import permission_denied
from broker_service.transport.money import to_money
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.rendering import render_purchase
from broker_service.transport.times import instant_of, microseconds_of


class PurchaseServicer(purchase_pb2_grpc.PurchaseServiceServicer):
    """Sells and refunds at the payment desk, and shows purchases."""

    def __init__(self, gate: Gate, directory: Directory, desk: PaymentDesk, reader: LedgerReader) -> None:
        self.gate = gate
        self._directory = directory
        self._desk = desk
        self._reader = reader

    @rpc()
    async def CreatePurchase(
        self, request: purchase_pb2.CreatePurchaseRequest, caller: Caller
    ) -> purchase_pb2.CreatePurchaseResponse:
        """See the contract."""
        account = await self.gate.account(request)
        # Before what else may not be found.
        await self._reader.check(account.account_id, account.token)
        pack = await self._directory.pack(request.pack_id)
        self.gate.check_customer(account, caller)
        if request.save_payment_method and not caller.is_customer(account.customer_id):
            raise InvalidField(field="save_payment_method", description="takes the customer's key")
        result = await self._desk.start(
            request_id=request.request_id.lower(),
            account_id=account.account_id,
            pack=pack,
            return_url=request.return_url,
            token=account.token,
            saves_method=request.save_payment_method,
        )
        purchase = result.purchase
        pending = purchase.state is PurchaseState.PENDING
        return purchase_pb2.CreatePurchaseResponse(
            purchase=render_purchase(purchase),
            checkout_url=purchase.checkout_url if pending else "",
            replayed=result.replayed,
        )

    @rpc()
    async def GetPurchase(
        self, request: purchase_pb2.GetPurchaseRequest, caller: Caller
    ) -> purchase_pb2.GetPurchaseResponse:
        """See the contract."""
        if not request.account_token:
            if caller.role is Role.PROVIDER:
                raise permission_denied("customer's key")
            return purchase_pb2.GetPurchaseResponse(
                purchase=render_purchase(await self._own_purchase(request.purchase_id, caller))
            )
        account = await self._directory.account_of_token(request.account_token)
        purchase = await self._reader.purchase(account.account_id, request.purchase_id, account.token)
        return purchase_pb2.GetPurchaseResponse(purchase=render_purchase(purchase))

    @rpc()
    async def ListPurchases(
        self, request: purchase_pb2.ListPurchasesRequest, caller: Caller
    ) -> purchase_pb2.ListPurchasesResponse:
        """See the contract."""
        account = await self.gate.readable_account(request, caller)
        scope = ("ListPurchases", account.account_id)
        cursor = cursor_of(request.page_token, (int, str), *scope)
        limit = page_size(request.page_size)
        before = None if cursor is None else (instant_of(cursor[0]), cursor[1])
        found = await self._reader.purchases(account.account_id, PurchaseSelection(before, limit + 1), account.token)
        shown = found[:limit]
        next_page_token = ""
        if len(found) > limit:
            last = shown[-1]
            next_page_token = page_token([microseconds_of(last.create_time), last.purchase_id], *scope)
        return purchase_pb2.ListPurchasesResponse(
            purchases=[render_purchase(purchase) for purchase in shown], next_page_token=next_page_token
        )

    @rpc(Role.CUSTOMER, Role.OPERATOR)
    async def RefundPurchase(
        self, request: purchase_pb2.RefundPurchaseRequest, caller: Caller
    ) -> purchase_pb2.RefundPurchaseResponse:
        """See the contract."""
        purchase = await self._own_purchase(request.purchase_id, caller)
        result = await self._desk.refund(
            request_id=request.request_id.lower(), purchase_id=purchase.purchase_id, reason=request.reason
        )
        return purchase_pb2.RefundPurchaseResponse(
            purchase=render_purchase(result.purchase),
            refund=to_money(result.refund.currency, result.refund.amount_minor_units),
            replayed=result.replayed,
        )

    @rpc()
    async def CompleteSandboxPayment(
        self, request: purchase_pb2.CompleteSandboxPaymentRequest, _caller: Caller
    ) -> purchase_pb2.CompleteSandboxPaymentResponse:
        """See the contract."""
        result = await self._desk.complete_sandbox(
            request_id=request.request_id.lower(),
            purchase_id=request.purchase_id,
            succeeded=request.outcome == purchase_pb2.SANDBOX_OUTCOME_SUCCEEDED,
        )
        return purchase_pb2.CompleteSandboxPaymentResponse(
            purchase=render_purchase(result.purchase), replayed=result.replayed
        )

    async def _own_purchase(self, purchase_id: str, caller: Caller) -> Purchase:
        """Returns a purchase of the customer's whose key came, any for the operator. Raises PurchaseNotFound."""
        purchase = await self._desk.purchase(purchase_id)
        account = await self._directory.account(purchase.account_id)
        if not (caller.role is Role.OPERATOR or caller.is_customer(account.customer_id)):
            raise PurchaseNotFound(purchase_id=purchase_id)
        return purchase
