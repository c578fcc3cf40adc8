"""A broker that serves as ever, and dies once so many commands are committed, before it answers the last of them."""

import os
import signal

from broker_service.__main__ import main
from broker_service.domain.decide import Verdict
from broker_service.engine.balance_watch import BalanceWatch

COMMANDS_VARIABLE = "COMMANDS_BEFORE_DEATH"


def die_after(commands: int) -> None:
    """Puts an end in the place of those who watch balances, who learn of each commit before its callers do."""
    left = commands

    def committed(self: BalanceWatch, verdict: Verdict) -> None:
        nonlocal left
        left -= len(verdict.outcomes)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    BalanceWatch.committed = committed  # type: ignore[method-assign]


if __name__ == "__main__":
    die_after(int(os.environ[COMMANDS_VARIABLE]))
    main()
