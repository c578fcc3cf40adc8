"""Stripe's API as far as the broker uses it, over real HTTP, with the state and the idempotency that it promises.

Written from https://docs.stripe.com/api: requests are form-encoded with nested keys in brackets, answers are JSON,
errors `{"error": {"type", "code", …}}`. The first answer to an idempotency key is kept and given again; the same key
with other parameters is an error.
"""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SECRET_KEY = "sk_test_of_the_double"
Json = dict[str, Any]

# What a card that was paid with before does when it is charged again.
CARD_GOOD, CARD_DECLINED, CARD_SLOW, CARD_NEEDS_CUSTOMER = "pm_good", "pm_declined", "pm_slow", "pm_3ds"


@dataclass(slots=True)
class Trouble:
    """What is to go wrong with the next requests to paths that end so: `count` times."""

    path_end: str
    count: int = 1
    method: str = "POST"
    status: int = 0
    error: Json = field(default_factory=dict)
    # Does the work, and then breaks the connection instead of answering.
    loses_answer: bool = False


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, code: str = "", **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"type": kind, "code": code, "message": f"message of {code}", **more}}


class StripeApi:
    """What Stripe knows: sessions, payments and refunds by id; `requests` are those that did something."""

    def __init__(self) -> None:
        self.sessions: dict[str, Json] = {}
        self.payments: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.requests: list[tuple[str, Json]] = []
        self.idempotency_keys: list[str] = []
        self.troubles: list[Trouble] = []
        self.refund_status = "succeeded"
        self.method = CARD_GOOD
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        # Hears of each request's method, path and progress: "asked" and "done". What it raises then is the answer.
        self.listener: Callable[[str, str, str], None] = lambda _method, _path, _progress: None
        self._answers: dict[str, tuple[tuple[str, Json], int, Json]] = {}
        self._numbers = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/v1/checkout/sessions", self._post(self._create_session), methods=["POST"]),
                Route("/v1/checkout/sessions/{id}", self._get(self.sessions), methods=["GET"]),
                Route("/v1/payment_intents", self._post(self._create_payment), methods=["POST"]),
                Route("/v1/payment_intents", self._list(self.payments, "customer"), methods=["GET"]),
                Route("/v1/payment_intents/{id}", self._get(self.payments), methods=["GET"]),
                Route("/v1/refunds", self._post(self._create_refund), methods=["POST"]),
                Route("/v1/refunds", self._list(self.refunds, "charge", "payment_intent"), methods=["GET"]),
            ]
        )

    # What payers, banks and people at Stripe's own pages do.

    def pay(self, session: Json) -> Json:
        """The payer pays at the checkout page, at once; returns the payment."""
        payment = self._new_payment(session["amount_total"], session["currency"], session["_payment_metadata"])
        payment |= {"status": "succeeded", "amount_received": session["amount_total"], "customer": self._id("cus")}
        payment["payment_method"] = self.method
        session |= {"payment_intent": payment["id"], "payment_status": "paid", "status": "complete"}
        return payment

    def refund_by_hand(self, payment: Json, amount: int) -> Json:
        """Somebody refunds at Stripe's own pages."""
        return self._new_refund(payment, amount, {})

    def dispute(self, payment: Json, *, amount: int | None = None, status: str = "needs_response") -> Json:
        """The payer's bank takes the money back."""
        return {
            "id": self._id("dp"),
            "object": "dispute",
            "amount": payment["amount"] if amount is None else amount,
            "currency": payment["currency"],
            "charge": payment["latest_charge"],
            "payment_intent": payment["id"],
            "reason": "fraudulent",
            "status": status,
            "metadata": {},
        }

    def forget_keys(self) -> None:
        """A day has passed."""
        self._answers.clear()

    def charge_of(self, payment: Json) -> Json:
        return {
            "id": payment["latest_charge"],
            "object": "charge",
            "amount": payment["amount"],
            "currency": payment["currency"],
            "payment_intent": payment["id"],
            "metadata": payment["metadata"],
        }

    # The API.

    def _post(self, work: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            parameters = nested(parse_qsl((await request.body()).decode(), keep_blank_values=True))
            return await self._answer(request, parameters, work)

        return endpoint

    def _get(self, known: dict[str, Json]) -> Any:
        async def endpoint(request: Request) -> Response:
            def find(_parameters: Json) -> Json:
                return shown(existing(known, request.path_params["id"]))

            return await self._answer(request, {}, find)

        return endpoint

    def _list(self, known: dict[str, Json], *filters: str) -> Any:
        async def endpoint(request: Request) -> Response:
            def find(_parameters: Json) -> Json:
                asked = {name: request.query_params[name] for name in filters if name in request.query_params}
                assert asked, "the broker never asks for everything"
                found = [it for it in known.values() if all(it.get(name) == value for name, value in asked.items())]
                return {"object": "list", "data": found, "has_more": False, "url": request.url.path}

            return await self._answer(request, {}, find)

        return endpoint

    async def _answer(self, request: Request, parameters: Json, work: Any) -> Response:
        try:
            self._check_key(request)
            trouble = self._trouble(request)
            self.listener(request.method, request.url.path, "asked")
            status, body = self._once(request, parameters, work)
            self.listener(request.method, request.url.path, "done")
        except ApiError as error:
            # As Stripe does where the answer would be the same again.
            return JSONResponse(error.body, error.status, {"stripe-should-retry": "false"})
        if trouble is not None:
            request.scope["extensions"]["tests.drop"]()
            await asyncio.sleep(0)
        return JSONResponse(body, status)

    def _check_key(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {SECRET_KEY}":
            raise ApiError(401, "invalid_request_error", "api_key_invalid")

    def _trouble(self, request: Request) -> Trouble | None:
        for trouble in self.troubles:
            asked = trouble.method == request.method and request.url.path.endswith(trouble.path_end)
            if trouble.count and asked:
                trouble.count -= 1
                if not trouble.loses_answer:
                    raise ApiError(trouble.status, **trouble.error)
                return trouble
        return None

    def _once(self, request: Request, parameters: Json, work: Any) -> tuple[int, Json]:
        """Does the work, or answers as it did when the idempotency key came first."""
        key = request.headers.get("idempotency-key", "")
        asked = (request.url.path, parameters)
        if request.method == "POST":
            self.idempotency_keys.append(key)
        if key in self._answers:
            first, status, body = self._answers[key]
            if first != asked:
                raise ApiError(400, "idempotency_error", "")
            return status, body
        try:
            status, body = 200, work(parameters)
        except ApiError as error:
            # A refusal of the bank's is an answer like any other; one of the parameters is none yet.
            if error.status != 402:
                raise
            status, body = error.status, error.body
        if request.method == "POST":
            self.requests.append(asked)
            self._answers[key] = (asked, status, body)
        return status, body

    def _create_session(self, parameters: Json) -> Json:
        (item,) = parameters["line_items"].values()
        amount, currency = int(item["price_data"]["unit_amount"]), item["price_data"]["currency"]
        lifetime = int(parameters["expires_at"]) - self.clock().timestamp()
        if not 1_800 <= lifetime <= 86_400:
            raise ApiError(400, "invalid_request_error", "parameter_invalid_integer", param="expires_at")
        check_amount(currency, amount)
        session_id = self._id("cs_test")
        self.sessions[session_id] = {
            "id": session_id,
            "object": "checkout.session",
            "url": f"https://checkout.stripe.example/c/pay/{session_id}",
            "amount_total": amount,
            "currency": currency,
            "client_reference_id": parameters["client_reference_id"],
            "metadata": parameters["metadata"],
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "success_url": parameters["success_url"],
            "_payment_metadata": parameters["payment_intent_data"]["metadata"],
        }
        return shown(self.sessions[session_id])

    def _create_payment(self, parameters: Json) -> Json:
        amount, method = int(parameters["amount"]), parameters["payment_method"]
        check_amount(parameters["currency"], amount)
        payment = self._new_payment(amount, parameters["currency"], parameters["metadata"])
        payment |= {"customer": parameters["customer"], "payment_method": method}
        if method in (CARD_DECLINED, CARD_NEEDS_CUSTOMER):
            payment["status"] = "requires_payment_method"
            declined = method == CARD_DECLINED
            code = "card_declined" if declined else "authentication_required"
            decline_code = "insufficient_funds" if declined else "authentication_required"
            payment["last_payment_error"] = {"code": code, "decline_code": decline_code}
            raise ApiError(402, "card_error", code, decline_code=decline_code, payment_intent=payment)
        if method == CARD_SLOW:
            payment["status"] = "processing"
        else:
            payment |= {"status": "succeeded", "amount_received": amount}
        return payment

    def _create_refund(self, parameters: Json) -> Json:
        payment = existing(self.payments, parameters["payment_intent"])
        amount = int(parameters["amount"])
        refunded = sum(it["amount"] for it in self.refunds.values() if it["payment_intent"] == payment["id"])
        if refunded + amount > payment["amount"]:
            raise ApiError(400, "invalid_request_error", "charge_already_refunded")
        return self._new_refund(payment, amount, parameters["metadata"])

    def _new_payment(self, amount: int, currency: str, metadata: Json) -> Json:
        payment_id = self._id("pi")
        self.payments[payment_id] = {
            "id": payment_id,
            "object": "payment_intent",
            "amount": amount,
            "amount_received": 0,
            "currency": currency,
            "metadata": metadata,
            "latest_charge": payment_id.replace("pi_", "ch_"),
            "status": "requires_confirmation",
        }
        return self.payments[payment_id]

    def _new_refund(self, payment: Json, amount: int, metadata: Json) -> Json:
        refund_id = self._id("re")
        self.refunds[refund_id] = {
            "id": refund_id,
            "object": "refund",
            "amount": amount,
            "currency": payment["currency"],
            "charge": payment["latest_charge"],
            "payment_intent": payment["id"],
            "metadata": metadata,
            "status": self.refund_status,
        }
        return self.refunds[refund_id]

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers):06}"


def check_amount(currency: str, amount: int) -> None:
    """Refuses what Stripe's rules for amounts refuse, in the currencies where they are special."""
    steps = {"isk": 100, "ugx": 100, "kwd": 10, "bhd": 10}
    if amount % steps.get(currency, 1):
        raise ApiError(400, "invalid_request_error", "invalid_charge_amount_no_decimal_compatible", param="amount")


def shown(stored: Json) -> Json:
    """What is told to others of an object."""
    return {name: value for name, value in stored.items() if not name.startswith("_")}


def existing(known: dict[str, Json], identity: str) -> Json:
    if identity not in known:
        raise ApiError(404, "invalid_request_error", "resource_missing", param="id")
    return known[identity]


def nested(pairs: list[tuple[str, str]]) -> Json:
    """Returns `a[b][0]=c` as nested objects."""
    result: Json = {}
    for name, value in pairs:
        first, *rest = name.replace("]", "").split("[")
        here, keys = result, [first, *rest]
        for key in keys[:-1]:
            here = here.setdefault(key, {})
        here[keys[-1]] = value
    return result
