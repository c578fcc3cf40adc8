"""What is known of an account token that was looked up before, and whether that still holds."""

from datetime import datetime

from msgspec import Struct

from broker_service.domain.errors import AccountNotFound, TokenOutdated
from broker_service.domain.records import Account


class KnownToken(Struct, frozen=True, gc=False):
    """An account's token as it was when the account's `token_epoch` was `epoch`; it can't change without that."""

    epoch: int
    expire_time: datetime | None

    def check(self, account: Account, now: datetime) -> None:
        """Refuses a token that has stopped.

        Raises TokenOutdated if it must be looked up again to tell, AccountNotFound if its time is over.
        """
        if self.epoch != account.token_epoch:
            raise TokenOutdated
        if self.expire_time is not None and now >= self.expire_time:
            raise AccountNotFound
