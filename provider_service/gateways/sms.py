"""What an SMS gateway is: something that accepts text messages for delivery."""

from dataclasses import dataclass
from typing import Protocol


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

    @property
    def outlasting_ids(self) -> bool:
        """Whether a request_id sent before a crash of this process is known as sent before after it, too."""

    async def send(self, message: SmsMessage) -> SmsReceipt:
        """Hands over one message; it is accepted once this returns. Raises GatewayError."""

    async def close(self) -> None:
        """Lets go of connections and threads. Nothing may be sent afterwards."""
