"""What can be set about a broker; each setting comes from its flag, else its environment variable, else its default."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker_service.payments.sandbox import SandboxBehavior
from mesh_runtime.addresses import Address

DEFAULT_DATABASE = "sqlite:///var/iap.db"
DEFAULT_LISTEN = "127.0.0.1:50051"


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """A broker's settings, checked.

    `purchase_url` is where people buy packs; `{service}` in it becomes the service's name. `reuse_port` lets several
    processes serve the address, which clients spread over by connecting again after `max_connection_age_seconds`.
    Every `sweep_seconds` what has expired is written down; 0: by nobody. Every `watch_seconds` those who watch a
    balance are told what time and other processes have changed. Every `event_seconds` events of other processes are
    looked for, and deliveries that have become due. A checkout can be paid for `checkout_hours`. Every
    `refund_seconds` gateways are asked again for refunds they have not paid; 0: by nobody. The sandbox gateway does as
    `sandbox_behavior` says, and delivers what it tells unasked after `sandbox_delay_seconds`. `payout_minimums` are the
    least payouts by currency, in minor units; without one it is a single minor unit.

    Every `top_up_seconds` accounts that run low buy what their customers have agreed to; 0: none does.
    Without `http_listen` nothing is served over HTTP; `http_url` is how browsers reach it, "": at that very address.
    Of the `payment_gateways` the first that takes a currency is paid in it. Stripe's API is at `stripe_api_url`, "":
    where it is by itself.
    """

    listen: Address
    database: str
    commission_basis_points: int
    purchase_url: str
    tls_certificate: Path | None
    tls_key: Path | None
    insecure: bool
    drain_seconds: float
    queue_commands: int
    batch_commands: int
    max_concurrent_calls: int | None
    reuse_port: bool = False
    max_connection_age_seconds: float | None = None
    sweep_seconds: float = 0.0
    watch_seconds: float = 1.0
    event_seconds: float = 1.0
    top_up_seconds: float = 0.0
    allow_private_webhooks: bool = False
    checkout_hours: int = 24
    refund_seconds: float = 0.0
    sandbox_behavior: SandboxBehavior = SandboxBehavior.SUCCEED
    sandbox_delay_seconds: float = 1.0
    payout_minimums: Mapping[str, int] = field(default_factory=dict)
    http_listen: Address | None = None
    http_url: str = ""
    payment_gateways: tuple[str, ...] = ("sandbox",)
    stripe_secret_key: str = field(default="", repr=False)
    stripe_webhook_secret: str = field(default="", repr=False)
    stripe_api_url: str = ""
