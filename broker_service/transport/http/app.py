"""The broker's HTTP application: its routes, and what is true of every answer."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker_service.domain.purchase_commands import SANDBOX
from broker_service.engine.clock import Clock
from broker_service.engine.payment_desk import PaymentDesk
from broker_service.payments.gateways import Gateways
from broker_service.transport.errors import EXPECTED_ERRORS
from broker_service.transport.http.checkout_page import CheckoutPage
from broker_service.transport.http.notices import NoticeTaker
from broker_service.transport.http.pages import Pages
from mesh_runtime.deadlines import start_deadline
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

_STYLE_SHEET: Final = Path(__file__).parent / "templates" / "style.css"
# What waits for a commit longer than this is dropped undone, as a call without time left is.
_REQUEST_SECONDS: Final = 30.0
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Other than with no-referrer, browsers still say where a form of our own comes from.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def build_app(
    desk: PaymentDesk,
    gateways: Gateways,
    *,
    public_url: str,
    clock: Clock,
    is_serving: Callable[[], bool],
) -> ASGIApp:
    """Puts the application together. `public_url` is its address as browsers know it, without a slash at its end."""
    pages = Pages(base_path=urlsplit(public_url).path)
    has_sandbox = gateways.by_name(SANDBOX) is not None
    checkout = CheckoutPage(desk, pages, public_url=public_url, has_sandbox=has_sandbox, clock=clock)
    notices = NoticeTaker(desk, gateways)

    async def health(_request: Request) -> Response:
        serving = is_serving()
        return JSONResponse({"status": "SERVING" if serving else "NOT_SERVING"}, 200 if serving else 503)

    async def style_sheet(_request: Request) -> Response:
        return Response(style, media_type="text/css", headers={"cache-control": "public, max-age=3600"})

    style = _STYLE_SHEET.read_bytes()
    app = Starlette(
        routes=[
            Route("/checkout/{purchase_id}", checkout.show, methods=["GET"]),
            Route("/checkout/{purchase_id}", checkout.complete, methods=["POST"]),
            Route("/notices/{gateway}", notices.take, methods=["POST"]),
            Route("/healthz", health, methods=["GET"]),
            Route("/style.css", style_sheet, methods=["GET"]),
        ],
        exception_handlers={
            HTTPException: pages.http_error,
            **dict.fromkeys(EXPECTED_ERRORS, pages.unavailable),
            Exception: pages.bug,
        },
    )
    app.router.redirect_slashes = False
    return _Outermost(app)


class _Outermost:
    """Gives every answer its headers and every request a deadline and its line in the log.

    Paths are logged as their route only: whoever knows a purchase's id may pay it at the sandbox.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        start_deadline(_REQUEST_SECONDS)
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # Answered by now, without a word of it.
            logger.exception("http.bug", method=scope["method"], route=_route(scope))
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        logger.info("http", method=scope["method"], route=_route(scope), status=status, duration_ms=duration_ms)


def _route(scope: Scope) -> str:
    """Returns which route took the request; empty: none did."""
    path: str = scope["path"]
    if not scope.get("endpoint"):
        return ""
    first = path.split("/", 2)[1]
    return {"checkout": "/checkout/{purchase_id}", "notices": "/notices/{gateway}"}.get(first, path)
