"""The servicer of ProviderService."""

from collections.abc import AsyncIterator
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
from mesh_runtime.call_errors import invalid_argument, unimplemented
from mesh_runtime.field_rules import FieldRules
from provider_service.charging.outcomes import Served
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.paid_requests import PaidRequests
from provider_service.charging.pricing import PriceList
from provider_service.charging.refusals import DOMAIN
from provider_service.services.service import Quote, Service

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

SERVICE_NAME: Final[str] = DESCRIPTOR.services_by_name["ProviderService"].full_name


class ProviderServicer(ProviderServiceServicer):
    """Parses requests, hands them on and renders what comes back; errors are raised as CallError."""

    def __init__(self, price_list: PriceList, paid_requests: PaidRequests) -> None:
        self._price_list = price_list
        self._paid_requests = paid_requests
        self._rules = FieldRules((ServeRequestRequest, QuoteRequest))

    async def ServeRequest(self, request: ServeRequestRequest, _context: Context) -> ServeRequestResponse:
        """Serves one request and charges for it."""
        self._check(request)
        return _render_served(await self._paid_requests.serve(self._parse_request(request)))

    def ServeStream(self, _request: ServeStreamRequest, _context: Context) -> AsyncIterator[ServeStreamResponse]:
        """Is not offered yet."""
        raise unimplemented(DOMAIN, f"/{SERVICE_NAME}/ServeStream")

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

    def _parse_request(self, request: ServeRequestRequest) -> PaidRequest:
        service_input = from_struct(request.input)
        service, quote = self._price_list.price(request.service, service_input)
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


def _render_quote(service: Service, quote: Quote) -> QuoteResponse:
    return QuoteResponse(credits=quote.credits, unit_name=service.unit_name, breakdown=to_struct(quote.breakdown))


def _render_service(service: Service) -> ServedService:
    return ServedService(
        service=service.name,
        title=service.title,
        unit_name=service.unit_name,
        input_schema=to_struct(service.input_schema),
    )
