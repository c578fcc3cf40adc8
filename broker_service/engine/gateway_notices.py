"""Between what gateways tell and what the ledger takes.

A gateway's words are checked for their origin and for nothing else. What the books cannot hold is cut to what they can:
a currency that is none becomes ISO 4217's code for that, an amount beyond 64 bits the largest, and so a wrong one.
"""

import re

from broker_service.domain.identities import account_id_within
from broker_service.domain.purchase_commands import TakePaymentNotice
from broker_service.domain.records import MAX_BALANCE
from broker_service.payments.gateway import GatewayNotice, PaymentMethod

_MOST_CHARACTERS = 500
_CURRENCY = re.compile(r"[A-Z]{3}")
_NO_CURRENCY = "XXX"
_NUL = "\0"


def command_of(gateway_name: str, notice: GatewayNotice) -> TakePaymentNotice:
    """Returns the command that takes a notice; its account is "" where the purchase's id is none."""
    currency = notice.currency
    if currency is not None and not _CURRENCY.fullmatch(currency):
        currency = _NO_CURRENCY
    amount = notice.amount_minor_units
    if amount is not None:
        amount = max(-MAX_BALANCE, min(amount, MAX_BALANCE))
    return TakePaymentNotice(
        account_id=account_id_within(notice.purchase_id, "pur") or "",
        gateway=gateway_name,
        gateway_event_id=_storable(notice.gateway_event_id),
        kind=notice.kind,
        purchase_id=_storable(notice.purchase_id),
        refund_id=_storable(notice.refund_id),
        currency=currency,
        amount_minor_units=amount,
        gateway_reference=_storable(notice.gateway_reference),
        customer_reference="" if notice.method is None else _storable(notice.method.customer_reference),
        method_reference="" if notice.method is None else _storable(notice.method.method_reference),
        detail=_storable(notice.detail),
    )


def told_by(command: TakePaymentNotice) -> GatewayNotice:
    """Returns the notice that a command takes."""
    method = PaymentMethod(command.customer_reference, command.method_reference)
    return GatewayNotice(
        gateway_event_id=command.gateway_event_id,
        kind=command.kind,
        purchase_id=command.purchase_id,
        refund_id=command.refund_id,
        currency=command.currency,
        amount_minor_units=command.amount_minor_units,
        gateway_reference=command.gateway_reference,
        method=method if command.method_reference else None,
        detail=command.detail,
    )


def _storable(text: str) -> str:
    """Returns a text as a database takes it: PostgreSQL knows no NUL, and UTF-8 no lone surrogates."""
    return text[:_MOST_CHARACTERS].replace(_NUL, "").encode(errors="replace").decode()
