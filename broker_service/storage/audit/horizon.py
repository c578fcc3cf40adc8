"""How far back reservations may be gone."""

from sqlalchemy import Connection

from broker_service.storage.pruning import pruned_before
from broker_service.storage.tables import Instant

# Earlier than anything: nothing was pruned yet.
NEVER = -(2**62)


def pruning_horizon(connection: Connection) -> int:
    """Returns the instant before which resolved reservations may be gone, in microseconds."""
    horizon = pruned_before(connection)
    microseconds = None if horizon is None else Instant().process_bind_param(horizon, connection.dialect)
    return NEVER if microseconds is None else microseconds
