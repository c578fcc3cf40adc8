"""Sales, from their start to their last refund: what is written to the ledger, and what gateways are asked for it.

The two are never in one transaction. What is to be asked of a gateway stands in the ledger first, and what came of it
is put there afterwards; a process that dies in between leaves something that is asked again, with the same ids.
"""

from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace

from broker_service.domain.directory import Pack, ProviderState, ServiceState
from broker_service.domain.errors import PurchaseNotFound, PurchaseOfOtherGateway, RefundNotFound, Refusal
from broker_service.domain.identities import account_id_within, notice_id_for
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.payment_notices import notice_of
from broker_service.domain.purchase_commands import (
    SANDBOX,
    AttachCheckout,
    CompleteSandboxPayment,
    PackTerms,
    RefundPurchase,
    SettleRefund,
    StartPurchase,
    TakePaymentNotice,
)
from broker_service.domain.purchase_refunds import PurchaseRefundResult
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.records import (
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Purchase,
    PurchaseOrigin,
    PurchaseRefund,
    PurchaseRefundState,
    PurchaseState,
)
from broker_service.engine.clock import Clock
from broker_service.engine.committer import Committer, DeadlinePassedError, HaltedError, OverloadedError
from broker_service.engine.directory import Directory
from broker_service.engine.gateway_notices import command_of, told_by
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.writing import write_with_retries
from broker_service.payments.gateway import (
    GatewayError,
    GatewayNotice,
    PaymentDeclinedError,
    PaymentGateway,
)
from broker_service.payments.gateways import Gateways
from broker_service.payments.sandbox import SandboxGateway
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from broker_service.storage.purchase_queries import (
    NoticeSelection,
    keep_notice,
    owed_refunds,
    payment_notices,
    refund_by_id,
)
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)


class GatewayUnavailableError(Exception):
    """The gateway does not answer, or is not configured any more; the same call may succeed later."""

    def __init__(self, gateway: str) -> None:
        super().__init__(f"the payment gateway {gateway} does not answer")
        self.gateway = gateway


