"""What the clients of all services share."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar

import grpc.aio

from client_stub.channel import TlsOptions, open_channel
from client_stub.credentials import bearer_metadata
from client_stub.error_parsing import to_iap_error
from client_stub.errors import DeadlineExceededError, IapError, UnavailableError

Request = TypeVar("Request")
Response = TypeVar("Response")

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
_NOT_CONNECTED: Final = (grpc.ChannelConnectivity.CONNECTING, grpc.ChannelConnectivity.TRANSIENT_FAILURE)


class ServiceClient(ABC):
    """Calls one service over a channel, with one key.

    Every call waits for a server that is not up yet, within its timeout: `timeout_seconds` of the call, else of the
    client. Retries keep to the same timeout. What fails raises IapError.

    Several clients may share a channel; it stays open when they close. A client from `connect` has a channel of its
    own and closes it.
    """

    # Of a stream, about what is taken in ahead of its reader (`open_channel`).
    _unread_bytes: ClassVar[int | None] = None

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._channel = channel
        self._metadata = bearer_metadata(key)
        self._timeout_seconds = timeout_seconds
        self._owns_channel = False
        self._bind(channel)

    @classmethod
    def connect(
        cls,
        target: str,
        *,
        key: str | None = None,
        tls: TlsOptions | None = None,
        insecure: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Self:
        """Return a client with a channel of its own; see `open_channel`. Close it, or use `async with`."""
        channel = open_channel(target, tls=tls, insecure=insecure, unread_bytes=cls._unread_bytes)
        client = cls(channel, key=key, timeout_seconds=timeout_seconds)
        client._owns_channel = True
        return client

    async def close(self) -> None:
        """Close the channel if it is the client's own; calls that still run on it are cancelled."""
        if self._owns_channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _error_type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @abstractmethod
    def _bind(self, channel: grpc.aio.Channel) -> None:
        """Make the stub of the client's service."""

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None,
    ) -> Response:
        """Make one call; IapError when it is refused or fails."""
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        try:
            return await method(request, timeout=timeout, metadata=self._metadata, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, timeout) from error

    async def _stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float | None,
        *,
        deadline_seconds: float | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Make one call that is answered for as long as the server likes, or until a deadline.

        The timeout is for the first answer.
        """
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        call = method(request, timeout=deadline_seconds, metadata=self._metadata, wait_for_ready=True)
        try:
            # Not with `asyncio.wait_for`: before Python 3.12 it forgets being cancelled as the answer comes.
            async with asyncio.timeout(timeout):
                received: Any = await call.read()
            while received is not grpc.aio.EOF:
                response: Response = received
                yield response
                received = await call.read()
        except TimeoutError as error:
            raise took_too_long(self._channel, timeout) from error
        except grpc.aio.AioRpcError as error:
            raise self._explain(error, timeout) from error
        finally:
            call.cancel()

    def _explain(self, error: grpc.aio.AioRpcError, timeout_seconds: float) -> IapError:
        """Tell a server that took too long from one that was never reached: gRPC says the same of both."""
        explained = to_iap_error(error)
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or explained.domain:
            return explained
        return took_too_long(self._channel, timeout_seconds)


def took_too_long(channel: grpc.aio.Channel, timeout_seconds: float) -> IapError:
    """Return the error for what a server has not answered within its timeout, or could not, as nobody reached it."""
    within = f"within {timeout_seconds:g} s"
    if channel.get_state() in _NOT_CONNECTED:
        return UnavailableError(
            f"no connection to the server {within}", reason="UNAVAILABLE", code=grpc.StatusCode.UNAVAILABLE
        )
    return DeadlineExceededError(
        f"no answer {within}", reason="DEADLINE_EXCEEDED", code=grpc.StatusCode.DEADLINE_EXCEEDED
    )
