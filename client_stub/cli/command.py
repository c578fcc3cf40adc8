"""The `iap` command itself."""

from collections.abc import Sequence
from typing import Final

import click

from client_stub.cli import (
    account_commands,
    admin_commands,
    catalog_commands,
    event_commands,
    provider_commands,
    purchase_commands,
    service_commands,
    standing_commands,
    webhook_commands,
)
from client_stub.cli.failures import INTERRUPTED, REFUSED, WRONG_SETTINGS, print_error
from client_stub.cli.settings import shared_options
from client_stub.errors import ConfigurationError

_EPILOG: Final = """\b
Exit codes:
  0  done
  1  a server refused, with the reason on standard error
  2  the command line or the settings are wrong; nothing was sent
  3  a server is unavailable or too slow: the same command may succeed later
"""


@click.group("iap", epilog=_EPILOG)
@shared_options(hidden=False)
def iap() -> None:
    """Buy credits from a broker and use a provider's services with them; sell services, and operate a broker.

    The options below may also stand after the command. Plaintext is for servers on this machine; for others choose
    --tls, --tls-ca or --insecure.
    """


for _command in (
    catalog_commands.catalog,
    account_commands.open_account,
    purchase_commands.buy,
    purchase_commands.purchases,
    purchase_commands.refund,
    account_commands.balance,
    account_commands.watch,
    account_commands.statement,
    catalog_commands.services,
    service_commands.quote,
    service_commands.serve,
    provider_commands.provider,
    admin_commands.admin,
    standing_commands.topup,
    standing_commands.alert,
    standing_commands.token,
    event_commands.events,
    webhook_commands.webhook,
):
    iap.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code. What goes wrong is one line on standard error."""
    try:
        outcome = iap.main(args=list(arguments), prog_name="iap", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - nobody above could say it in one line
        return _give_up(error)
    return outcome if isinstance(outcome, int) else 0


def _give_up(error: BaseException) -> int:
    """Say what stopped the command and return its exit code. What servers refuse does not come here."""
    exit_code = REFUSED
    match error:
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            exit_code = error.exit_code
        case click.ClickException():
            print_error(error.format_message())
            exit_code = error.exit_code
        case ConfigurationError():
            print_error(str(error))
            exit_code = WRONG_SETTINGS
        case UnicodeEncodeError():
            print_error("the command line or the environment holds text that is not valid Unicode")
            exit_code = WRONG_SETTINGS
        case click.Abort() | KeyboardInterrupt():
            exit_code = INTERRUPTED
        case _:
            # A bug of ours. A traceback could show a token.
            print_error(f"unexpected {type(error).__name__}; this is a bug")
    return exit_code
