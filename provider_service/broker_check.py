"""A first look at the broker, so that what is set up wrong is told before a customer meets it."""

import shlex
from collections.abc import Iterable

from client_stub.catalog import CatalogClient
from client_stub.errors import IapError, NotFoundError
from mesh_runtime.logs import get_logger
from provider_service.services.service import Service

_PATIENCE_SECONDS = 5.0
_logger = get_logger("provider_service")


async def check_broker(catalog: CatalogClient, services: Iterable[Service]) -> None:
    """Logs a warning for a broker that cannot be reached, a key that is none, and each service not published there.

    It changes nothing: all of that may be put right while the provider serves.
    """
    for service in services:
        try:
            await catalog.get_service(service=service.name, timeout_seconds=_PATIENCE_SECONDS)
        except NotFoundError:
            _logger.warning("provider.service_not_published", service=service.name, publish_with=_publishing(service))
        except IapError as error:
            _logger.warning("provider.broker_refuses", reason=error.reason, cause=error.message)
            return


def _publishing(service: Service) -> str:
    title, unit_name = shlex.quote(service.title), shlex.quote(service.unit_name)
    return f"iap provider service {service.name} --title {title} --unit-name {unit_name}"
