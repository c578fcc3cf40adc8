"""Running a click command the way every command of this project behaves."""

import asyncio
import importlib
import sys
from collections.abc import Coroutine
from typing import Any, Final, NoReturn, TypeVar

import click

from mesh_runtime.startup_errors import StartupError

Result = TypeVar("Result")

_EXIT_CODE_WRONG_SETTINGS: Final = 2
_EXIT_CODE_INTERRUPTED: Final = 130


def invoke(command: click.Command, program_name: str) -> NoReturn:
    """Run the command with this process's arguments and exit.

    A setting without a flag comes from the environment: the variable its option names, else one that begins
    with `environment_prefix` and, for a subcommand, goes on with the subcommand's name. A wrong setting, and
    any StartupError, ends as `PROGRAM: error: …` in one line on standard error and exit code 2. The command
    returns its exit code, None for 0.
    """
    try:
        outcome = command.main(
            prog_name=program_name, auto_envvar_prefix=environment_prefix(program_name), standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        # Not a wrong setting but a question: what can this program do?
        error.show()
        sys.exit(_EXIT_CODE_WRONG_SETTINGS)
    except click.ClickException as error:
        _fail(program_name, error.format_message())
    except StartupError as error:
        _fail(program_name, str(error))
    except click.Abort:
        sys.exit(_EXIT_CODE_INTERRUPTED)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def invoke_from(module_name: str, program_name: str, *, extra: str) -> NoReturn:
    """Run the `command` of a module like `invoke`; without what they need, say which extra brings it."""
    try:
        # Commands may import more, when they know that they need it.
        invoke(importlib.import_module(module_name).command, program_name)
    except ModuleNotFoundError as error:
        _fail(program_name, f"{error.name} is not installed; pip install 'iap-mesh[{extra}]' brings what is needed")


def environment_prefix(program_name: str) -> str:
    """Return what a program's environment variables begin with: `IAP_BROKER` for `iap-broker`."""
    return program_name.upper().replace("-", "_")


def run_event_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end on a new event loop, uvloop where there is one: a third less CPU per call."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 - not made for every platform

    return uvloop.run(main)


def _fail(program_name: str, message: str) -> NoReturn:
    one_line = " ".join(message.split())
    print(f"{program_name}: error: {one_line}", file=sys.stderr)
    sys.exit(_EXIT_CODE_WRONG_SETTINGS)
