"""The services on offer and what a request to one of them costs."""

from collections.abc import Iterable, Mapping

from provider_service.charging.refusals import invalid_input, service_not_found
from provider_service.services.service import InvalidInput, Json, Quote, Service


class PriceList:
    """The services of this server, by name."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = {service.name: service for service in sorted(services, key=lambda service: service.name)}

    @property
    def services(self) -> tuple[Service, ...]:
        """All services, in the order of their names."""
        return tuple(self._services.values())

    def price(self, service_name: str, service_input: Mapping[str, Json]) -> tuple[Service, Quote]:
        """Returns the service and what the input would cost. Raises CallError."""
        service = self._services.get(service_name)
        if service is None:
            raise service_not_found(service_name)
        try:
            return service, service.quote(service_input)
        except InvalidInput as error:
            raise invalid_input(error) from error
