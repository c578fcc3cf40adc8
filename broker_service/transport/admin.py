"""AdminService: what the operator does."""

from iap.broker.v1 import admin_pb2, admin_pb2_grpc

from broker_service.domain.directory import Role
from broker_service.engine.directory import Directory
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.rendering import render_customer, render_provider


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Registers parties in the directory."""

    def __init__(self, gate: Gate, directory: Directory) -> None:
        self.gate = gate
        self._directory = directory

    @rpc(Role.OPERATOR)
    async def RegisterProvider(
        self, request: admin_pb2.RegisterProviderRequest, _caller: Caller
    ) -> admin_pb2.RegisterProviderResponse:
        """See the contract."""
        has_rate = request.HasField("commission_basis_points")
        provider, provider_key = await self._directory.register_provider(
            request_id=request.request_id.lower(),
            name=request.name,
            commission_basis_points=request.commission_basis_points if has_rate else None,
        )
        return admin_pb2.RegisterProviderResponse(
            provider=render_provider(provider), provider_key=provider_key, replayed=not provider_key
        )

    @rpc(Role.OPERATOR)
    async def RegisterCustomer(
        self, request: admin_pb2.RegisterCustomerRequest, _caller: Caller
    ) -> admin_pb2.RegisterCustomerResponse:
        """See the contract."""
        customer, customer_key = await self._directory.register_customer(
            request_id=request.request_id.lower(), name=request.name, email=request.email
        )
        return admin_pb2.RegisterCustomerResponse(
            customer=render_customer(customer), customer_key=customer_key, replayed=not customer_key
        )
