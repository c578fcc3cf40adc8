"""Commands given to a broker's committer itself, with a deadline that no network has blurred."""

from broker_service.domain import commands
from broker_service.domain.outcomes import ReservationResult
from mesh_runtime.deadlines import start_deadline
from tests.contract.broker_world.world import Account, World, new_id


async def charge_within(world: World, account: Account, seconds: float | None) -> ReservationResult:
    """Charges a credit, if that begins within so many seconds; run it as a task, for it sets the task's deadline."""
    start_deadline(seconds)
    command = commands.Charge(
        request_id=new_id(),
        account_id=account.id,
        provider_id=world.provider.id,
        provider_suspended=False,
        credits=1,
        description="",
        metadata={},
    )
    return await world.running.broker.committer.execute(command)
