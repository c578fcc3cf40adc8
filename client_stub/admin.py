"""What the operator of a broker does."""

import grpc.aio
from iap.broker.v1.admin_pb2 import (
    RegisterCustomerRequest,
    RegisterCustomerResponse,
    RegisterProviderRequest,
    RegisterProviderResponse,
)
from iap.broker.v1.admin_pb2_grpc import AdminServiceStub

from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient


class AdminClient(ServiceClient):
    """AdminService, with an operator key."""

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = AdminServiceStub(channel)

    async def register_provider(
        self,
        *,
        name: str,
        commission_basis_points: int | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RegisterProviderResponse:
        """Register a provider. Its key is in the first answer only: a replay has none."""
        request = RegisterProviderRequest(
            request_id=request_id_or_new(request_id), name=name, commission_basis_points=commission_basis_points
        )
        return await self._call(self._stub.RegisterProvider, request, timeout_seconds)

    async def register_customer(
        self,
        *,
        name: str,
        email: str = "",
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RegisterCustomerResponse:
        """Register a customer. Its key is in the first answer only: a replay has none."""
        request = RegisterCustomerRequest(request_id=request_id_or_new(request_id), name=name, email=email)
        return await self._call(self._stub.RegisterCustomer, request, timeout_seconds)
