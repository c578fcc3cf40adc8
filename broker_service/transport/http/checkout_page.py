"""GET and POST /checkout/{purchase_id}: the page where a purchase is paid at the sandbox gateway.

Purchases of other gateways are paid at those; here they show how far they have come.
"""

import uuid
from datetime import timedelta
from enum import StrEnum
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker_service.domain.errors import (
    CheckoutExpired,
    PurchaseFailed,
    PurchaseNotFound,
    PurchasePaid,
    Refusal,
    RequestIdReused,
)
from broker_service.domain.purchase_commands import SANDBOX
from broker_service.domain.records import Purchase, PurchaseState
from broker_service.engine.clock import Clock
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.transport.http.origins import host_of, is_same_origin, web_url
from broker_service.transport.http.pages import Pages
from broker_service.transport.http.requests import read_form
from broker_service.transport.money import format_money

_OUTCOMES: Final = {"pay": True, "decline": False}
# What an earlier press of a button has led to, or time; the page tells.
_SETTLED: Final = (PurchasePaid, PurchaseFailed, CheckoutExpired, RequestIdReused)


class _Stage(StrEnum):
    """What the page shows."""

    OPEN = "open"
    WAITING = "waiting"
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    GIVEN_BACK = "given_back"


class CheckoutPage:
    """Shows purchases, and plays the payer's part of the sandbox's."""

    def __init__(self, desk: PaymentDesk, pages: Pages, *, public_url: str, has_sandbox: bool, clock: Clock) -> None:
        self._desk = desk
        self._pages = pages
        self._public_url = public_url
        self._has_sandbox = has_sandbox
        self._clock = clock

    async def show(self, request: Request) -> Response:
        """Answers with the page of a purchase; 404 for an unknown one.

        It leads nowhere by itself: whoever started the purchase has chosen the return_url, and may send its address to
        anybody. `?done=1` says that a button was pressed, so a payment that has not arrived yet shows none again.
        """
        return await self._page(await self._purchase(request), is_done="done" in request.query_params)

    async def complete(self, request: Request) -> Response:
        """Pays or declines, then leads back to the shop if it has said where that is, else to the purchase's page.

        The form carries a request_id of its own, so that a button pressed twice pays once. Only this answer goes on to
        the shop by itself: nobody gets it but who has pressed a button here. It is a page and no redirect, because some
        browsers hold all redirects that follow a form to the policy for forms, the shop's own included.
        """
        if not is_same_origin(request, self._public_url):
            raise HTTPException(403, "Open the checkout page itself and pay there.")
        request_id, succeeded = _order(await read_form(request))
        purchase = await self._purchase(request)
        if purchase.gateway != SANDBOX:
            raise HTTPException(409, f"This purchase is paid through {purchase.gateway}.")
        try:
            result = await self._desk.complete_sandbox(
                request_id=request_id, purchase_id=purchase.purchase_id, succeeded=succeeded
            )
        except _SETTLED:
            return self._redirect(purchase)
        except Refusal as refusal:
            raise HTTPException(409, str(refusal)) from refusal
        if result.purchase.state is not PurchaseState.PENDING and web_url(purchase.return_url):
            return await self._page(result.purchase, is_done=True, leads_back=True)
        return self._redirect(purchase, "?done=1")

    async def _purchase(self, request: Request) -> Purchase:
        """Returns the purchase of a page. Raises HTTPException; without the sandbox, its purchases have no pages."""
        try:
            purchase = await self._desk.purchase(request.path_params["purchase_id"])
        except PurchaseNotFound:
            raise _no_such_purchase() from None
        if purchase.gateway == SANDBOX and not self._has_sandbox:
            raise _no_such_purchase()
        return purchase

    async def _page(self, purchase: Purchase, *, is_done: bool, leads_back: bool = False) -> Response:
        service_title, provider_name = await self._desk.offered_by(purchase)
        stage = self._stage(purchase, is_done=is_done)
        settled = stage not in (_Stage.OPEN, _Stage.WAITING)
        return_url = web_url(purchase.return_url) if settled else ""
        return self._pages.render(
            "checkout.html",
            purchase=purchase,
            service_title=service_title,
            provider_name=provider_name,
            validity="" if purchase.validity is None else _span_text(purchase.validity),
            stage=stage.value,
            price=format_money(purchase.currency, purchase.price_minor_units),
            return_url=return_url,
            return_host=host_of(return_url),
            leads_back=leads_back,
            pay_url="" if purchase.gateway == SANDBOX else web_url(purchase.checkout_url),
            request_id=str(uuid.uuid4()),
        )

    def _stage(self, purchase: Purchase, *, is_done: bool) -> _Stage:
        match purchase.state:
            case PurchaseState.PENDING:
                return _Stage.OPEN if purchase.gateway == SANDBOX and not is_done else _Stage.WAITING
            case PurchaseState.PAID:
                return _Stage.PAID
            case PurchaseState.FAILED:
                return _Stage.EXPIRED if self._clock() >= purchase.checkout_expire_time else _Stage.FAILED
            case _:
                return _Stage.GIVEN_BACK

    def _redirect(self, purchase: Purchase, query: str = "") -> Response:
        # 303: what follows is fetched by GET, so that loading it again pays nothing.
        return RedirectResponse(f"{self._pages.base_path}/checkout/{purchase.purchase_id}{query}", status_code=303)


def _span_text(span: timedelta) -> str:
    """Returns a length of time in the largest unit that it is whole in, such as 30 days."""
    amount, unit = span // timedelta(seconds=1), "second"
    for longer, name in ((60, "minute"), (60, "hour"), (24, "day")):
        if amount % longer:
            break
        amount, unit = amount // longer, name
    return f"{amount:,} {unit}" if amount == 1 else f"{amount:,} {unit}s"


def _no_such_purchase() -> HTTPException:
    return HTTPException(404, "There is no such purchase. Check the address.")


def _order(form: dict[str, str]) -> tuple[str, bool]:
    """Returns the request_id, and whether to pay. Raises HTTPException."""
    try:
        request_id = str(uuid.UUID(form.get("request_id", "")))
    except ValueError:
        raise HTTPException(400, "request_id: must be a UUID") from None
    succeeded = _OUTCOMES.get(form.get("outcome", ""))
    if succeeded is None:
        raise HTTPException(400, "outcome: must be pay or decline")
    return request_id, succeeded
