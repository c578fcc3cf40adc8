"""PurchaseService: buying packs."""

from iap.broker.v1 import purchase_pb2, purchase_pb2_grpc

from broker_service.domain import commands
from broker_service.domain.directory import Pack, ProviderState, ServiceState
from broker_service.domain.errors import PurchaseNotFound
from broker_service.domain.identities import account_id_within
from broker_service.domain.records import PurchaseState
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.payments import sandbox
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.rendering import render_purchase


class PurchaseServicer(purchase_pb2_grpc.PurchaseServiceServicer):
    """Starts purchases and takes the sandbox's payments, through the committer."""

    def __init__(
        self,
        gate: Gate,
        directory: Directory,
        committer: Committer,
        reader: LedgerReader,
        *,
        commission_basis_points: int,
    ) -> None:
        self.gate = gate
        self._directory = directory
        self._committer = committer
        self._reader = reader
        self._commission_basis_points = commission_basis_points

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
        result = await self._committer.execute(
            commands.StartPurchase(
                request_id=request.request_id.lower(),
                account_id=account.account_id,
                pack=await self._terms(pack),
                return_url=request.return_url,
                token=account.token,
            )
        )
        purchase = result.purchase
        pending = purchase.state is PurchaseState.PENDING
        return purchase_pb2.CreatePurchaseResponse(
            purchase=render_purchase(purchase),
            checkout_url=sandbox.checkout_url(purchase.purchase_id) if pending else "",
            replayed=result.replayed,
        )

    @rpc()
    async def CompleteSandboxPayment(
        self, request: purchase_pb2.CompleteSandboxPaymentRequest, _caller: Caller
    ) -> purchase_pb2.CompleteSandboxPaymentResponse:
        """See the contract."""
        account_id = account_id_within(request.purchase_id, "pur")
        if account_id is None:
            raise PurchaseNotFound(purchase_id=request.purchase_id)
        result = await self._committer.execute(
            commands.ResolvePayment(
                request_id=request.request_id.lower(),
                account_id=account_id,
                purchase_id=request.purchase_id,
                succeeded=request.outcome == purchase_pb2.SANDBOX_OUTCOME_SUCCEEDED,
            )
        )
        return purchase_pb2.CompleteSandboxPaymentResponse(
            purchase=render_purchase(result.purchase), replayed=result.replayed
        )

    async def _terms(self, pack: Pack) -> commands.PackTerms:
        """Returns a pack's terms as they are now; the commission rate is the provider's own, else the broker's."""
        service = await self._directory.service(pack.service)
        provider = await self._directory.provider(service.provider_id)
        own_rate = None if provider is None else provider.commission_basis_points
        return commands.PackTerms(
            pack_id=pack.pack_id,
            service=pack.service,
            provider_id=service.provider_id,
            title=pack.title,
            credits=pack.credits,
            validity=pack.validity,
            currency=pack.currency,
            price_minor_units=pack.price_minor_units,
            commission_basis_points=self._commission_basis_points if own_rate is None else own_rate,
            archived=pack.archived,
            service_retired=service.state is ServiceState.RETIRED,
            provider_suspended=provider is not None and provider.state is ProviderState.SUSPENDED,
        )
