"""The payment gateways of a broker."""

from broker_service.payments.gateway import PaymentGateway


class Gateways:
    """Those that are configured; where several take a currency, the first does."""

    def __init__(self, *gateways: PaymentGateway) -> None:
        self._gateways = gateways

    def for_currency(self, currency: str) -> PaymentGateway | None:
        """Returns the gateway for payments in a currency (ISO 4217); None if there is none."""
        return next((gateway for gateway in self._gateways if gateway.takes(currency)), None)

    def by_name(self, name: str) -> PaymentGateway | None:
        """Returns the gateway that purchases are stored with by this name; None if it is not configured any more."""
        return next((gateway for gateway in self._gateways if gateway.name == name), None)

    async def close(self) -> None:
        """Closes all of them."""
        for gateway in self._gateways:
            await gateway.close()
