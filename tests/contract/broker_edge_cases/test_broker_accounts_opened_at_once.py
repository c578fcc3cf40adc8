"""An account that another broker opens in the midst of a batch that opens it too."""

from datetime import datetime

from broker_service.domain.commands import OpenAccount
from broker_service.engine.committer import Committer
from tests.contract.broker_world.world import Account, World, new_id
from tests.databases import DatabaseKind, connected, only_on

# What belongs to an account, and is another shard's as long as it is not there.
TABLES = ("accounts", "grants", "entries")


class HiddenAccount:
    """A clock, and an account that comes into view when it is asked for the time within a batch.

    That is when the batch has looked for the account, to lock it, and has not read what belongs to it.
    """

    def __init__(self, world: World, account: Account) -> None:
        self._world = world
        self._account = account
        self._due = False
        self._move(to_shard=1)

    def __call__(self) -> datetime:
        if self._due:
            self._due = False
            self._move(to_shard=0)
        return self._world.clock.now

    def show_when_asked(self) -> None:
        self._due = True

    def _move(self, *, to_shard: int) -> None:
        with connected(self._world.running.database_url) as other:
            other.sql("BEGIN")
            for table in TABLES:
                other.sql(f"UPDATE {table} SET shard_id = {to_shard} WHERE account_id = ?", self._account.id)
            other.sql("COMMIT")


@only_on(DatabaseKind.POSTGRESQL, reason="nobody else writes to the file while a batch is decided")
async def test_an_account_opened_elsewhere_between_lock_and_look_is_no_broken_book(own_world: World) -> None:
    world = own_world
    account = await world.new_account()
    hidden = HiddenAccount(world, account)
    committer = Committer(world.running.broker.database, hidden)
    hidden.show_when_asked()
    again = OpenAccount(
        request_id=new_id(),
        account_id=account.id,
        customer_id=account.customer.id,
        provider_id=world.provider.id,
        service=account.service,
        service_retired=False,
        trial_credits=100,
        token_hash="another",
    )
    result = await committer.execute(again)
    assert (result.replayed, result.account.ledger_credits) == (True, 100)
    assert await world.balance(account) == (100, 0, 100)
