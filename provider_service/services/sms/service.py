"""Text messages, priced by the segment and the recipient's country."""

from collections.abc import Mapping

from provider_service.gateways.gateway_error import GatewayError
from provider_service.gateways.sms import SmsGateway, SmsMessage
from provider_service.services.charge import Charge
from provider_service.services.service import AfterCrash, Json, Quote, ServiceFailure
from provider_service.services.sms.options import create_gateway, read_prices
from provider_service.services.sms.prices import Prices
from provider_service.services.sms.request import INPUT_SCHEMA, parse_request


def create_service(options: Mapping[str, str]) -> "SmsService":
    """Makes the service. Raises InvalidOption.

    Options:
        gateway: `sandbox` (the default) or `http`.
        prices: a TOML file of prices; the default is the one that comes with the service.
        outbox: with `sandbox`, the file that messages are appended to; by default var/sms-outbox.txt.
        fail: with `sandbox`, the recipients that every message to fails, with commas between them.
        url: with `http`, where messages are posted; required.
        token: with `http`, the bearer token to post them with.
        timeout: with `http`, how many seconds the gateway has to answer, at most 60; by default 10.
    """
    return SmsService(prices=read_prices(options), gateway=create_gateway(options))


class SmsService:
    """Sends one text message per request."""

    name = "sms"
    title = "Text messages"
    unit_name = "segment"
    input_schema = INPUT_SCHEMA

    def __init__(self, *, prices: Prices, gateway: SmsGateway) -> None:
        self._prices = prices
        self._gateway = gateway

    @property
    def after_crash(self) -> AfterCrash:
        """Sends again only through a gateway that still knows what it sent: nobody wants a text twice."""
        return AfterCrash.RESUME if self._gateway.outlasting_ids else AfterCrash.RELEASE

    def quote(self, service_input: Mapping[str, Json]) -> Quote:
        """Prices the message: its segments times the price of one in the recipient's country."""
        request = parse_request(service_input)
        segments = len(request.segmented_text.segments)
        credits_per_segment = self._prices.find_credits_per_segment(request.recipient.country)
        return Quote(
            credits=segments * credits_per_segment,
            breakdown={
                "segments": segments,
                "encoding": request.segmented_text.encoding.value,
                "characters": len(request.segmented_text.text),
                "country": request.recipient.country,
                "credits_per_segment": credits_per_segment,
            },
        )

    async def perform(self, service_input: Mapping[str, Json], charge: Charge) -> Mapping[str, Json]:
        """Hands the message to the gateway. "accepted" says that the gateway took it, not that it arrived."""
        request = parse_request(service_input)
        message = SmsMessage(
            request_id=charge.request_id,
            to=request.recipient.number,
            text=request.segmented_text.text,
            segments=len(request.segmented_text.segments),
            encoding=request.segmented_text.encoding.value,
        )
        try:
            receipt = await self._gateway.send(message)
        except GatewayError as error:
            raise ServiceFailure(f"sending the text message failed: {error}", retryable=error.retryable) from error
        return {
            "message_id": receipt.message_id,
            "to": message.to,
            "segments": message.segments,
            "encoding": message.encoding,
            "status": "accepted",
        }

    async def close(self) -> None:
        """Closes the gateway."""
        await self._gateway.close()
