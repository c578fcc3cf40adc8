"""The customer's app of the demo: it sends texts through a provider and keeps what came of each."""

import uuid
from dataclasses import dataclass

from iap.broker.v1.broker_pb2 import Balance, Offer
from iap.provider.v1.provider_pb2 import ServeRequestResponse

from client_stub.accounts import AccountClient
from client_stub.errors import IapError, InsufficientCreditsError, InvalidArgumentError, ServiceFailedError
from client_stub.provider import ProviderClient
from client_stub.structs import from_struct
from deploy.demo_requests import Outcome, Result, TextRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request, what came of it, and the balance after it; `refusal` is the error, if it was one."""

    request: TextRequest
    result: Result
    price_credits: int
    balance: Balance
    reservation_id: str = ""
    refusal: IapError | None = None

    @property
    def explanation(self) -> str:
        """What the error said; the fields first, if it named any."""
        if isinstance(self.refusal, InvalidArgumentError):
            return "; ".join(f"{field} {description}" for field, description in self.refusal.violations.items())
        return self.refusal.message if self.refusal is not None else ""

    @property
    def refused_fields(self) -> tuple[str, ...]:
        """The fields that the error named."""
        return tuple(self.refusal.violations) if isinstance(self.refusal, InvalidArgumentError) else ()

    @property
    def offer(self) -> Offer | None:
        """What the error offered to buy."""
        return self.refusal.offer if isinstance(self.refusal, InsufficientCreditsError) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Price:
    """What a text would cost, and why; empty for one that has no price."""

    credits: int = 0
    encoding: str = ""
    segments: int = 0


class TextingApp:
    """Sends one text after the other, for one account; all it holds is the account's token."""

    def __init__(self, provider: ProviderClient, accounts: AccountClient, *, service: str, account_token: str) -> None:
        self._provider = provider
        self._accounts = accounts
        self._service = service
        self._account_token = account_token
        self._first_request_id = str(uuid.uuid4())
        self._is_first = True

    async def send(self, request: TextRequest) -> Sent:
        """Ask for the price, have the text sent, and look at the balance before and after.

        Raises IapError for what has no place in the demo.
        """
        price = await self._quote(request)
        before = await self._read_balance()
        response, refusal = await self._serve(request)
        balance = await self._read_balance()
        return Sent(
            request=request,
            result=Result(
                outcome=_find_outcome(response, refusal),
                encoding=price.encoding,
                segments=price.segments,
                charged_credits=before.ledger_credits - balance.ledger_credits,
            ),
            price_credits=price.credits,
            balance=balance,
            reservation_id=response.reservation_id,
            refusal=refusal,
        )

    async def _quote(self, request: TextRequest) -> _Price:
        try:
            quote = await self._provider.quote(service=self._service, input=_to_input(request))
        except InvalidArgumentError:
            return _Price()
        breakdown = from_struct(quote.breakdown)
        return _Price(
            credits=quote.credits, encoding=str(breakdown["encoding"]), segments=int(str(breakdown["segments"]))
        )

    async def _serve(self, request: TextRequest) -> tuple[ServeRequestResponse, IapError | None]:
        """Return the response, empty if the request was refused, and the refusal."""
        first = self._is_first or request.repeats_first
        self._is_first = False
        try:
            response = await self._provider.serve(
                service=self._service,
                input=_to_input(request),
                account_token=self._account_token,
                request_id=self._first_request_id if first else str(uuid.uuid4()),
            )
        except (InvalidArgumentError, InsufficientCreditsError, ServiceFailedError) as error:
            return ServeRequestResponse(), error
        return response, None

    async def _read_balance(self) -> Balance:
        return (await self._accounts.get_balance(account_token=self._account_token)).balance


def _to_input(request: TextRequest) -> dict[str, object]:
    return {"to": request.to, "text": request.text}


def _find_outcome(response: ServeRequestResponse, refusal: IapError | None) -> Outcome:
    match refusal:
        case None:
            return Outcome.REPLAYED if response.replayed else Outcome.SENT
        case InsufficientCreditsError():
            return Outcome.NOT_PAID
        case ServiceFailedError():
            return Outcome.FAILED
        case _:
            return Outcome.REFUSED
