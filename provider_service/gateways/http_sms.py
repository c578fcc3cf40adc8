"""An SMS gateway reached over HTTP: one POST of a small JSON object per message."""

import json
from http import HTTPStatus

import aiohttp

from provider_service.gateways.bounded_reading import read_bounded
from provider_service.gateways.gateway_error import GatewayError
from provider_service.gateways.sms import SmsMessage, SmsReceipt

DEFAULT_TIMEOUT_SECONDS = 10.0
TIMEOUT_MAXIMUM_SECONDS = 60.0

ANSWER_MAXIMUM_BYTES = 64 * 1024
MESSAGE_ID_MAXIMUM_CHARACTERS = 256


class HttpSmsGateway:
    """Sends `{"id", "to", "text", "segments", "encoding"}` with the request id as `Idempotency-Key`.

    Any 2xx accepts the message; a JSON answer `{"message_id": "…"}` names it. 429, 5xx, silence and a broken
    connection are worth a retry; anything else is not. Redirects are not followed: they would carry the token
    elsewhere.
    """

    # Whoever answers keeps the ids: an `Idempotency-Key` it has seen must not be sent again, whoever asks.
    outlasting_ids = True

    def __init__(self, *, url: str, token: str | None = None, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._url = url
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: SmsMessage) -> SmsReceipt:
        """Posts the message. The timeout spans the whole exchange, the wait for a free connection included."""
        try:
            async with self._open_session().post(
                self._url,
                json=_render(message),
                headers={"Idempotency-Key": message.request_id},
                allow_redirects=False,
            ) as response:
                _check_status(response.status)
                message_id = await _read_message_id(response)
        except TimeoutError:
            raise GatewayError(
                f"the SMS gateway did not answer within {self._timeout_seconds:g} seconds", retryable=True
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            # Not chained: the client's own messages show the URL, which may hold a secret.
            raise GatewayError(
                f"the connection to the SMS gateway failed ({type(error).__name__})", retryable=True
            ) from None
        return SmsReceipt(message_id=message.request_id if message_id is None else message_id)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        """Returns the session, made on first use because it belongs to the event loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small compressed answer could unpack to a huge one
            )
        return self._session


def _render(message: SmsMessage) -> dict[str, str | int]:
    return {
        "id": message.request_id,
        "to": message.to,
        "text": message.text,
        "segments": message.segments,
        "encoding": message.encoding,
    }


def _check_status(status: int) -> None:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    retryable = status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    raise GatewayError(f"the SMS gateway answered with HTTP status {status}", retryable=retryable)


async def _read_message_id(response: aiohttp.ClientResponse) -> str | None:
    """Returns the gateway's id for a message it accepted; None when the answer has none that can be used.

    Nothing here is an error: the status said that the message is accepted, and to fail now would give the
    credits back for work that was done.
    """
    try:
        answer = json.loads(await read_bounded(response.content, maximum_bytes=ANSWER_MAXIMUM_BYTES))
    except (aiohttp.ClientError, OSError, ValueError, RecursionError):
        return None
    message_id = answer.get("message_id") if isinstance(answer, dict) else None
    return message_id if isinstance(message_id, str) and _is_usable_id(message_id) else None


def _is_usable_id(message_id: str) -> bool:
    """Whether the id can be stored, logged and sent on: short, not empty, no controls and no surrogates."""
    return 0 < len(message_id) <= MESSAGE_ID_MAXIMUM_CHARACTERS and message_id.isprintable()
