"""The commands of one example, with ids that are new where they must be."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import count
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from broker_service.domain import commands as ask
from broker_service.domain import purchase_commands as sales
from broker_service.domain.identities import account_id_for, shard_of
from broker_service.domain.known_tokens import KnownToken
from broker_service.domain.records import MAX_BALANCE, AccountState, GrantKind

SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)
DEFAULT_TTL = 2 * SECOND
MAX_TTL = 3 * SECOND

Making = ask.Reserve | ask.Charge
Ending = ask.Capture | ask.Release | ask.Extend | ask.Refund
Asked = TypeVar("Asked", bound=ask.Command)


class Owner(NamedTuple):
    """Whose an account is, and the trial credits of its service."""

    customer: str
    service: str
    trial_credits: int
    shard: int


# Trial credits are given once per customer and service. Those who compete for them are in one shard, for between shards
# it is open who gets them. The third account has room for 3 credits more.
OWNERS = (
    Owner("ann", "sms", 5, 0),
    Owner("ann", "sms", 5, 0),
    Owner("ann", "voice", MAX_BALANCE - 3, 2),
    Owner("bob", "voice", 2, 1),
)


class Requests:
    """Makes commands for the accounts of OWNERS. Examples share a database, so each has customers of its own."""

    def __init__(self, example: int, shards: int) -> None:
        self._example = example
        self._asked: Counter[type] = Counter()
        self._change_ids = (f"change-{number}" for number in count())
        self._token_hashes = (f"token-{example}-{number}" for number in count())
        self._opening_ids = [self._opening_id(number, owner, shards) for number, owner in enumerate(OWNERS)]
        self.account_ids = [
            account_id_for(self._customer_id(owner), request_id)
            for owner, request_id in zip(OWNERS, self._opening_ids, strict=True)
        ]

    def open(self, number: int, *, retired: bool = False) -> ask.OpenAccount:
        owner = OWNERS[number]
        return ask.OpenAccount(
            request_id=self._opening_ids[number],
            account_id=self.account_ids[number],
            customer_id=self._customer_id(owner),
            provider_id=owner.service,
            service=owner.service,
            service_retired=retired,
            trial_credits=owner.trial_credits,
            token_hash=next(self._token_hashes),
        )

    def reserve(
        self, number: int, amount: int, ttl: timedelta | None, token: KnownToken | None, *, suspended: bool
    ) -> ask.Reserve:
        return ask.Reserve(
            request_id=self._new_id(ask.Reserve),
            account_id=self.account_ids[number],
            provider_id=OWNERS[number].service,
            provider_suspended=suspended,
            credits=amount,
            ttl=ttl,
            default_ttl=DEFAULT_TTL,
            max_ttl=MAX_TTL,
            description="work",
            metadata={},
            token=token,
        )

    def charge(self, number: int, amount: int, token: KnownToken | None, *, suspended: bool) -> ask.Charge:
        account_id, provider_id = self.account_ids[number], OWNERS[number].service
        return ask.Charge(self._new_id(ask.Charge), account_id, provider_id, suspended, amount, "work", {}, token)

    def capture(self, first: Making, amount: int | None, *, keep_open: bool) -> ask.Capture:
        return ask.Capture(*self._about(ask.Capture, first), amount, keep_open)

    def release(self, first: Making) -> ask.Release:
        return ask.Release(*self._about(ask.Release, first), "no work")

    def refund(self, first: Making, amount: int | None) -> ask.Refund:
        return ask.Refund(*self._about(ask.Refund, first), amount, "bad work")

    def extend(self, first: Making, ttl: timedelta | None, amount: int, *, suspended: bool) -> ask.Extend:
        request_id, account_id, provider_id, reservation_id = self._about(ask.Extend, first)
        return ask.Extend(request_id, account_id, provider_id, suspended, reservation_id, ttl, MAX_TTL, amount)

    def grant(
        self, number: int, amount: int, kind: GrantKind, priority: int, expire_time: datetime | None
    ) -> ask.GrantCredits:
        request_id, account_id = self._new_id(ask.GrantCredits), self.account_ids[number]
        return ask.GrantCredits(request_id, account_id, amount, kind, priority, expire_time, "a gift")

    def change_state(self, number: int, *, suspends: bool) -> ask.ChangeAccountState:
        state = AccountState.SUSPENDED if suspends else AccountState.ACTIVE
        return ask.ChangeAccountState(self.account_ids[number], state, "a reason", next(self._change_ids))

    def rotate_token(self, number: int, overlap: timedelta) -> ask.RotateToken:
        return ask.RotateToken(
            request_id=self._new_id(ask.RotateToken),
            account_id=self.account_ids[number],
            customer_id=self._customer_id(OWNERS[number]),
            overlap=overlap,
            token_hash=next(self._token_hashes),
        )

    def settle(self, number: int) -> ask.Settle:
        return ask.Settle(self.account_ids[number])

    def start_purchase(
        self,
        number: int,
        amount: int,
        validity: timedelta | None,
        price: int,
        rate: int,
        trouble: str | None,
        *,
        token: KnownToken | None,
    ) -> sales.StartPurchase:
        """Asks to buy a pack that has some trouble: the name of a flag, or "service" for another one's pack."""
        pack = sales.PackTerms(
            pack_id=f"pack-of-{amount}",
            service="other" if trouble == "service" else OWNERS[number].service,
            provider_id=OWNERS[number].service,
            title="a pack",
            credits=amount,
            validity=validity,
            currency="EUR",
            price_minor_units=price,
            commission_basis_points=rate,
            archived=trouble == "archived",
            service_retired=trouble == "service_retired",
            provider_suspended=trouble == "provider_suspended",
        )
        request_id = self._new_id(sales.StartPurchase)
        return sales.StartPurchase(request_id, self.account_ids[number], pack, "https://shop.example", token=token)

    def resolve_payment(self, purchase: sales.StartPurchase, *, succeeded: bool) -> sales.CompleteSandboxPayment:
        request_id = self._new_id(sales.CompleteSandboxPayment)
        return sales.CompleteSandboxPayment(request_id, purchase.account_id, purchase.purchase_id, succeeded)

    def another_try(self, command: ask.Command) -> ask.Command:
        """Returns the same request as it would come again: a token, or the id of a change, is new for each try."""
        if isinstance(command, ask.ChangeAccountState):
            return replace(command, change_id=next(self._change_ids))
        if isinstance(command, ask.OpenAccount | ask.RotateToken):
            return replace(command, token_hash=next(self._token_hashes))
        return command

    def _new_id(self, kind: type) -> str:
        """Returns an id that is new for its RPC, and the same in all accounts and RPCs: they are scopes apart."""
        self._asked[kind] += 1
        return f"request-{self._asked[kind]}"

    def _about(self, kind: type, first: Making) -> tuple[str, str, str, str]:
        return self._new_id(kind), first.account_id, first.provider_id, first.reservation_id

    def _opening_id(self, number: int, owner: Owner, shards: int) -> str:
        """Returns the request_id of an account that lives in its owner's shard."""
        ids = (f"opening-{number}-{attempt}" for attempt in count())
        customer_id, shard = self._customer_id(owner), owner.shard % shards
        return next(it for it in ids if shard_of(account_id_for(customer_id, it), shards) == shard)

    def _customer_id(self, owner: Owner) -> str:
        return f"{owner.customer}-{self._example}"
