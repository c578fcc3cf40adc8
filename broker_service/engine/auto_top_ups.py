"""Automatic top-ups: agreeing to them, and buying when an account runs low.

A payment goes in steps, each safe to repeat: the attempt is written down, the purchase is started, the gateway is
charged, and what came of it ends the attempt. Several processes may work on the same one; the ids tell the gateway and
the ledger that it is the same payment.
"""

from collections.abc import Callable

from msgspec.structs import replace
from sqlalchemy import Connection

from broker_service.domain.auto_top_ups import (
    AutoTopUp,
    AutoTopUpState,
    agreed,
    begun,
    claimed,
    failed,
    is_due,
    is_wanted,
    may_buy,
    paid,
    paused,
    turned_off,
    withdrawn,
)
from broker_service.domain.checks import account_of
from broker_service.domain.directory import NamedAccount, Pack
from broker_service.domain.errors import (
    AccountSuspended,
    CurrencyNotSupported,
    InvalidField,
    PackArchived,
    PackOfOtherService,
    PaymentMethodMissing,
    ProviderSuspended,
    PurchaseNotFound,
    Refusal,
)
from broker_service.domain.identities import shard_of
from broker_service.domain.records import PaymentNoticeKind, Purchase, PurchaseOrigin, PurchaseState
from broker_service.engine.committer import Committer, HaltedError, OverloadedError
from broker_service.engine.directory import Directory
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.engine.writing import write_with_retries
from broker_service.payments.gateway import GatewayError, GatewayNotice, PaymentMethod
from broker_service.payments.gateways import Gateways
from broker_service.storage import auto_top_ups as rows
from broker_service.storage.database import Database
from broker_service.storage.errors import StorageError
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

_PAGE_TOP_UPS = 200


