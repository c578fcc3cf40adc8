"""The payment gateways of a broker."""

from broker_service.payments.gateway import PaymentGateway
from broker_service.payments.stripe_amounts import step_minor_units


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

    def refund_step_minor_units(self, name: str, currency: str) -> int:
        """Returns the step of what the gateway of this name can pay back, in minor units of a currency.

        One that is not configured any more is asked when it is again: until then the coarsest step that is known.
        """
        gateway = self.by_name(name)
        return step_minor_units(currency) if gateway is None else gateway.refund_step_minor_units(currency)

    async def close(self) -> None:
        """Closes all of them."""
        for gateway in self._gateways:
            await gateway.close()
