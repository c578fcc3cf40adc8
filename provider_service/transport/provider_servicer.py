"""The servicer of ProviderService."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import grpc.aio
from google.protobuf.message import Message
from iap.provider.v1.provider_pb2 import (
    DESCRIPTOR,
    ListServicesRequest,
    ListServicesResponse,
    QuoteRequest,
    QuoteResponse,
    ServedService,
    ServeRequestRequest,
    ServeRequestResponse,
    ServeStreamRequest,
    ServeStreamResponse,
)
from iap.provider.v1.provider_pb2_grpc import ProviderServiceServicer

from client_stub.structs import from_struct, to_struct
from mesh_runtime.call_errors import invalid_argument
from mesh_runtime.field_rules import FieldRules
from provider_service.charging.outcomes import Served
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.paid_requests import PaidRequests
from provider_service.charging.pricing import PriceList
from provider_service.charging.refusals import DOMAIN
from provider_service.charging.stream_handover import StreamPiece
from provider_service.charging.stream_refusals import streams_only
from provider_service.charging.streams import PaidStreams
from provider_service.services.service import Json, Quote, Service, is_streamed

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

SERVICE_NAME: Final[str] = DESCRIPTOR.services_by_name["ProviderService"].full_name


class ProviderServicer(ProviderServiceServicer):
    """Parses requests, hands them on and renders what comes back; errors are raised as CallError."""

    def __init__(self, price_list: PriceList, paid_requests: PaidRequests, paid_streams: PaidStreams) -> None:
        self._price_list = price_list
        self._paid_requests = paid_requests
        self._paid_streams = paid_streams
        self._rules = FieldRules((ServeRequestRequest, ServeStreamRequest, QuoteRequest))

    async def ServeRequest(self, request: ServeRequestRequest, _context: Context) -> ServeRequestResponse:
        """Serves one request and charges for it."""
        self._check(request)
        service_input = from_struct(request.input)
        service, quote = self._price_list.price(request.service, service_input)
        if is_streamed(service) and service.streams_only:
            raise streams_only(service.name)
        paid_request = _to_paid_request(request, service, service_input, quote)
        return _render_served(await self._paid_requests.serve(paid_request))

    # It writes by itself, which gRPC allows and its stubs do not know: only so can a caller that does not read be given
    # up.
    async def ServeStream(  # type: ignore[override]
        self, request: ServeStreamRequest, context: Context
    ) -> None:
        """Serves one request in chunks and charges as it goes."""
        self._check(request)
        service_input = from_struct(request.input)
        service, quote = self._price_list.price(request.service, service_input)
        if not is_streamed(service):
            served = await self._paid_requests.serve(_to_paid_request(request, service, service_input, quote))
            await context.write(_render_whole(served))
            return
        paid_request = self._paid_streams.request(
            request_id=request.request_id.lower(),
            account_token=request.account_token,
            service=service,
            service_input=service_input,
            quoted_credits=quote.credits,
        )
        await self._paid_streams.serve(paid_request, lambda piece: context.write(_render_piece(piece)))

    async def Quote(self, request: QuoteRequest, _context: Context) -> QuoteResponse:
        """Tells what a request would cost."""
        self._check(request)
        service, quote = self._price_list.price(request.service, from_struct(request.input))
        return _render_quote(service, quote)

    async def ListServices(self, _request: ListServicesRequest, _context: Context) -> ListServicesResponse:
        """Lists the services of this server, in the order of their names."""
        return ListServicesResponse(services=[_render_service(service) for service in self._price_list.services])

    def _check(self, request: Message) -> None:
        violations = self._rules.violations(request)
        if violations:
            raise invalid_argument(DOMAIN, violations)


def _to_paid_request(
    request: ServeRequestRequest | ServeStreamRequest,
    service: Service,
    service_input: Mapping[str, Json],
    quote: Quote,
) -> PaidRequest:
    return PaidRequest(
        # Hexadecimal digits of either case are the same UUID.
        request_id=request.request_id.lower(),
        account_token=request.account_token,
        service=service,
        service_input=service_input,
        credits=quote.credits,
    )


def _render_served(served: Served) -> ServeRequestResponse:
    return ServeRequestResponse(
        output=served.output,
        reservation_id=served.reservation_id,
        charged_credits=served.charged_credits,
        balance=served.balance,
        replayed=served.replayed,
    )


def _render_whole(served: Served) -> ServeStreamResponse:
    return ServeStreamResponse(
        chunk=served.output,
        charged_credits=served.charged_credits,
        reservation_id=served.reservation_id,
        balance=served.balance,
        replayed=served.replayed,
    )


def _render_piece(piece: StreamPiece) -> ServeStreamResponse:
    return ServeStreamResponse(
        chunk=piece.chunk,
        charged_credits=piece.charged_credits,
        reservation_id=piece.reservation_id,
        balance=piece.balance,
    )


def _render_quote(service: Service, quote: Quote) -> QuoteResponse:
    return QuoteResponse(credits=quote.credits, unit_name=service.unit_name, breakdown=to_struct(quote.breakdown))


def _render_service(service: Service) -> ServedService:
    return ServedService(
        service=service.name,
        title=service.title,
        unit_name=service.unit_name,
        input_schema=to_struct(service.input_schema),
    )