class AutoTopUps:
    """See the module."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        directory: Directory,
        reader: LedgerReader,
        desk: PaymentDesk,
        gateways: Gateways,
        *,
        shards: int,
    ) -> None:
        self._database = database
        self._committer = committer
        self._directory = directory
        self._reader = reader
        self._desk = desk
        self._gateways = gateways
        self._shards = shards

    # Agreeing.

    async def agree(
        self, account: NamedAccount, pack: Pack, *, threshold_credits: int, monthly_cap_minor_units: int, consent: str
    ) -> AutoTopUp:
        """Has an account topped up from now on, and returns how.

        Raises PackArchived, PackOfOtherService, CurrencyNotSupported, PaymentMethodMissing, InvalidField.
        """
        if pack.service != account.service:
            raise PackOfOtherService(pack_id=pack.pack_id, pack_service=pack.service, account_service=account.service)
        if pack.archived:
            raise PackArchived(pack_id=pack.pack_id)
        if monthly_cap_minor_units < pack.price_minor_units:
            raise InvalidField(field="monthly_cap", description="must be at least the pack's price")
        gateway = self._gateways.for_currency(pack.currency)
        if gateway is None:
            raise CurrencyNotSupported(currency=pack.currency)
        method = await self._method(account.account_id, gateway.name)
        if method is None:
            raise PaymentMethodMissing(account_id=account.account_id)
        now = self._committer.now(account.account_id)

        def work(connection: Connection) -> AutoTopUp:
            top_up = agreed(
                rows.top_up_of(connection, account.account_id, for_update=True),
                account_id=account.account_id,
                pack_id=pack.pack_id,
                threshold_credits=threshold_credits,
                currency=pack.currency,
                monthly_cap_minor_units=monthly_cap_minor_units,
                consent=consent,
                gateway=gateway.name,
                customer_reference=method.customer_reference,
                method_reference=method.method_reference,
                now=now,
            )
            rows.put_top_up(connection, top_up)
            rows.add_agreement(connection, top_up)
            return top_up

        return await write_with_retries(self._database, work)

    async def turn_off(self, account_id: str) -> AutoTopUp | None:
        """Ends an account's top-ups; a payment under way still counts. Returns it, or None if there never was one."""

        def work(connection: Connection) -> AutoTopUp | None:
            top_up = rows.top_up_of(connection, account_id, for_update=True)
            if top_up is None or top_up.state is AutoTopUpState.OFF:
                return top_up
            rows.put_top_up(connection, turned_off(top_up))
            return turned_off(top_up)

        return await write_with_retries(self._database, work)

    async def of_account(self, account_id: str) -> tuple[AutoTopUp | None, int]:
        """Returns an account's top-up, and what it has cost this month in minor units of its currency."""
        now, shard_id = self._committer.now(account_id), shard_of(account_id, self._shards)

        def work(connection: Connection) -> tuple[AutoTopUp | None, int]:
            top_up = rows.top_up_of(connection, account_id)
            if top_up is None:
                return None, 0
            return top_up, rows.spent_in_month(connection, shard_id, account_id, top_up.currency, now)

        return await self._database.read(work)

    # Buying.

    async def buy_due(self) -> int:
        """Goes one step with every top-up that is due, and returns for how many. Raises StorageError.

        What a gateway or the state of one account stands in the way of is logged and left for the next time.
        """
        bought = 0
        for shard_id in range(self._shards):
            after = ""
            while page := await self._due(shard_id, after):
                for top_up in page:
                    bought += await self._go_on(top_up)
                after = page[-1].account_id
        return bought

    async def _due(self, shard_id: int, after: str) -> list[AutoTopUp]:
        now = self._committer.now_in(shard_id)
        return await self._database.read(
            lambda connection: rows.due_top_ups(connection, shard_id, now, after, _PAGE_TOP_UPS)
        )

    async def _go_on(self, top_up: AutoTopUp) -> bool:
        """Goes a step; what stands in one account's way harms no other's."""
        try:
            return await self._attempt(top_up)
        except (StorageError, OverloadedError, HaltedError):
            raise
        except GatewayError as error:
            logger.warning("top_up.gateway_failed", account_id=top_up.account_id, cause=str(error))
        except Exception:
            logger.exception("top_up.crashed", account_id=top_up.account_id)
        return False

    async def _attempt(self, top_up: AutoTopUp) -> bool:
        attempt = await self._claim(top_up)
        if attempt is None:
            return False
        try:
            purchase = await self._purchase_of(attempt)
        except (AccountSuspended, ProviderSuspended):
            await self._change(attempt, withdrawn)
            return False
        except Refusal as refusal:
            # Off sale, or without a gateway: more of the same will not help.
            logger.info("top_up.paused", account_id=top_up.account_id, reason=refusal.reason)
            await self._change(attempt, paused)
            return False
        if purchase.state is PurchaseState.PENDING and not await self._pay(attempt, purchase):
            return False
        await self._end(attempt, await self._desk.purchase(purchase.purchase_id))
        return True

    async def _claim(self, top_up: AutoTopUp) -> AutoTopUp | None:
        """Writes an attempt down, or takes over one that was; returns None if there is nothing to be done now.

        The broker that gets it has it for itself for a while.
        """
        account_id = top_up.account_id
        pack = await self._directory.pack(top_up.pack_id)
        now, shard_id = self._committer.now(account_id), shard_of(account_id, self._shards)

        def work(connection: Connection) -> AutoTopUp | None:
            current = rows.top_up_of(connection, account_id, for_update=True)
            if current is None or not is_due(current, now):
                return None
            if current.pending_purchase_id is None:
                spent = rows.spent_in_month(connection, shard_id, account_id, pack.currency, now)
                price_minor_units = pack.price_minor_units
                if current.pack_id != pack.pack_id or not may_buy(
                    current, price_minor_units=price_minor_units, spent_minor_units=spent, now=now
                ):
                    return None
                # It was when it was found, and another broker may have bought since.
                if not rows.is_low(connection, shard_id, account_id):
                    return None
                current = begun(current)
            attempt = claimed(current, now)
            rows.put_top_up(connection, attempt)
            return attempt

        return await write_with_retries(self._database, work)

    async def _purchase_of(self, attempt: AutoTopUp) -> Purchase:
        """Returns the attempt's purchase, which is started if it was not. Raises the Refusals of StartPurchase."""
        try:
            return await self._desk.purchase(attempt.pending_purchase_id or "")
        except PurchaseNotFound:
            result = await self._desk.start(
                request_id=attempt.request_id,
                account_id=attempt.account_id,
                pack=await self._directory.pack(attempt.pack_id),
                return_url="",
                origin=PurchaseOrigin.AUTO_TOP_UP,
            )
            return result.purchase

    async def _pay(self, attempt: AutoTopUp, purchase: Purchase) -> bool:
        """Has the gateway charge, or ends an attempt that is no longer wanted; returns whether it goes on."""
        gateway = self._gateways.by_name(purchase.gateway)
        if gateway is None:
            return False
        current = await self._ask(attempt, purchase)
        if current is None:
            return False
        method = PaymentMethod(current.customer_reference, current.method_reference)
        # Asked for before and not wanted any more: it goes on only if the gateway has it already.
        is_unknown = current.asked and not await self._is_still_wanted(current, purchase)
        if not current.asked or (is_unknown and not await gateway.was_charged(purchase, method)):
            await self._withdraw(current, purchase)
            return False
        notice = await gateway.charge(purchase, method)
        if notice is not None:
            await self._desk.take_notice(gateway.name, notice)
        return True

    async def _ask(self, attempt: AutoTopUp, purchase: Purchase) -> AutoTopUp | None:
        """Writes down that the gateway is asked from here on, if the payment is wanted; returns the top-up as it is.

        None if somebody else has ended the attempt.
        """
        account = account_of(await self._reader.book(attempt.account_id))

        def work(connection: Connection) -> AutoTopUp | None:
            current = rows.top_up_of(connection, attempt.account_id, for_update=True)
            if current is None or current.pending_purchase_id != attempt.pending_purchase_id:
                return None
            spent = self._spent_with(connection, purchase)
            if not current.asked and is_wanted(current, purchase, account, spent_minor_units=spent):
                current = replace(current, asked=True)
                rows.put_top_up(connection, current)
            return current

        return await write_with_retries(self._database, work)

    async def _is_still_wanted(self, current: AutoTopUp, purchase: Purchase) -> bool:
        account = account_of(await self._reader.book(current.account_id))
        spent = await self._database.read(lambda connection: self._spent_with(connection, purchase))
        return is_wanted(current, purchase, account, spent_minor_units=spent)

    def _spent_with(self, connection: Connection, purchase: Purchase) -> int:
        """Returns what the top-ups of a purchase's month have cost, this one included."""
        account_id = purchase.account_id
        shard_id = shard_of(account_id, self._shards)
        return rows.spent_in_month(connection, shard_id, account_id, purchase.currency, purchase.create_time)

    async def _withdraw(self, attempt: AutoTopUp, purchase: Purchase) -> None:
        """Ends an attempt that nobody was asked to pay, and its purchase."""
        notice = GatewayNotice(
            gateway_event_id=f"withdrawn:{purchase.purchase_id}",
            kind=PaymentNoticeKind.FAILED,
            purchase_id=purchase.purchase_id,
            detail="withdrawn before the gateway was asked",
        )
        await self._desk.take_notice(purchase.gateway, notice)
        await self._change(attempt, withdrawn)

    async def _end(self, top_up: AutoTopUp, purchase: Purchase) -> None:
        """Ends the attempt if its payment has come to an end; otherwise a notice will tell, and this is done again."""
        if purchase.state is PurchaseState.PENDING:
            return
        now = self._committer.now(top_up.account_id)
        if purchase.state is PurchaseState.FAILED:
            await self._change(top_up, lambda current: failed(current, now))
        else:
            await self._change(top_up, paid)

    async def _change(self, top_up: AutoTopUp, change: Callable[[AutoTopUp], AutoTopUp]) -> None:
        """Ends an attempt, unless somebody else has ended it."""

        def work(connection: Connection) -> None:
            current = rows.top_up_of(connection, top_up.account_id, for_update=True)
            if current is not None and current.pending_purchase_id == top_up.pending_purchase_id:
                rows.put_top_up(connection, change(current))

        await write_with_retries(self._database, work)

    async def _method(self, account_id: str, gateway_name: str) -> PaymentMethod | None:
        found = await self._database.read(lambda connection: rows.method_of(connection, account_id, gateway_name))
        return None if found is None else PaymentMethod(*found)
