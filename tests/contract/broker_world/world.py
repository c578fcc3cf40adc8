"""An operator, two providers and as many customers as a test wants, at one broker."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.money_pb2 import Money
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, purchase_pb2

from tests.contract.broker_world.running_broker import MovableClock, RunningBroker, Stubs

if TYPE_CHECKING:
    from grpc.aio import UnaryStreamMultiCallable, UnaryUnaryMultiCallable

Request = TypeVar("Request")
Response = TypeVar("Response")

TIMEOUT_SECONDS = 30
TRIAL_CREDITS = 100

Amounts = tuple[int, int, int]


def new_id() -> str:
    return str(uuid.uuid4())


def new_name(prefix: str = "svc") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def duration(span: timedelta | None) -> Duration | None:
    if span is None:
        return None
    message = Duration()
    message.FromTimedelta(span)
    return message


@dataclass(frozen=True, slots=True)
class Party:
    """A provider or a customer, with its key."""

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's account, with its token."""

    id: str
    token: str
    customer: Party
    service: str


@dataclass(slots=True)
class World:
    """A broker and its people. `provider` sells the services that accounts are opened for; `rival` sells others."""

    running: RunningBroker
    provider: Party
    rival: Party
    services: dict[int, str] = field(default_factory=dict)

    @property
    def stubs(self) -> Stubs:
        return self.running.stubs

    @property
    def clock(self) -> MovableClock:
        return self.running.clock

    async def call(
        self, method: "UnaryUnaryMultiCallable[Request, Response]", request: Request, key: str = ""
    ) -> Response:
        """Calls an RPC with a key, or with no credentials."""
        return await call(method, request, key)

    # People and goods.

    async def new_provider(self, *, commission_basis_points: int | None = None) -> Party:
        return await register_provider(self.running, commission_basis_points=commission_basis_points)

    async def new_customer(self) -> Party:
        made = await self.call(
            self.stubs.admin.RegisterCustomer,
            admin_pb2.RegisterCustomerRequest(request_id=new_id(), name="Customer"),
            self.running.operator_key,
        )
        return Party(made.customer.customer_id, made.customer_key)

    async def new_service(
        self,
        *,
        provider: Party | None = None,
        trial_credits: int = 0,
        default_ttl: timedelta | None = None,
        max_ttl: timedelta | None = None,
    ) -> str:
        made = await self.call(
            self.stubs.catalog.CreateService,
            catalog_pb2.CreateServiceRequest(
                request_id=new_id(),
                service=new_name(),
                title="Service",
                trial_credits=trial_credits,
                default_ttl=duration(default_ttl),
                max_ttl=duration(max_ttl),
            ),
            (provider or self.provider).key,
        )
        return made.service.service

    async def new_pack(
        self,
        service: str,
        *,
        provider: Party | None = None,
        pack_credits: int = 100,
        price: Money | None = None,
        validity: timedelta | None = None,
        title: str = "Pack",
    ) -> catalog_pb2.Pack:
        made = await self.call(
            self.stubs.catalog.CreatePack,
            catalog_pb2.CreatePackRequest(
                request_id=new_id(),
                service=service,
                title=title,
                credits=pack_credits,
                price=price or Money(currency_code="EUR", units=10),
                validity=duration(validity),
            ),
            (provider or self.provider).key,
        )
        return made.pack

    async def service_with_trial(self, trial_credits: int) -> str:
        """Returns a service of the provider that grants so many trial credits; made once."""
        if trial_credits not in self.services:
            self.services[trial_credits] = await self.new_service(trial_credits=trial_credits)
        return self.services[trial_credits]

    async def new_account(
        self, *, trial_credits: int = TRIAL_CREDITS, service: str | None = None, customer: Party | None = None
    ) -> Account:
        """Opens an account that holds so many trial credits, or those of a service."""
        service = service or await self.service_with_trial(trial_credits)
        customer = customer or await self.new_customer()
        opened = await self.call(
            self.stubs.accounts.OpenAccount,
            account_pb2.OpenAccountRequest(request_id=new_id(), service=service),
            customer.key,
        )
        return Account(opened.account.account_id, opened.account_token, customer, service)

    # What a test does most.

    async def reserve(
        self,
        account: Account,
        amount: int,
        *,
        request_id: str | None = None,
        ttl: timedelta | None = None,
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> broker_pb2.ReserveResponse:
        request = broker_pb2.ReserveRequest(
            request_id=request_id or new_id(),
            account_token=account.token,
            credits=amount,
            ttl=duration(ttl),
            description=description,
            metadata=metadata,
        )
        return await self.call(self.stubs.broker.Reserve, request, self.provider.key if key is None else key)

    async def reserved(self, account: Account, amount: int, **fields: Any) -> str:
        """Reserves credits and returns the reservation's id."""
        return (await self.reserve(account, amount, **fields)).reservation.reservation_id

    async def capture(
        self,
        reservation_id: str,
        amount: int | None = None,
        *,
        keep_open: bool = False,
        request_id: str | None = None,
        key: str | None = None,
    ) -> broker_pb2.CaptureResponse:
        request = broker_pb2.CaptureRequest(
            request_id=request_id or new_id(), reservation_id=reservation_id, credits=amount, keep_open=keep_open
        )
        return await self.call(self.stubs.broker.Capture, request, self.provider.key if key is None else key)

    async def release(
        self, reservation_id: str, *, reason: str = "", request_id: str | None = None, key: str | None = None
    ) -> broker_pb2.ReleaseResponse:
        request_id = request_id or new_id()
        request = broker_pb2.ReleaseRequest(request_id=request_id, reservation_id=reservation_id, reason=reason)
        return await self.call(self.stubs.broker.Release, request, self.provider.key if key is None else key)

    async def reservation(self, reservation_id: str) -> broker_pb2.Reservation:
        request = broker_pb2.GetReservationRequest(reservation_id=reservation_id)
        return (await self.call(self.stubs.broker.GetReservation, request, self.provider.key)).reservation

    async def purchase(
        self, account: Account, pack_id: str, *, request_id: str | None = None, saves_method: bool = False
    ) -> purchase_pb2.Purchase:
        """Starts a purchase: by the account's token, or with the customer's key if its payment method is kept."""
        request = purchase_pb2.CreatePurchaseRequest(request_id=request_id or new_id(), pack_id=pack_id)
        if saves_method:
            request.account_id, request.save_payment_method = account.id, True
        else:
            request.account_token = account.token
        key = account.customer.key if saves_method else ""
        return (await self.call(self.stubs.purchases.CreatePurchase, request, key)).purchase

    async def pay(
        self, purchase_id: str, *, succeeds: bool = True, request_id: str | None = None
    ) -> purchase_pb2.CompleteSandboxPaymentResponse:
        outcome = purchase_pb2.SANDBOX_OUTCOME_SUCCEEDED if succeeds else purchase_pb2.SANDBOX_OUTCOME_FAILED
        return await self.call(
            self.stubs.purchases.CompleteSandboxPayment,
            purchase_pb2.CompleteSandboxPaymentRequest(
                request_id=request_id or new_id(), purchase_id=purchase_id, outcome=outcome
            ),
        )

    async def buy(self, account: Account, pack_id: str) -> purchase_pb2.Purchase:
        """Starts a purchase and pays it."""
        return (await self.pay((await self.purchase(account, pack_id)).purchase_id)).purchase

    async def holdings(self, account: Account) -> account_pb2.GetBalanceResponse:
        request = account_pb2.GetBalanceRequest(account_token=account.token)
        return await self.call(self.stubs.accounts.GetBalance, request)

    async def balance(self, account: Account) -> Amounts:
        """Returns the ledger, reserved and available credits."""
        return amounts((await self.holdings(account)).balance)

    async def entries(self, account: Account) -> list[account_pb2.Entry]:
        """Returns the statement."""
        request = account_pb2.ListEntriesRequest(account_token=account.token, page_size=1_000)
        found = await self.call(self.stubs.accounts.ListEntries, request)
        assert not found.next_page_token
        return list(found.entries)

    async def retire(self, service: str) -> None:
        retired = catalog_pb2.Service(service=service, state=catalog_pb2.SERVICE_STATE_RETIRED)
        request = catalog_pb2.UpdateServiceRequest(service=retired, update_mask=FieldMask(paths=["state"]))
        await self.call(self.stubs.catalog.UpdateService, request, self.provider.key)

    async def archive(self, pack_id: str) -> catalog_pb2.Pack:
        request = catalog_pb2.ArchivePackRequest(pack_id=pack_id)
        return (await self.call(self.stubs.catalog.ArchivePack, request, self.provider.key)).pack

    def suspend_account(self, account: Account) -> None:
        self.running.sql("UPDATE accounts SET state = 'SUSPENDED' WHERE account_id = ?", account.id)

    def suspend_provider(self, provider: Party) -> None:
        """Suspends it in the database; a broker that has looked it up just now may not see it for some seconds."""
        self.running.sql("UPDATE providers SET state = 'SUSPENDED' WHERE provider_id = ?", provider.id)


def amounts(balance: broker_pb2.Balance) -> Amounts:
    """Returns the ledger, reserved and available credits."""
    return balance.ledger_credits, balance.reserved_credits, balance.available_credits


async def call(
    method: "UnaryUnaryMultiCallable[Request, Response] | UnaryStreamMultiCallable[Request, Response]",
    request: Request,
    key: str = "",
) -> Response:
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    response: Response = await answer_of(method(request, metadata=metadata, timeout=TIMEOUT_SECONDS))
    return response


async def answer_of(running: Any) -> Any:
    """Returns what a call that was made answers; of a stream, the first message."""
    if not hasattr(running, "read"):
        return await running
    try:
        return await running.read()
    finally:
        running.cancel()


async def register_provider(running: RunningBroker, *, commission_basis_points: int | None = None) -> Party:
    made = await call(
        running.stubs.admin.RegisterProvider,
        admin_pb2.RegisterProviderRequest(
            request_id=new_id(), name="Provider", commission_basis_points=commission_basis_points
        ),
        running.operator_key,
    )
    return Party(made.provider.provider_id, made.provider_key)


async def new_world(running: RunningBroker) -> World:
    return World(running, provider=await register_provider(running), rival=await register_provider(running))
