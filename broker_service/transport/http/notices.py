"""POST /notices/{gateway}: where payment gateways tell what became of payments."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker_service.engine.payment_desk import PaymentDesk
from broker_service.payments.gateway import GatewayError, NoticeInvalidError
from broker_service.payments.gateways import Gateways
from broker_service.transport.http.requests import read_body
from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

MAX_NOTICE_BYTES: Final = 1024 * 1024


class NoticeTaker:
    """Takes notices to the payment desk.

    Any other answer than 200 makes a gateway send the notice again. So 200 says that it is kept, whatever came of it;
    of several in one request the first may be taken twice when a later one fails, which changes nothing.
    """

    def __init__(self, desk: PaymentDesk, gateways: Gateways) -> None:
        self._desk = desk
        self._gateways = gateways

    async def take(self, request: Request) -> Response:
        """Answers 200; 400 for what is no notice of the gateway's, 404 for an unknown gateway, 503 to come again."""
        gateway = self._gateways.by_name(request.path_params["gateway"])
        if gateway is None:
            raise HTTPException(404, "no such gateway")
        body = await read_body(request, max_bytes=MAX_NOTICE_BYTES)
        try:
            notices = await gateway.notices(dict(request.headers), body)
        except NoticeInvalidError as error:
            logger.warning("notice.invalid", gateway=gateway.name, error=str(error))
            raise HTTPException(400, "not a valid notice") from None
        except GatewayError as error:
            logger.warning("notice.unclear", gateway=gateway.name, error=str(error))
            raise HTTPException(503, "the gateway could not be asked what the notice is about") from None
        for notice in notices:
            outcome = await self._desk.take_notice(gateway.name, notice)
            logger.info("notice", gateway=gateway.name, kind=notice.kind.value, outcome=outcome.value)
        return JSONResponse({"taken": len(notices)})
