"""AccountService: customers' accounts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from functools import partial

from iap.broker.v1 import account_pb2, account_pb2_grpc

from broker_service.domain import commands
from broker_service.domain.checks import account_of
from broker_service.domain.directory import Role, ServiceState
from broker_service.domain.errors import TokenOutdated
from broker_service.domain.grants import order_of_use
from broker_service.domain.identities import account_id_for
from broker_service.domain.records import Balance
from broker_service.engine.auto_top_ups import AutoTopUps
from broker_service.engine.balance_watch import BalanceReading, BalanceWatch
from broker_service.engine.committer import Committer
from broker_service.engine.directory import Directory
from broker_service.engine.ledger_reader import LedgerReader
from broker_service.engine.secrets import ACCOUNT_TOKEN_PREFIX, SecretSource, random_secret, secret_hash
from broker_service.engine.webhooks import Webhooks
from broker_service.engine.writing import with_retries
from broker_service.storage.ledger_queries import EntrySelection
from broker_service.transport.auto_top_ups import AutoTopUpMethods
from broker_service.transport.endpoint import Admit, Caller, Gate, rpc, stream_rpc
from broker_service.transport.errors import permission_denied, stopping
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.rendering import render_account, render_balance, render_entry, render_grant
from broker_service.transport.times import optional_instant, optional_span, to_timestamp


class AccountServicer(AutoTopUpMethods, account_pb2_grpc.AccountServiceServicer):
    """Opens accounts through the committer and shows them."""

    def __init__(
        self,
        gate: Gate,
        directory: Directory,
        committer: Committer,
        reader: LedgerReader,
        *,
        watch: BalanceWatch,
        webhooks: Webhooks,
        top_ups: AutoTopUps,
        new_secret: SecretSource = random_secret,
    ) -> None:
        self.gate = gate
        self._directory = directory
        self._committer = committer
        self._reader = reader
        self._watch = watch
        self._webhooks = webhooks
        self._top_ups = top_ups
        self._new_secret = new_secret

    @rpc(Role.CUSTOMER)
    async def OpenAccount(
        self, request: account_pb2.OpenAccountRequest, caller: Caller
    ) -> account_pb2.OpenAccountResponse:
        """See the contract."""
        service = await self._directory.service(request.service)
        request_id = request.request_id.lower()
        account_token = self._new_secret(ACCOUNT_TOKEN_PREFIX)
        result = await self._committer.execute(
            commands.OpenAccount(
                request_id=request_id,
                account_id=account_id_for(caller.owner_id, request_id),
                customer_id=caller.owner_id,
                provider_id=service.provider_id,
                service=service.service,
                service_retired=service.state is ServiceState.RETIRED,
                trial_credits=service.trial_credits,
                token_hash=secret_hash(account_token),
            )
        )
        return account_pb2.OpenAccountResponse(
            account=render_account(result.account),
            account_token="" if result.replayed else account_token,
            balance=render_balance(result.account.balance),
            replayed=result.replayed,
        )

    @rpc(Role.CUSTOMER)
    async def RotateAccountToken(
        self, request: account_pb2.RotateAccountTokenRequest, caller: Caller
    ) -> account_pb2.RotateAccountTokenResponse:
        """See the contract."""
        account = await self._directory.account(request.account_id)
        if not caller.is_customer(account.customer_id):
            raise permission_denied("key of the account's customer")
        account_token = self._new_secret(ACCOUNT_TOKEN_PREFIX)
        rotating = asyncio.ensure_future(
            self._committer.execute(
                commands.RotateToken(
                    request_id=request.request_id.lower(),
                    account_id=account.account_id,
                    customer_id=caller.owner_id,
                    overlap=optional_span(request, "overlap") or timedelta(0),
                    token_hash=secret_hash(account_token),
                )
            )
        )
        # A token that has leaked is stopped, whatever becomes of the caller.
        result = await asyncio.shield(rotating)
        return account_pb2.RotateAccountTokenResponse(
            account_token="" if result.replayed else account_token, replayed=result.replayed
        )

    @rpc(Role.CUSTOMER)
    async def SetLowBalanceAlert(
        self, request: account_pb2.SetLowBalanceAlertRequest, caller: Caller
    ) -> account_pb2.SetLowBalanceAlertResponse:
        """See the contract."""
        account = await self._directory.account(request.account_id)
        if not caller.is_customer(account.customer_id):
            raise permission_denied("key of the account's customer")
        alert = await self._webhooks.set_low_balance_alert(
            account_id=account.account_id,
            customer_id=caller.owner_id,
            threshold_credits=request.threshold_credits,
            webhook_url=request.webhook_url,
        )
        return account_pb2.SetLowBalanceAlertResponse(
            alert=account_pb2.LowBalanceAlert(
                account_id=alert.account_id,
                threshold_credits=alert.threshold_credits,
                webhook_url=alert.webhook_url,
                signing_secret=alert.signing_secret,
            )
        )

    @rpc()
    async def GetBalance(
        self, request: account_pb2.GetBalanceRequest, caller: Caller
    ) -> account_pb2.GetBalanceResponse:
        """See the contract."""
        named = await self.gate.readable_account(request, caller)
        book = await self._reader.book(named.account_id, named.token)
        account = account_of(book)
        grants = sorted((grant for grant in book.grants.values() if grant.remaining_credits > 0), key=order_of_use)
        return account_pb2.GetBalanceResponse(
            account=render_account(account),
            balance=render_balance(account.balance),
            grants=[render_grant(grant) for grant in grants],
        )

    @rpc()
    async def ListEntries(
        self, request: account_pb2.ListEntriesRequest, caller: Caller
    ) -> account_pb2.ListEntriesResponse:
        """See the contract."""
        account = await self.gate.readable_account(request, caller)
        start_time = optional_instant(request, "start_time")
        end_time = optional_instant(request, "end_time")
        scope = ("ListEntries", account.account_id, str(start_time), str(end_time))
        cursor = cursor_of(request.page_token, (int,), *scope)
        limit = page_size(request.page_size)
        found = await self._reader.entries(
            account.account_id,
            EntrySelection(
                after_sequence=0 if cursor is None else cursor[0],
                start_time=start_time,
                end_time=end_time,
                limit=limit + 1,
            ),
            account.token,
        )
        shown = found[:limit]
        return account_pb2.ListEntriesResponse(
            entries=[render_entry(entry) for entry in shown],
            next_page_token=page_token([shown[-1].sequence], *scope) if len(found) > limit else "",
        )

    @stream_rpc()
    async def WatchBalance(
        self, request: account_pb2.WatchBalanceRequest, admit: Admit
    ) -> AsyncGenerator[account_pb2.WatchBalanceResponse, None]:
        """See the contract."""
        account_id = (await self.gate.readable_account(request, await admit())).account_id
        shown: Balance | None = None
        async with aclosing(self._watch.readings(account_id)) as readings:
            async for reading in readings:
                # A key or a token that has stopped meanwhile shows nothing more.
                may_show = await with_retries(partial(self._may_show, request, admit, reading))
                balance = reading.account.balance
                if may_show and balance != shown:
                    shown = balance
                    yield account_pb2.WatchBalanceResponse(
                        balance=render_balance(balance), time=to_timestamp(reading.time)
                    )
        raise stopping()

    async def _may_show(self, request: account_pb2.WatchBalanceRequest, admit: Admit, reading: BalanceReading) -> bool:
        """Tells whether a reading can be shown to who asked; not if it is older than what is known of the token.

        Raises AccountNotFound, CallError.
        """
        for _ in range(2):
            named = await self.gate.readable_account(request, await admit())
            if named.token is None:
                return True
            try:
                named.token.check(reading.account, self._committer.now(named.account_id))
            except TokenOutdated:
                self.gate.forget_token(request)
            else:
                return True
        # Then a newer reading is on its way.
        return False
