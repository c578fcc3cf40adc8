"""Using the services that a provider sells."""

# ruff: noqa: A002 - arguments carry the names of the contract's fields, `input` among them

from collections.abc import AsyncGenerator, Mapping

import grpc.aio
from iap.provider.v1.provider_pb2 import (
    ListServicesRequest,
    ListServicesResponse,
    QuoteRequest,
    QuoteResponse,
    ServeRequestRequest,
    ServeRequestResponse,
    ServeStreamRequest,
    ServeStreamResponse,
)
from iap.provider.v1.provider_pb2_grpc import ProviderServiceStub

from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient
from client_stub.structs import to_struct


class ProviderClient(ServiceClient):
    """ProviderService; the account token in a request is its credential, so that no key is needed."""

    # Of a stream, what is sent is paid, read or not. gRPC takes no less than this.
    _unread_bytes = 16 * 1024

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = ProviderServiceStub(channel)

    async def serve(
        self,
        *,
        service: str,
        input: Mapping[str, object],
        account_token: str,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> ServeRequestResponse:
        """Have one request served and paid for; `from_struct` reads the `output`.

        Repeated with the same `request_id` it is neither done nor charged again. InsufficientCreditsError, with an
        offer, when the account cannot pay.
        """
        request = ServeRequestRequest(
            request_id=request_id_or_new(request_id),
            service=service,
            account_token=account_token,
            input=to_struct(input),
        )
        return await self._call(self._stub.ServeRequest, request, timeout_seconds)

    def serve_stream(
        self,
        *,
        service: str,
        input: Mapping[str, object],
        account_token: str,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
        deadline_seconds: float | None = None,
    ) -> AsyncGenerator[ServeStreamResponse, None]:
        """Have one request served in chunks; iterate over them, and read each `chunk` with `from_struct`.

        A chunk is charged once it is sent, and the service works as fast as they are read: whoever has enough closes
        the iterator (`contextlib.aclosing`), which ends the stream and its cost. The last answer of a stream that ends
        well has no chunk, the final `charged_credits` and the balance. InsufficientCreditsError, with an offer, when
        the credits run out, be it midway: what came before is paid. Such an id is used up; go on with a new one.

        The timeout is for the first answer; the deadline, if there is one, for the whole stream.
        """
        request = ServeStreamRequest(
            request_id=request_id_or_new(request_id),
            service=service,
            account_token=account_token,
            input=to_struct(input),
        )
        return self._stream(self._stub.ServeStream, request, timeout_seconds, deadline_seconds=deadline_seconds)

    async def quote(
        self, *, service: str, input: Mapping[str, object], timeout_seconds: float | None = None
    ) -> QuoteResponse:
        """Tell what a request would cost. Reserves nothing and needs no account."""
        request = QuoteRequest(service=service, input=to_struct(input))
        return await self._call(self._stub.Quote, request, timeout_seconds)

    async def list_services(self, *, timeout_seconds: float | None = None) -> ListServicesResponse:
        """Return the services of this provider, each with the schema of its input."""
        return await self._call(self._stub.ListServices, ListServicesRequest(), timeout_seconds)
