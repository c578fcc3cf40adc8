"""What is for sale: services, and packs of credits for them."""

# ruff: noqa: A002 - arguments carry the names of the contract's fields, `credits` among them

from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

import grpc.aio
from google.type.money_pb2 import Money
from iap.broker.v1.catalog_pb2 import (
    ArchivePackRequest,
    ArchivePackResponse,
    CreatePackRequest,
    CreatePackResponse,
    CreateServiceRequest,
    CreateServiceResponse,
    GetServiceRequest,
    GetServiceResponse,
    ListPacksRequest,
    ListServicesRequest,
    Pack,
    Service,
)
from iap.broker.v1.catalog_pb2_grpc import CatalogServiceStub

from client_stub.pages import LARGEST_PAGE_SIZE, iterate_pages
from client_stub.request_ids import request_id_or_new
from client_stub.service_client import ServiceClient


class CatalogClient(ServiceClient):
    """CatalogService: anyone reads, providers write with their key."""

    def _bind(self, channel: grpc.aio.Channel) -> None:
        self._stub = CatalogServiceStub(channel)

    def list_services(
        self, *, page_size: int = LARGEST_PAGE_SIZE, timeout_seconds: float | None = None
    ) -> AsyncIterator[Service]:
        """Iterate over the active services by name, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Service], str]:
            request = ListServicesRequest(page_size=page_size, page_token=page_token)
            response = await self._call(self._stub.ListServices, request, timeout_seconds)
            return response.services, response.next_page_token

        return iterate_pages(fetch_page)

    async def get_service(self, *, service: str, timeout_seconds: float | None = None) -> GetServiceResponse:
        """Return one service."""
        return await self._call(self._stub.GetService, GetServiceRequest(service=service), timeout_seconds)

    def list_packs(
        self, *, service: str, page_size: int = LARGEST_PAGE_SIZE, timeout_seconds: float | None = None
    ) -> AsyncIterator[Pack]:
        """Iterate over a service's active packs, smallest first, all pages; the timeout is for each page."""

        async def fetch_page(page_token: str) -> tuple[Iterable[Pack], str]:
            request = ListPacksRequest(service=service, page_size=page_size, page_token=page_token)
            response = await self._call(self._stub.ListPacks, request, timeout_seconds)
            return response.packs, response.next_page_token

        return iterate_pages(fetch_page)

    async def create_service(
        self,
        *,
        service: str,
        title: str,
        description: str = "",
        unit_name: str = "",
        trial_credits: int = 0,
        default_ttl: timedelta | None = None,
        max_ttl: timedelta | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> CreateServiceResponse:
        """Publish a service under a name that is unique at the broker."""
        request = CreateServiceRequest(
            request_id=request_id_or_new(request_id),
            service=service,
            title=title,
            description=description,
            unit_name=unit_name,
            trial_credits=trial_credits,
            default_ttl=default_ttl,
            max_ttl=max_ttl,
        )
        return await self._call(self._stub.CreateService, request, timeout_seconds)

    async def create_pack(
        self,
        *,
        service: str,
        title: str,
        credits: int,
        price: Money,
        validity: timedelta | None = None,
        request_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> CreatePackResponse:
        """Put a pack on sale. It cannot be edited: archive it and create another."""
        request = CreatePackRequest(
            request_id=request_id_or_new(request_id),
            service=service,
            title=title,
            credits=credits,
            price=price,
            validity=validity,
        )
        return await self._call(self._stub.CreatePack, request, timeout_seconds)

    async def archive_pack(self, *, pack_id: str, timeout_seconds: float | None = None) -> ArchivePackResponse:
        """Take a pack off sale for good; past purchases keep their terms."""
        return await self._call(self._stub.ArchivePack, ArchivePackRequest(pack_id=pack_id), timeout_seconds)