class PaymentDesk:
    """Sells packs, takes what gateways tell, and refunds. Everything may be repeated with its ids."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        committer: Committer,
        directory: Directory,
        reader: LedgerReader,
        gateways: Gateways,
        *,
        commission_basis_points: int,
        checkout_lifetime: timedelta,
    ) -> None:
        self._database = database
        self._clock = clock
        self._committer = committer
        self._directory = directory
        self._reader = reader
        self._gateways = gateways
        self._commission_basis_points = commission_basis_points
        self._checkout_lifetime = checkout_lifetime

    # Sales.

    async def start(
        self,
        *,
        request_id: str,
        account_id: str,
        pack: Pack,
        return_url: str,
        origin: PurchaseOrigin = PurchaseOrigin.CUSTOMER,
        token: KnownToken | None = None,
        saves_method: bool = False,
    ) -> PurchaseResult:
        """Starts a purchase, and opens its checkout if a customer is to pay it.

        A replay opens the checkout if the first try did not come so far. A gateway that declines fails the purchase;
        one that has its money at once pays it.
        Raises the Refusals of StartPurchase, and GatewayUnavailableError: then the purchase waits for another try.
        """
        gateway = self._gateways.for_currency(pack.currency)
        result = await self._committer.execute(
            StartPurchase(
                request_id=request_id,
                account_id=account_id,
                pack=await self._terms(pack),
                return_url=return_url,
                gateway=None if gateway is None else gateway.name,
                checkout_lifetime=self._checkout_lifetime,
                origin=origin,
                token=token,
                saves_method=saves_method,
            )
        )
        purchase = result.purchase
        if (
            purchase.origin is not PurchaseOrigin.CUSTOMER
            or purchase.state is not PurchaseState.PENDING
            or purchase.checkout_url
        ):
            return result
        return PurchaseResult(await self._open_checkout(purchase), replayed=result.replayed)

    async def purchase(self, purchase_id: str) -> Purchase:
        """Returns a purchase as it now stands. Raises PurchaseNotFound."""
        return await self._reader.purchase(_account_of(purchase_id), purchase_id)

    async def offered_by(self, purchase: Purchase) -> tuple[str, str]:
        """Returns the title of a purchase's service, and its provider's name."""
        service = await self._directory.service(purchase.service)
        provider = await self._directory.provider(purchase.provider_id)
        return service.title, "" if provider is None else provider.name

    async def complete_sandbox(self, *, request_id: str, purchase_id: str, succeeded: bool) -> PurchaseResult:
        """Plays the payer's part at the sandbox. Raises the Refusals of CompleteSandboxPayment.

        Raises GatewayUnavailableError where the sandbox is not a gateway of this broker: nothing is free there.
        """
        sandbox = await self._sandbox_of(purchase_id)
        command = CompleteSandboxPayment(
            request_id, _account_of(purchase_id), purchase_id, succeeded, delayed=sandbox.delays
        )
        result = await self._committer.execute(command)
        if not sandbox.delays or result.purchase.state is PurchaseState.PENDING:
            sandbox.payment_completed(told_by(command.notice))
        return result

    # What gateways tell.

    async def take_notice(self, gateway_name: str, notice: GatewayNotice) -> PaymentNoticeOutcome:
        """Puts a notice to the ledger; returns what came of it once that is durable, the first time or again.

        One that names no purchase of this broker's is kept for the operator. Raises BalanceOverflow and the committer's
        errors: nothing is kept then, and the gateway is to repeat it.
        """
        command = command_of(gateway_name, notice)
        try:
            await self.purchase(command.purchase_id)
        except PurchaseNotFound:
            return await self._keep_unknown(command)
        result = await self._committer.execute(command)
        kept = result.notice
        if not result.replayed:
            logger.info(
                "payment.notice_taken",
                notice_id=kept.notice_id,
                gateway=kept.gateway,
                kind=kept.kind.value,
                outcome=kept.outcome.value,
                purchase_id=kept.purchase_id,
            )
        return kept.outcome

    async def notices(self, selection: NoticeSelection) -> list[PaymentNotice]:
        """Returns what gateways have told, newest first."""
        return await self._database.read(lambda connection: payment_notices(connection, selection))

    # Refunds.

    async def refund(self, *, request_id: str, purchase_id: str, reason: str) -> PurchaseRefundResult:
        """Takes the unspent credits of a purchase back, and asks the gateway to pay for them.

        Whether the gateway answers changes nothing for the caller: a refund that is not paid is asked for again, by a
        replay and by the refund runner.
        Raises the Refusals of RefundPurchase.
        """
        purchase = await self.purchase(purchase_id)
        step = self._gateways.refund_step_minor_units(purchase.gateway, purchase.currency)
        result = await self._committer.execute(
            RefundPurchase(request_id, purchase.account_id, purchase_id, reason, step_minor_units=step)
        )
        try:
            await self.pay_back(result.purchase, result.refund)
        except (Refusal, StorageError, OverloadedError, DeadlinePassedError, HaltedError) as error:
            logger.warning("refund.answer_lost", refund_id=result.refund.refund_id, cause=str(error))
        return result

    async def pay_back(self, purchase: Purchase, refund: PurchaseRefund) -> bool:
        """Asks the gateway for a refund that is not paid yet; returns whether it said what came of it.

        Safe at any time and in several processes: the refund's id tells the gateway that it is the same one. `refund`
        may be old by now, so it is read again first: a chargeback may have paid it. One that comes while the gateway
        is being asked cannot be helped; then the gateway's answer is kept with the remark that it was paid twice.
        Raises StorageError, and the committer's errors if what the gateway said could not be written down.
        """
        gateway = self._gateways.by_name(purchase.gateway)
        refund = await self._refund(refund.refund_id)
        if refund.state is not PurchaseRefundState.REQUESTED:
            return True
        if gateway is None:
            logger.warning("refund.gateway_missing", refund_id=refund.refund_id, gateway=purchase.gateway)
            return False
        try:
            notice = await gateway.refund(purchase, refund)
        except GatewayError as error:
            logger.warning("refund.gateway_failed", refund_id=refund.refund_id, gateway=gateway.name, cause=str(error))
            return False
        if notice is None:
            return False
        await self.take_notice(gateway.name, notice)
        return True

    async def owed_refunds(self, after: tuple[datetime, str] | None, limit: int) -> list[PurchaseRefund]:
        """Returns refunds that their gateway has not paid, behind (create_time, refund_id), the oldest first."""
        return await self._database.read(partial(owed_refunds, after=after, limit=limit))

    async def settle_refund(self, *, request_id: str, refund_id: str, reference: str) -> PurchaseRefundResult:
        """Records that the customer has got an owed refund's money otherwise.

        Raises the Refusals of SettleRefund, RefundNotFound above all.
        """
        refund = await self._refund(refund_id)
        command = SettleRefund(request_id, refund.account_id, refund.purchase_id, refund_id, reference)
        return await self._committer.execute(command)

    async def _refund(self, refund_id: str) -> PurchaseRefund:
        refund = await self._database.read(partial(refund_by_id, refund_id=refund_id))
        if refund is None:
            raise RefundNotFound(refund_id=refund_id)
        return refund

    async def _open_checkout(self, purchase: Purchase) -> Purchase:
        gateway = self._configured(purchase.gateway)
        try:
            checkout = await gateway.create_checkout(purchase)
        except GatewayError as error:
            logger.warning("checkout.gateway_failed", gateway=gateway.name, cause=str(error))
            raise GatewayUnavailableError(gateway.name) from error
        except PaymentDeclinedError as error:
            declined = GatewayNotice(
                gateway_event_id=f"declined:{purchase.purchase_id}",
                kind=PaymentNoticeKind.FAILED,
                purchase_id=purchase.purchase_id,
                detail=str(error),
            )
            await self.take_notice(gateway.name, declined)
            return await self.purchase(purchase.purchase_id)
        if checkout.notice is not None:
            await self.take_notice(gateway.name, checkout.notice)
            return await self.purchase(purchase.purchase_id)
        result = await self._committer.execute(
            AttachCheckout(purchase.account_id, purchase.purchase_id, checkout.url, checkout.gateway_reference)
        )
        return result.purchase

    def _configured(self, gateway_name: str) -> PaymentGateway:
        gateway = self._gateways.by_name(gateway_name)
        if gateway is None:
            raise GatewayUnavailableError(gateway_name)
        return gateway

    async def _sandbox_of(self, purchase_id: str) -> SandboxGateway:
        sandbox = self._gateways.by_name(SANDBOX)
        if isinstance(sandbox, SandboxGateway):
            return sandbox
        purchase = await self.purchase(purchase_id)
        if purchase.gateway != SANDBOX:
            raise PurchaseOfOtherGateway(purchase_id=purchase_id, gateway=purchase.gateway)
        raise GatewayUnavailableError(SANDBOX)

    async def _keep_unknown(self, command: TakePaymentNotice) -> PaymentNoticeOutcome:
        outcome = PaymentNoticeOutcome.UNKNOWN_PURCHASE
        # Under an id of its own: should the purchase turn up, its account has not been told of it.
        scope = (outcome.value, command.kind.value, command.purchase_id, command.refund_id)
        notice = replace(
            notice_of(command, outcome, "no such purchase", self._clock()),
            account_id="",
            notice_id=notice_id_for(command.gateway, command.gateway_event_id, *scope),
        )
        kept = await write_with_retries(self._database, lambda connection: keep_notice(connection, notice))
        if kept.times_received == 1:
            logger.warning("payment.notice_of_unknown_purchase", notice_id=kept.notice_id, gateway=kept.gateway)
        return outcome

    async def _terms(self, pack: Pack) -> PackTerms:
        """Returns a pack's terms as they are now; the commission rate is the provider's own, else the broker's."""
        service = await self._directory.service(pack.service)
        provider = await self._directory.provider(service.provider_id)
        own_rate = None if provider is None else provider.commission_basis_points
        return PackTerms(
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


def _account_of(purchase_id: str) -> str:
    """Returns the account that a purchase's id carries. Raises PurchaseNotFound if it is no such id."""
    account_id = account_id_within(purchase_id, "pur")
    if account_id is None:
        raise PurchaseNotFound(purchase_id=purchase_id)
    return account_id
