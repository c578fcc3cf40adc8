"""An SMS gateway for development: messages go to a text file that a person can read."""

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unicodedata import category

from provider_service.gateways.gateway_error import GatewayError
from provider_service.gateways.sms import SmsMessage, SmsReceipt

DEFAULT_OUTBOX = Path("var/sms-outbox.txt")

FAILING_RECIPIENT = "+12025550199"
"""Sending to this number fails unless told otherwise.

The North American Numbering Plan keeps 555-0100 to 555-0199 of every area code for use in fiction.
"""

REMEMBERED_IDS_MAXIMUM = 10_000


@dataclass(frozen=True, slots=True)
class _Delivery:
    message: SmsMessage
    written: Future[None]


class SandboxSmsGateway:
    """Appends each message to an outbox file, durably, before `send` returns.

    Messages that wait together share one write and one fsync. A request id is written once, as long as it is
    among the last `remembered_ids_maximum` of this process: to another process, or after a restart, it
    is new.
    """

    outlasting_ids = False

    def __init__(
        self,
        *,
        outbox: Path = DEFAULT_OUTBOX,
        failing_recipients: Iterable[str] = (FAILING_RECIPIENT,),
        remembered_ids_maximum: int = REMEMBERED_IDS_MAXIMUM,
    ) -> None:
        self._outbox = outbox
        self._failing_recipients = frozenset(failing_recipients)
        self._remembered_ids_maximum = remembered_ids_maximum
        self._remembered_ids: dict[str, None] = {}  # oldest first; only the writer thread touches it
        self._waiting: deque[_Delivery] = deque()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sms-outbox")

    async def send(self, message: SmsMessage) -> SmsReceipt:
        """Appends the message to the outbox. Cancelled before its turn to be written, it leaves no trace."""
        if message.to in self._failing_recipients:
            raise GatewayError(f"the sandbox fails every message to {message.to}", retryable=False)
        delivery = _Delivery(message=message, written=Future())
        self._waiting.append(delivery)
        self._writer.submit(self._deliver_waiting)
        try:
            await asyncio.wrap_future(delivery.written)
        except OSError as error:
            raise GatewayError("the sandbox could not write its outbox", retryable=True) from error
        return SmsReceipt(message_id=f"sandbox-{message.request_id}")

    async def close(self) -> None:
        """Writes what still waits, then ends the writer thread."""
        await asyncio.to_thread(self._writer.shutdown)

    def _deliver_waiting(self) -> None:
        """Writes all that waits; runs in the writer thread.

        One run is submitted per message, after the message: when that run ends, it or an earlier one has
        written the message.
        """
        deliveries = [delivery for delivery in self._take_waiting() if delivery.written.set_running_or_notify_cancel()]
        try:
            self._append_new([delivery.message for delivery in deliveries])
        except Exception as error:  # noqa: BLE001 - whatever went wrong, each sender must hear of it or wait forever
            for delivery in deliveries:
                delivery.written.set_exception(error)
        else:
            for delivery in deliveries:
                delivery.written.set_result(None)

    def _take_waiting(self) -> Iterator[_Delivery]:
        while self._waiting:
            yield self._waiting.popleft()

    def _append_new(self, messages: Iterable[SmsMessage]) -> None:
        new = {message.request_id: message for message in messages if message.request_id not in self._remembered_ids}
        if not new:
            return
        time = datetime.now(UTC)
        _append_durably(self._outbox, "".join(_render(message, time=time) for message in new.values()))
        self._remembered_ids |= dict.fromkeys(new)
        while len(self._remembered_ids) > self._remembered_ids_maximum:
            del self._remembered_ids[next(iter(self._remembered_ids))]


def _append_durably(path: Path, entries: str) -> None:
    """Appends in one write, so that processes that share the file do not mix, and waits until it is on disk."""
    data = entries.encode(errors="backslashreplace")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        if file.write(data) != len(data):
            raise OSError("the disk took only part of a write")
        os.fsync(file.fileno())


def _render(message: SmsMessage, *, time: datetime) -> str:
    """Lays a message out for a person. Only its first line is at the margin, whatever the text holds."""
    text_lines = "".join(f"    | {_visible(line)}\n" for line in message.text.replace("\r\n", "\n").split("\n"))
    return (
        f"{time.isoformat(timespec='milliseconds')}  text message to {_visible(message.to)}\n"
        f"    id        {_visible(message.request_id)}\n"
        f"    segments  {message.segments} ({_visible(message.encoding)})\n"
        f"{text_lines}"
        "\n"
    )


def _visible(text: str) -> str:
    """Spells out the characters that would break a line or drive a terminal."""
    return "".join(ascii(character)[1:-1] if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    return category(character) in {"Cc", "Zl", "Zp"}
