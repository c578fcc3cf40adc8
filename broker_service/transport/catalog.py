"""CatalogService: services and packs."""

import uuid
from collections.abc import Callable

from google.protobuf.message import Message
from iap.broker.v1 import catalog_pb2, catalog_pb2_grpc

from broker_service.domain.directory import Role, Service, ServiceState
from broker_service.domain.errors import InvalidField
from broker_service.engine.directory import Directory
from broker_service.transport.endpoint import Caller, Gate, rpc
from broker_service.transport.errors import permission_denied
from broker_service.transport.money import to_minor_units
from broker_service.transport.pages import cursor_of, page_size, page_token
from broker_service.transport.rendering import render_pack, render_service
from broker_service.transport.times import optional_span

_SERVICE_STATES = {
    catalog_pb2.SERVICE_STATE_ACTIVE: ServiceState.ACTIVE,
    catalog_pb2.SERVICE_STATE_RETIRED: ServiceState.RETIRED,
}


def _state(service: catalog_pb2.Service) -> ServiceState:
    if service.state not in _SERVICE_STATES:
        raise InvalidField(field="service.state", description="must be ACTIVE or RETIRED")
    return _SERVICE_STATES[service.state]


# What UpdateService may change, and how each value is parsed.
_CHANGEABLE: dict[str, Callable[[catalog_pb2.Service], object]] = {
    "title": lambda service: service.title,
    "description": lambda service: service.description,
    "unit_name": lambda service: service.unit_name or "credit",
    "trial_credits": lambda service: service.trial_credits,
    "default_ttl": lambda service: optional_span(service, "default_ttl"),
    "max_ttl": lambda service: optional_span(service, "max_ttl"),
    "state": _state,
}


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Shows the directory's goods to anyone, and lets providers change their own."""

    def __init__(self, gate: Gate, directory: Directory) -> None:
        self.gate = gate
        self._directory = directory

    @rpc()
    async def ListServices(
        self, request: catalog_pb2.ListServicesRequest, _caller: Caller
    ) -> catalog_pb2.ListServicesResponse:
        """See the contract."""
        cursor = cursor_of(request.page_token, (str,), "ListServices")
        limit = page_size(request.page_size)
        found = await self._directory.services_after("" if cursor is None else cursor[0], limit + 1)
        shown = found[:limit]
        return catalog_pb2.ListServicesResponse(
            services=[render_service(service) for service in shown],
            next_page_token=page_token([shown[-1].service], "ListServices") if len(found) > limit else "",
        )

    @rpc()
    async def GetService(
        self, request: catalog_pb2.GetServiceRequest, _caller: Caller
    ) -> catalog_pb2.GetServiceResponse:
        """See the contract."""
        return catalog_pb2.GetServiceResponse(service=render_service(await self._directory.service(request.service)))

    @rpc()
    async def ListPacks(self, request: catalog_pb2.ListPacksRequest, _caller: Caller) -> catalog_pb2.ListPacksResponse:
        """See the contract."""
        scope = ("ListPacks", request.service)
        cursor = cursor_of(request.page_token, (int, str), *scope)
        service = await self._directory.service(request.service)
        limit = page_size(request.page_size)
        after = (0, "") if cursor is None else (cursor[0], cursor[1])
        found = await self._directory.packs_after(service.service, after, limit + 1)
        shown = found[:limit]
        return catalog_pb2.ListPacksResponse(
            packs=[render_pack(pack) for pack in shown],
            next_page_token=page_token([shown[-1].credits, shown[-1].pack_id], *scope) if len(found) > limit else "",
        )

    @rpc(Role.PROVIDER)
    async def CreateService(
        self, request: catalog_pb2.CreateServiceRequest, caller: Caller
    ) -> catalog_pb2.CreateServiceResponse:
        """See the contract."""
        service, replayed = await self._directory.create_service(
            request_id=request.request_id.lower(),
            provider_id=caller.owner_id,
            service=request.service,
            title=request.title,
            description=request.description,
            unit_name=request.unit_name,
            trial_credits=request.trial_credits,
            default_ttl=optional_span(request, "default_ttl"),
            max_ttl=optional_span(request, "max_ttl"),
        )
        return catalog_pb2.CreateServiceResponse(service=render_service(service), replayed=replayed)

    @rpc(Role.PROVIDER)
    async def UpdateService(
        self, request: catalog_pb2.UpdateServiceRequest, caller: Caller
    ) -> catalog_pb2.UpdateServiceResponse:
        """See the contract."""
        paths = set(request.update_mask.paths)
        if not paths:
            raise InvalidField(field="update_mask", description="must name at least one field")
        if unknown := paths - _CHANGEABLE.keys():
            raise InvalidField(field="update_mask", description=f"{min(unknown)} cannot be changed")
        self._check_values(request.service, paths)
        values = {path: _CHANGEABLE[path](request.service) for path in paths}
        own = await self._own_service(request.service.service, caller)
        service = await self._directory.update_service(own.service, values)
        return catalog_pb2.UpdateServiceResponse(service=render_service(service))

    @rpc(Role.PROVIDER)
    async def CreatePack(
        self, request: catalog_pb2.CreatePackRequest, caller: Caller
    ) -> catalog_pb2.CreatePackResponse:
        """See the contract."""
        price_minor_units = to_minor_units(request.price, "price")
        service = await self._own_service(request.service, caller)
        pack, replayed = await self._directory.create_pack(
            request_id=request.request_id.lower(),
            service=service,
            title=request.title,
            pack_credits=request.credits,
            currency=request.price.currency_code,
            price_minor_units=price_minor_units,
            validity=optional_span(request, "validity"),
        )
        return catalog_pb2.CreatePackResponse(pack=render_pack(pack), replayed=replayed)

    @rpc(Role.PROVIDER)
    async def ArchivePack(
        self, request: catalog_pb2.ArchivePackRequest, caller: Caller
    ) -> catalog_pb2.ArchivePackResponse:
        """See the contract."""
        pack = await self._directory.pack(request.pack_id)
        service = await self._directory.service(pack.service)
        if service.provider_id != caller.owner_id:
            raise permission_denied("key of the provider that sells the pack")
        return catalog_pb2.ArchivePackResponse(pack=render_pack(await self._directory.archive_pack(pack.pack_id)))

    def _check_values(self, service: catalog_pb2.Service, paths: set[str]) -> None:
        """Holds new values to the rules that CreateService sets for them. Raises CallError."""
        as_created = catalog_pb2.CreateServiceRequest(request_id=str(uuid.UUID(int=0)), service="any", title="any")
        for path in paths - {"state"}:
            value = getattr(service, path)
            if isinstance(value, Message):
                getattr(as_created, path).CopyFrom(value)
            else:
                setattr(as_created, path, value)
        self.gate.check(as_created, within="service")

    async def _own_service(self, name: str, caller: Caller) -> Service:
        """Returns a service that the caller sells. Raises ServiceNotFound, or CallError."""
        service = await self._directory.service(name)
        if service.provider_id != caller.owner_id:
            raise permission_denied("key of the provider that sells the service")
        return service
