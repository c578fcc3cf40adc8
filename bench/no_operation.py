"""A service that does nothing for one credit: what is measured is all that stands around the work."""

from collections.abc import Mapping

from bench.seeding import SERVICE
from provider_service.sdk import Charge, service


@service(name=SERVICE, title="Nothing", unit="request", price=1)
async def no_operation(_request: Mapping[str, object], _charge: Charge) -> dict[str, str]:
    """Does nothing."""
    return {"done": "nothing"}
