"""Running a command: its event loop, its connection, its failures."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click

from client_stub.cli.failures import NOT_ANSWERED, report
from client_stub.cli.settings import Settings, current_settings
from client_stub.errors import IapError
from client_stub.service_client import ServiceClient

Parameters = ParamSpec("Parameters")
Client = TypeVar("Client", bound=ServiceClient)
CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])

yes_option: Final = click.option("--yes", is_flag=True, help="Do not ask.")


def runs_async(
    function: Callable[Concatenate[Settings, Parameters], Coroutine[Any, Any, None]],
) -> Callable[Parameters, None]:
    """Let click call a coroutine function, with the settings first; what a server refuses is reported."""

    @functools.wraps(function)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
        settings = current_settings()
        try:
            asyncio.run(function(settings, *arguments, **options))
        except IapError as error:
            click.get_current_context().exit(report(error, settings))

    return run


def request_id_option(once: str) -> Callable[[CommandFunction], CommandFunction]:
    """Give a command the id by which it can be repeated; `once` says what then happens once."""
    return click.option("--request-id", metavar="UUID", help=f"Repeat an earlier call: {once}.")


@contextmanager
def repeatable(request_id: str, once: str) -> Iterator[None]:
    """Say, when no server answers, how to repeat the call; `once` says what then does not happen twice."""
    try:
        yield
    except NOT_ANSWERED as error:
        error.add_note(f"repeat it with --request-id {request_id}, and {once}")
        raise


@asynccontextmanager
async def connect_to_broker(
    client_class: type[Client], settings: Settings, *, key: str | None = None
) -> AsyncIterator[Client]:
    """Connect to one of the broker's services."""
    async with _connect(client_class, settings.broker, settings, key=key) as client:
        yield client


@asynccontextmanager
async def connect_to_provider(client_class: type[Client], settings: Settings) -> AsyncIterator[Client]:
    """Connect to one of the provider's services."""
    async with _connect(client_class, settings.provider, settings, key=None) as client:
        yield client


@asynccontextmanager
async def _connect(
    client_class: type[Client], target: str, settings: Settings, *, key: str | None
) -> AsyncIterator[Client]:
    client = client_class.connect(
        target,
        key=key,
        tls=settings.tls,
        insecure=settings.insecure,
        timeout_seconds=settings.timeout_seconds,
    )
    async with client:
        try:
            yield client
        except NOT_ANSWERED as error:
            error.add_note(f"the server is {target}")
            raise
