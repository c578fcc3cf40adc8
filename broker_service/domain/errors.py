"""Why the domain says no.

Refusal                      the command changes nothing; the caller is told why
├── NotFound                 what it names does not exist, for this caller
├── AlreadyExists            what it would make exists, made by something else
├── Suspended                the operator has stopped this account or provider
├── WrongState               what it names is past that
├── WrongAmount              more than there is
├── InsufficientCredits      the account cannot pay
├── TokenOutdated            what is known of its account token no longer holds; looked up anew, never told
└── InvalidField             a field breaks a rule that only the state could tell
InvariantError               the books contradict themselves; nothing may be committed any more
"""

from typing import ClassVar


class InvariantError(Exception):
    """The books contradict themselves. Wrong money is worse than no service: the lane that meets it stops."""


class Refusal(Exception):
    """A command is refused and has changed nothing.

    `reason` is the contract's (`iap.broker.v1.ErrorReason` without its prefix); `facts` are the changing values of
    the message, by the names that the contract gives them.
    """

    reason: ClassVar[str]
    template: ClassVar[str]

    def __init__(self, **facts: object) -> None:
        super().__init__(self.template.format(**facts))
        self.facts = facts


class NotFound(Refusal):
    """Something named does not exist, or not for this caller. `resource` is its kind, `key` the fact that names it."""

    resource: ClassVar[str]
    key: ClassVar[str]


class AccountNotFound(NotFound):
    """No such account, or an unknown account token (then without the id)."""

    reason, resource, key = "ACCOUNT_NOT_FOUND", "account", "account_id"
    template = "no such account"


class ReservationNotFound(NotFound):
    """No such reservation, or another provider's."""

    reason, resource, key = "RESERVATION_NOT_FOUND", "reservation", "reservation_id"
    template = "no such reservation: {reservation_id}"


class ServiceNotFound(NotFound):
    """No such service."""

    reason, resource, key = "SERVICE_NOT_FOUND", "service", "service"
    template = "no such service: {service}"


class PackNotFound(NotFound):
    """No such pack."""

    reason, resource, key = "PACK_NOT_FOUND", "pack", "pack_id"
    template = "no such pack: {pack_id}"


class PurchaseNotFound(NotFound):
    """No such purchase."""

    reason, resource, key = "PURCHASE_NOT_FOUND", "purchase", "purchase_id"
    template = "no such purchase: {purchase_id}"


class ProviderNotFound(NotFound):
    """No such provider."""

    reason, resource, key = "PROVIDER_NOT_FOUND", "provider", "provider_id"
    template = "no such provider: {provider_id}"


class CustomerNotFound(NotFound):
    """No such customer."""

    reason, resource, key = "CUSTOMER_NOT_FOUND", "customer", "customer_id"
    template = "no such customer: {customer_id}"


class KeyNotFound(NotFound):
    """No such key."""

    reason, resource, key = "KEY_NOT_FOUND", "key", "key_id"
    template = "no such key: {key_id}"


class RefundNotFound(NotFound):
    """No such refund of a purchase."""

    reason, resource, key = "REFUND_NOT_FOUND", "refund", "refund_id"
    template = "no such refund: {refund_id}"


class PayoutNotFound(NotFound):
    """No such payout."""

    reason, resource, key = "PAYOUT_NOT_FOUND", "payout", "payout_id"
    template = "no such payout: {payout_id}"


class WebhookNotFound(NotFound):
    """No such webhook, or another's."""

    reason, resource, key = "WEBHOOK_NOT_FOUND", "webhook", "webhook_id"
    template = "no such webhook: {webhook_id}"


class AlreadyExists(Refusal):
    """What the command would make exists already, made by something else."""


class RequestIdReused(AlreadyExists):
    """The request_id was used before with other parameters."""

    reason = "REQUEST_ID_REUSED"
    template = "request_id {request_id} was used before for {rpc} with other parameters"


class ServiceExists(AlreadyExists):
    """The service's name is taken."""

    reason = "SERVICE_EXISTS"
    template = "a service named {service} exists already"


class Suspended(Refusal):
    """The operator has stopped this account or provider."""


class AccountSuspended(Suspended):
    """The account takes no new reservations and purchases."""

    reason = "ACCOUNT_SUSPENDED"
    template = "account {account_id} is suspended"


class ProviderSuspended(Suspended):
    """The provider's services take no new reservations and purchases."""

    reason = "PROVIDER_SUSPENDED"
    template = "provider {provider_id} is suspended"


class WrongState(Refusal):
    """What the command names is past the state that the command needs."""


class ReservationCaptured(WrongState):
    """Its credits were taken."""

    reason = "RESERVATION_CAPTURED"
    template = "reservation {reservation_id} was captured"


class ReservationReleased(WrongState):
    """Its credits were given back by the provider."""

    reason = "RESERVATION_RELEASED"
    template = "reservation {reservation_id} was released"


