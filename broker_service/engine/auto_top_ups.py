"""Automatic top-ups: agreeing to them, and buying when an account runs low.

A payment goes in steps, each safe to repeat: the attempt is written down, the purchase is started, the gateway is
charged, and what came of it ends the attempt. Several processes may work on the same one; the ids tell the gateway and
the ledger that it is the same payment.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from broker_service.domain.auto_top_ups import (
    AutoTopUp,
    AutoTopUpState,
    agreed,
    begun,
    failed,
    may_buy,
    paid,
    paused,
    turned_off,
)
from broker_service.domain.directory import NamedAccount, Pack
from broker_service.domain.errors import (
    CurrencyNotSupported,
    InvalidField,
    PackArchived,
    PackOfOtherService,
    PaymentMethodMissing,
    PurchaseNotFound,
    Refusal,
)
from broker_service.domain.identities import shard_of
from broker_service.domain.records import Purchase, PurchaseOrigin, PurchaseState
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.engine.writing import write_with_retries
from broker_service.payments.gateway import GatewayError, PaymentMethod
from broker_service.payments.gateways import Gateways
from broker_service.storage import auto_top_ups as rows
from broker_service.storage.database import Database
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
        desk: PaymentDesk,
        gateways: Gateways,
        *,
        shards: int,
    ) -> None:
        self._database = database
        self._committer = committer
        self._directory = directory
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
        if await self._method(account.account_id, gateway.name) is None:
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
                now=now,
            )
            rows.put_top_up(connection, top_up)
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
        attempt: AutoTopUp | None = None
        try:
            pack = await self._directory.pack(top_up.pack_id)
            attempt = await self._begin(top_up, pack)
            if attempt is None:
                return False
            await self._end(attempt, await self._pay(attempt, pack))
        except GatewayError as error:
            logger.warning("top_up.gateway_failed", account_id=top_up.account_id, cause=str(error))
            return False
        except Refusal as refusal:
            # Off sale, suspended, or without a gateway: more of the same will not help.
            logger.info("top_up.paused", account_id=top_up.account_id, reason=refusal.reason)
            await self._change(attempt or top_up, paused)
            return False
        return True

    async def _begin(self, top_up: AutoTopUp, pack: Pack) -> AutoTopUp | None:
        """Writes an attempt down; returns it, also one that was begun before, or None if there is none to be made."""
        if top_up.pending_purchase_id is not None:
            return top_up
        account_id = top_up.account_id
        now, shard_id = self._committer.now(account_id), shard_of(account_id, self._shards)

        def work(connection: Connection) -> AutoTopUp | None:
            current = rows.top_up_of(connection, account_id, for_update=True)
            if current is None or current.pack_id != pack.pack_id or current.pending_purchase_id is not None:
                return None
            spent = rows.spent_in_month(connection, shard_id, account_id, pack.currency, now)
            if not may_buy(current, price_minor_units=pack.price_minor_units, spent_minor_units=spent, now=now):
                return None
            rows.put_top_up(connection, begun(current))
            return begun(current)

        return await write_with_retries(self._database, work)

    async def _pay(self, top_up: AutoTopUp, pack: Pack) -> Purchase:
        """Starts the attempt's purchase, or goes on with it; returns it as it then stands."""
        purchase_id = top_up.pending_purchase_id or ""
        try:
            purchase = await self._desk.purchase(purchase_id)
        except PurchaseNotFound:
            result = await self._desk.start(
                request_id=top_up.request_id,
                account_id=top_up.account_id,
                pack=pack,
                return_url="",
                origin=PurchaseOrigin.AUTO_TOP_UP,
            )
            purchase = result.purchase
        if purchase.state is PurchaseState.PENDING:
            await self._charge(purchase)
            purchase = await self._desk.purchase(purchase_id)
        return purchase

    async def _charge(self, purchase: Purchase) -> None:
        gateway = self._gateways.by_name(purchase.gateway)
        method = await self._method(purchase.account_id, purchase.gateway)
        if gateway is None or method is None:
            raise PaymentMethodMissing(account_id=purchase.account_id)
        notice = await gateway.charge(purchase, method)
        if notice is not None:
            await self._desk.take_notice(gateway.name, notice)

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
