"""What an answer and its replays have in common, whatever has happened since: the ids, and the amounts moved."""

from collections.abc import Callable
from typing import Any

Effect = tuple[object, ...]


def effect_of(rpc: str, answer: Any) -> Effect:
    """Returns the effect that an answer tells of."""
    return _EFFECTS.get(rpc, _reservation)(answer)


def _reservation(answer: Any) -> Effect:
    return (answer.reservation.reservation_id,)


def _purchase(answer: Any) -> Effect:
    return answer.purchase.purchase_id, answer.purchase.state


_EFFECTS: dict[str, Callable[[Any], Effect]] = {
    "Capture": lambda answer: (*_reservation(answer), answer.captured_credits, answer.released_credits),
    "Refund": lambda answer: (*_reservation(answer), answer.refunded_credits),
    "GrantCredits": lambda answer: (answer.grant.grant_id, answer.grant.credits),
    "OpenAccount": lambda answer: (answer.account.account_id,),
    "RotateAccountToken": lambda _: (),
    "CreatePurchase": _purchase,
    "CompleteSandboxPayment": _purchase,
    "RefundPurchase": lambda answer: (*_purchase(answer), answer.refund.units, answer.refund.nanos),
}