class ReservationExpired(WrongState):
    """Its time ran out."""

    reason = "RESERVATION_EXPIRED"
    template = "reservation {reservation_id} expired at {expire_time}"


class PackArchived(WrongState):
    """The pack is no longer on sale."""

    reason = "PACK_ARCHIVED"
    template = "pack {pack_id} is no longer on sale"


class PackOfOtherService(WrongState):
    """The pack's credits are for another service than the account's."""

    reason = "PACK_OF_OTHER_SERVICE"
    template = "pack {pack_id} is for {pack_service}, the account for {account_service}"


class ServiceRetired(WrongState):
    """The service takes no new accounts and purchases."""

    reason = "SERVICE_RETIRED"
    template = "service {service} takes no new accounts or purchases"


class PurchasePaid(WrongState):
    """The purchase was paid."""

    reason = "PURCHASE_PAID"
    template = "purchase {purchase_id} was paid already"


class PurchaseFailed(WrongState):
    """The purchase's payment failed."""

    reason = "PURCHASE_FAILED"
    template = "the payment of purchase {purchase_id} failed already; start another purchase"


class CurrencyNotSupported(WrongState):
    """No payment gateway here takes the pack's currency."""

    reason = "CURRENCY_NOT_SUPPORTED"
    template = "payments in {currency} are not possible here"


class CheckoutExpired(WrongState):
    """The time to pay the purchase ran out."""

    reason = "CHECKOUT_EXPIRED"
    template = "the checkout of purchase {purchase_id} expired at {expire_time}; start another purchase"


class PurchaseNotPaid(WrongState):
    """The purchase was never paid."""

    reason = "PURCHASE_NOT_PAID"
    template = "purchase {purchase_id} was never paid"


class PurchaseOfOtherGateway(WrongState):
    """The purchase is paid through another gateway than the sandbox."""

    reason = "PURCHASE_OF_OTHER_GATEWAY"
    template = "purchase {purchase_id} is paid through {gateway}"


class PaymentMethodMissing(WrongState):
    """No purchase for the account was paid with its payment method kept, so there is none to use again."""

    reason = "PAYMENT_METHOD_MISSING"
    template = "there is no payment method for account {account_id} yet; buy a pack with save_payment_method first"


class RefundNotOwed(WrongState):
    """The refund is paid, or its gateway has yet to say whether it pays it."""

    reason = "REFUND_NOT_OWED"
    template = "refund {refund_id} is {state}, and not owed"


class PayoutResolved(WrongState):
    """The payout was marked paid or failed already."""

    reason = "PAYOUT_RESOLVED"
    template = "payout {payout_id} is {state} already"


class WrongAmount(Refusal):
    """More than there is."""


class CaptureExceedsReservation(WrongAmount):
    """More was to be captured than is still reserved."""

    reason = "CAPTURE_EXCEEDS_RESERVATION"
    template = "reservation {reservation_id} still holds {reserved} credits, {required} were to be captured"


class RefundExceedsCapture(WrongAmount):
    """More was to be refunded than was captured and not refunded before."""

    reason = "REFUND_EXCEEDS_CAPTURE"
    template = (
        "reservation {reservation_id} has {captured} captured credits not yet refunded, {required} were to be refunded"
    )


class BalanceOverflow(WrongAmount):
    """A balance would leave the range of 64-bit integers."""

    reason = "BALANCE_OVERFLOW"
    template = "account {account_id} cannot hold that many credits"


class NothingToRefund(WrongAmount):
    """None of the purchase's credits are left, or what is left is worth less than the gateway can pay back."""

    reason = "NOTHING_TO_REFUND"
    template = "nothing of purchase {purchase_id} is left to be refunded"


class PayoutBelowMinimum(WrongAmount):
    """What is payable is less than the least payout, or nothing. Amounts in minor units."""

    reason = "PAYOUT_BELOW_MINIMUM"
    template = "{payable} minor units of {currency} are payable to {provider_id}, the least payout is {minimum}"


class InsufficientCredits(Refusal):
    """The account cannot pay. Facts: available, required and missing whole credits, and the service."""

    reason = "INSUFFICIENT_CREDITS"
    template = "{required} credits are needed, {available} are available"

    def __init__(self, *, service: str, available: int, required: int) -> None:
        super().__init__(available=available, required=required, missing=required - available)
        self.service = service
        self.missing_credits = required - available


class TokenOutdated(Refusal):
    """The account's tokens have changed since this one was looked up: it may have stopped, or not.

    No caller is told: the token is looked up again, and the command decided anew.
    """

    reason = "TOKEN_OUTDATED"
    template = "the account's tokens have changed"


class InvalidField(Refusal):
    """A field breaks a rule that only the state could tell, such as a service's longest ttl."""

    reason = "INVALID_ARGUMENT"
    template = "{field}: {description}"

    def __init__(self, *, field: str, description: str) -> None:
        super().__init__(field=field, description=description)
        self.field = field
        self.description = description
