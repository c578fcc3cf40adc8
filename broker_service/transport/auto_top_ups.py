"""The part of AccountService that has accounts topped up by themselves."""

from iap.broker.v1 import account_pb2

from broker_service.domain.auto_top_ups import AutoTopUp, AutoTopUpState
from broker_service.domain.directory import NamedAccount, Role
from broker_service.domain.errors import InvalidField
from broker_service.engine.auto_top_ups import AutoTopUps
from broker_service.engine.directory import Directory
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.errors import permission_denied
from broker_service.transport.money import to_minor_units, to_money
from broker_service.transport.times import to_timestamp

_NANOS_PER_UNIT = 1_000_000_000
_MAX_UNITS = 1_000_000_000
_STATES = {
    AutoTopUpState.OFF: account_pb2.AUTO_TOP_UP_STATE_OFF,
    AutoTopUpState.ACTIVE: account_pb2.AUTO_TOP_UP_STATE_ACTIVE,
    AutoTopUpState.PAUSED: account_pb2.AUTO_TOP_UP_STATE_PAUSED,
}


class AutoTopUpMethods:
    """Lets customers agree to automatic top-ups, and see them."""

    gate: Gate
    _directory: Directory
    _top_ups: AutoTopUps

    @rpc(Role.CUSTOMER)
    async def SetAutoTopUp(
        self, request: account_pb2.SetAutoTopUpRequest, caller: Caller
    ) -> account_pb2.SetAutoTopUpResponse:
        """See the contract."""
        if request.pack_id:
            _check_complete(request)
        account = await self._customers_account(request.account_id, caller)
        if not request.pack_id:
            await self._top_ups.turn_off(account.account_id)
        else:
            pack = await self._directory.pack(request.pack_id)
            cap_minor_units = to_minor_units(request.monthly_cap, "monthly_cap")
            if request.monthly_cap.currency_code != pack.currency:
                raise InvalidField(field="monthly_cap.currency_code", description=f"must be {pack.currency}")
            await self._top_ups.agree(
                account,
                pack,
                threshold_credits=request.threshold_credits,
                monthly_cap_minor_units=cap_minor_units,
                consent=request.consent,
            )
        return account_pb2.SetAutoTopUpResponse(auto_top_up=await self._shown(account.account_id))

    @rpc(Role.CUSTOMER)
    async def GetAutoTopUp(
        self, request: account_pb2.GetAutoTopUpRequest, caller: Caller
    ) -> account_pb2.GetAutoTopUpResponse:
        """See the contract."""
        account = await self._customers_account(request.account_id, caller)
        return account_pb2.GetAutoTopUpResponse(auto_top_up=await self._shown(account.account_id))

    async def _customers_account(self, account_id: str, caller: Caller) -> NamedAccount:
        account = await self._directory.account(account_id)
        if not caller.is_customer(account.customer_id):
            raise permission_denied("key of the account's customer")
        return account

    async def _shown(self, account_id: str) -> account_pb2.AutoTopUp:
        top_up, spent_minor_units = await self._top_ups.of_account(account_id)
        if top_up is None:
            return account_pb2.AutoTopUp(account_id=account_id, state=account_pb2.AUTO_TOP_UP_STATE_OFF)
        return render_auto_top_up(top_up, spent_minor_units)


def render_auto_top_up(top_up: AutoTopUp, spent_minor_units: int) -> account_pb2.AutoTopUp:
    """Renders a top-up with what it has cost this month."""
    next_attempt = top_up.next_attempt_time
    return account_pb2.AutoTopUp(
        account_id=top_up.account_id,
        state=_STATES[top_up.state],
        pack_id=top_up.pack_id,
        threshold_credits=top_up.threshold_credits,
        monthly_cap=to_money(top_up.currency, top_up.monthly_cap_minor_units),
        spent_this_month=to_money(top_up.currency, spent_minor_units),
        consent=top_up.consent,
        consent_time=to_timestamp(top_up.consent_time),
        failed_payments=top_up.failed_payments,
        next_attempt_time=None if next_attempt is None else to_timestamp(next_attempt),
    )


def _check_complete(request: account_pb2.SetAutoTopUpRequest) -> None:
    """Raises InvalidField unless all that a pack needs is there."""
    cap = request.monthly_cap
    if request.threshold_credits < 1:
        raise InvalidField(field="threshold_credits", description="must be at least 1")
    if not request.HasField("monthly_cap"):
        raise InvalidField(field="monthly_cap", description="must be set")
    if not (0 <= cap.nanos < _NANOS_PER_UNIT and 0 <= cap.units <= _MAX_UNITS):
        raise InvalidField(field="monthly_cap", description="must be 0 to 1000000000 units")
    if not request.consent.strip():
        raise InvalidField(field="consent", description="must say what the customer agreed to")
