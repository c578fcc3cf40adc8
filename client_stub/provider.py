"""Using the services that a provider sells."""

# ruff: noqa: A002 - arguments carry the names of the contract's fields, `input` among them

from collections.abc import Mapping

import grpc.aio
from iap.provider.v1.provider_pb2 import (
    ListServicesRequest,
    ListServicesResponse,
    QuoteRequest,
    QuoteResponse,
    ServeRequestRequest,
    ServeRequestResponse,
)
from iap.provider.v1.provider_pb2_grpc import ProviderServiceStub

from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient
from client_stub.structs import to_struct


class ProviderClient(ServiceClient):
    """ProviderService; the account token in a request is its credential, so that no key is needed."""

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

    async def quote(
        self, *, service: str, input: Mapping[str, object], timeout_seconds: float | None = None
    ) -> QuoteResponse:
        """Tell what a request would cost. Reserves nothing and needs no account."""
        request = QuoteRequest(service=service, input=to_struct(input))
        return await self._call(self._stub.Quote, request, timeout_seconds)

    async def list_services(self, *, timeout_seconds: float | None = None) -> ListServicesResponse:
        """Return the services of this provider, each with the schema of its input."""
        return await self._call(self._stub.ListServices, ListServicesRequest(), timeout_seconds)
