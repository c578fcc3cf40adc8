"""What an SMS gateway is: something that accepts text messages for delivery."""

from dataclasses import dataclass
from typing import Protocol

DEFAULT_TIMEOUT_SECONDS = 10.0
TIMEOUT_MAXIMUM_SECONDS = 60.0


class GatewayError(Exception):
    """A gateway did not accept a message.

    The text may reach a customer: it holds no secret, no address and nothing of what the gateway answered.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
        """Whether the same message may be accepted later; it may also have been accepted already, unheard."""


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """One text message to one recipient."""

    request_id: str
    """The idempotency key: a gateway that sees it again must not send again."""
    to: str
    """The recipient in E.164 form."""
    text: str
    segments: int
    """How many segments the text takes on the air, at least 1."""
    encoding: str
    """How the text is coded on the air: "GSM-7" or "UCS-2"."""


@dataclass(frozen=True, slots=True)
class SmsReceipt:
    """A gateway's word that it accepted a message; not yet that it arrived."""

    message_id: str


class SmsGateway(Protocol):
    """A way to send text messages."""

    async def send(self, message: SmsMessage) -> SmsReceipt:
        """Hands over one message; it is accepted once this returns. Raises GatewayError."""

    async def close(self) -> None:
        """Lets go of connections and threads. Nothing may be sent afterwards."""
