"""Two brokers on one database, as far as money goes, and the gateways outside that both of them ask."""

import asyncio
from collections.abc import Iterable
from typing import Any

from broker_service.background.refund_runner import RefundRunner
from broker_service.domain.commands import Settle
from broker_service.domain.directory import ProviderState
from broker_service.domain.errors import Refusal
from broker_service.domain.payouts import CreatePayout, ResolvePayout
from broker_service.domain.purchase_commands import RefundPurchase, SettleRefund
from broker_service.engine.auto_top_ups import AutoTopUps
from broker_service.engine.clock import Clock
from broker_service.engine.directory import Directory
from broker_service.engine.payment_desk import GatewayUnavailableError, PaymentDesk
from broker_service.engine.settlement import Settlement
from broker_service.payments.gateways import Gateways
from broker_service.storage.database import Database
from tests.contract.broker_world.scripted_gateway import ScriptedGateway
from tests.ledger_model.brokers import Broker, Run
from tests.ledger_model.figures import Figures, figures_of, result_figures
from tests.money_model import requests as ask


class GatewaysOutside:
    """Two gateways, which live on when brokers do not. Their mode is "up", "down", "declines" or "silent"."""

    def __init__(self) -> None:
        self.all: list[ScriptedGateway] = []
        for name in dict.fromkeys(ask.GATEWAYS.values()):
            gateway = ScriptedGateway(*(currency for currency, its_name in ask.GATEWAYS.items() if its_name == name))
            gateway.name = name
            self.all.append(gateway)

    def set_mode(self, mode: str) -> None:
        for gateway in self.all:
            gateway.down, gateway.declines, gateway.silent = (mode == it for it in ("down", "declines", "silent"))

    def take_asked(self) -> list[str]:
        """Returns the refunds that were asked for since the last time."""
        asked = [refund_id for gateway in self.all for refund_id in gateway.asked]
        for gateway in self.all:
            gateway.asked.clear()
        return asked


class MoneyBroker(Broker):
    """One broker's engine with what sells, pays back and pays out."""

    def __init__(self, run: Run, database: Database, clock: Clock, /, *, shards: int, gateways: Gateways) -> None:
        super().__init__(run, database, clock, shards=shards)
        self.directory = Directory(database, clock, shards=shards)
        self.desk = PaymentDesk(
            database,
            clock,
            self.committer,
            self.directory,
            self.reader,
            gateways,
            commission_basis_points=ask.BROKERS_RATE,
            checkout_lifetime=ask.CHECKOUT_LIFETIME,
        )
        self.settlement = Settlement(database, clock, payout_minimums=ask.PAYOUT_MINIMUMS)
        self.top_ups = AutoTopUps(
            database, self.committer, self.directory, self.reader, self.desk, gateways, shards=shards
        )
        self.refund_runner = RefundRunner(database, clock, self.desk, interval_seconds=0.0)

    async def answer(self, request: ask.Request) -> Figures:
        """Does what is asked for; returns what the answer tells, or why it was refused."""
        try:
            return await self._answer_to(request)
        except Refusal as refusal:
            return {"reason": refusal.reason}
        except GatewayUnavailableError:
            return {"reason": "GATEWAY_UNAVAILABLE"}

    async def _answer_to(self, request: ask.Request) -> Figures:  # noqa: PLR0911 - one case for each kind of request
        match request:
            case ask.Start():
                return await self._start(request)
            case ask.Tell(gateway=gateway, notice=notice):
                return {"outcome": await self.desk.take_notice(gateway, notice)}
            case RefundPurchase():
                return await self._refund(request)
            case SettleRefund():
                return await self._settle_refund(request)
            case CreatePayout() | ResolvePayout():
                return await self._pay_out(request)
            case ask.Agree() | ask.TurnOff() | ask.TopUpAll():
                return await self._top_up(request)
            case ask.PayBackAll():
                await self.refund_runner.run()
                return {}
            case ask.ChangeProvider() | ask.Archive():
                await self._change(request)
                return {}
            case _:
                return result_figures(await self.committer.execute(request))

    async def _start(self, it: ask.Start) -> Figures:
        result = await self.desk.start(
            request_id=it.request_id,
            account_id=it.account_id,
            pack=await self.directory.pack(it.pack.pack_id),
            return_url=it.return_url,
            saves_method=it.saves_method,
        )
        return {"replayed": result.replayed, "purchase": purchase_figures(result)}

    async def _refund(self, it: RefundPurchase) -> Figures:
        result = await self.desk.refund(request_id=it.request_id, purchase_id=it.purchase_id, reason=it.reason)
        refund = figures_of(result.refund, ask.RETURN)
        return {"replayed": result.replayed, "purchase": purchase_figures(result), "refund": refund}

    async def _settle_refund(self, it: SettleRefund) -> Figures:
        result = await self.desk.settle_refund(request_id=it.request_id, refund_id=it.refund_id, reference=it.reference)
        refund = figures_of(result.refund, ask.RETURN)
        return {"replayed": result.replayed, "purchase": purchase_figures(result), "refund": refund}

    async def _pay_out(self, it: CreatePayout | ResolvePayout) -> Figures:
        if isinstance(it, CreatePayout):
            result = await self.settlement.create_payout(
                request_id=it.request_id, provider_id=it.provider_id, currency=it.currency
            )
        else:
            result = await self.settlement.resolve_payout(
                request_id=it.request_id, payout_id=it.payout_id, state=it.state, reference=it.reference
            )
        return {"replayed": result.replayed, "payout": figures_of(result.payout, ask.PAYOUT)}

    async def _top_up(self, it: ask.Agree | ask.TurnOff | ask.TopUpAll) -> Figures:
        if isinstance(it, ask.TopUpAll):
            # As the sweeper does: who runs low is read from what is written down.
            await self._settle(it.account_ids)
            await self.top_ups.buy_due()
            return {}
        if isinstance(it, ask.TurnOff):
            ended = await self.top_ups.turn_off(it.account_id)
            return {"top_up": ended and figures_of(ended, ask.TOP_UP)}
        agreed = await self.top_ups.agree(
            await self.directory.account(it.account_id),
            await self.directory.pack(it.pack.pack_id),
            threshold_credits=it.threshold_credits,
            monthly_cap_minor_units=it.monthly_cap_minor_units,
            consent="yes",
        )
        return {"top_up": figures_of(agreed, ask.TOP_UP)}

    async def _settle(self, account_ids: Iterable[str]) -> None:
        await asyncio.gather(*(self.committer.execute(Settle(account_id)) for account_id in account_ids))

    async def _change(self, it: ask.ChangeProvider | ask.Archive) -> None:
        if isinstance(it, ask.Archive):
            await self.directory.archive_pack(it.pack.pack_id)
        elif it.suspended is None:
            await self.directory.change_provider(it.provider_id, commission_basis_points=it.basis_points)
        else:
            state = ProviderState.SUSPENDED if it.suspended else ProviderState.ACTIVE
            await self.directory.change_provider(it.provider_id, state=state)


def purchase_figures(result: Any) -> Figures:
    return figures_of(result.purchase, (*ask.PURCHASE, "state"))
