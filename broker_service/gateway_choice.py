"""Which payment gateways a broker works with."""

from broker_service.domain.purchase_commands import SANDBOX
from broker_service.payments.gateway import PaymentGateway
from broker_service.payments.gateways import Gateways
from broker_service.payments.sandbox import SandboxGateway
from broker_service.settings import BrokerSettings
from mesh_runtime.startup_errors import StartupError

GATEWAY_NAMES = (SANDBOX, "stripe")


def make_gateways(settings: BrokerSettings, *, public_url: str) -> Gateways:
    """Returns the payment gateways that the settings ask for; where several take a currency, the first does.

    `public_url` is where browsers reach the broker, "" if they do not. Raises StartupError.
    """
    chosen = dict.fromkeys(settings.payment_gateways)
    if not chosen:
        raise StartupError(f"--payment-gateway must name one of {', '.join(GATEWAY_NAMES)}")
    if SANDBOX in chosen and len(chosen) > 1:
        # Credits from the sandbox are earned and paid out like any others, so its play money would become real.
        raise StartupError("--payment-gateway sandbox goes with no other: it sells for nothing, and payouts are real")
    return Gateways(*(_make(name, settings, public_url) for name in chosen))


def _make(name: str, settings: BrokerSettings, public_url: str) -> PaymentGateway:
    match name:
        case "sandbox":
            return SandboxGateway(
                behavior=settings.sandbox_behavior,
                delay_seconds=settings.sandbox_delay_seconds,
                public_address=public_url,
            )
        case "stripe":
            return _make_stripe(settings, public_url)
        case _:
            raise StartupError(f"unknown payment gateway {name!r}: expected one of {', '.join(GATEWAY_NAMES)}")


def _make_stripe(settings: BrokerSettings, public_url: str) -> PaymentGateway:
    for flag, value in (
        ("--stripe-secret-key", settings.stripe_secret_key),
        ("--stripe-webhook-secret", settings.stripe_webhook_secret),
    ):
        if not value.strip():
            variable = "IAP_BROKER_" + flag.removeprefix("--").replace("-", "_").upper()
            raise StartupError(f"--payment-gateway stripe needs {flag}, or {variable} in the environment")
    if not public_url:
        raise StartupError("--payment-gateway stripe needs --http-listen: that is where Stripe says what was paid")
    try:
        from broker_service.payments import stripe_gateway  # noqa: PLC0415 - an extra, and large
    except ModuleNotFoundError as error:
        raise StartupError(
            f"--payment-gateway stripe needs {error.name}; pip install 'iap-mesh[stripe]' brings it"
        ) from error
    return stripe_gateway.StripeGateway(
        secret_key=settings.stripe_secret_key.strip(),
        webhook_secret=settings.stripe_webhook_secret.strip(),
        api_url=settings.stripe_api_url.rstrip("/") or stripe_gateway.DEFAULT_API_URL,
        own_url=public_url,
    )
