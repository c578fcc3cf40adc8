"""`iap open`, `iap balance`, `iap watch`, `iap statement`: a customer's account."""

from datetime import datetime
from typing import Final

import click
from iap.broker.v1.account_pb2 import (
    AccountState,
    Entry,
    EntryKind,
    GetBalanceResponse,
    GrantKind,
    OpenAccountResponse,
    WatchBalanceResponse,
)

from client_stub.accounts import AccountClient
from client_stub.cli.documents import print_document, print_line, to_document
from client_stub.cli.provider_statement import show_statement
from client_stub.cli.running import connect_to_broker, runs_async
from client_stub.cli.settings import AccountChoice, Settings, choose_account, shared_options
from client_stub.cli.statement import Statement
from client_stub.cli.tables import LEFT, RIGHT, format_time, pairs, table, word
from client_stub.cli.times import read_instant

_READINGS: Final = 3


@click.command("open", short_help="Open an account and print its token.")
@click.argument("service")
@click.option("--request-id", metavar="UUID", help="Repeat an earlier call: the account is opened once.")
@shared_options(hidden=True)
@runs_async
async def open_account(settings: Settings, service: str, request_id: str | None) -> None:
    """Open an account for SERVICE, with the customer's key, and print its token, this once."""
    if settings.customer_key is None:
        raise click.UsageError("opening an account takes the customer's key: --customer-key or IAP_CUSTOMER_KEY")
    async with connect_to_broker(AccountClient, settings, key=settings.customer_key) as client:
        response = await client.open_account(service=service, request_id=request_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(_opened_account_text(response))


@click.command("balance")
@shared_options(hidden=True)
@runs_async
async def balance(settings: Settings) -> None:
    """Show the account's credits and the grants they come from."""
    account = choose_account(settings)
    async with connect_to_broker(AccountClient, settings, key=account.key) as client:
        response = await _get_balance(client, account)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(_balance_text(response))


@click.command("statement")
@click.option(
    "--since", "--start", "since", callback=read_instant, metavar="TIME", help="Only at or after this time (UTC)."
)
@click.option("--until", "--end", "until", callback=read_instant, metavar="TIME", help="Only before this time (UTC).")
@click.option("--provider", "provider_id", metavar="ID", help="A provider's statement, with its key or the operator's.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV; of a provider's statement.")
@shared_options(hidden=True, own_provider=True)
@runs_async
async def statement(
    settings: Settings, since: datetime | None, until: datetime | None, provider_id: str | None, as_csv: bool
) -> None:
    """Show the account's entries, oldest first; or, with --provider, what has moved the money a provider is owed.

    All entries together must give the account's credits; that is checked, and fails the command if they do not.
    """
    if provider_id is not None:
        await show_statement(settings, provider_id, since, until, as_csv=as_csv)
        return
    if as_csv:
        raise click.UsageError("--csv goes with --provider")
    account = choose_account(settings)
    async with connect_to_broker(AccountClient, settings, key=account.key) as client:
        shown = await _read_statement(client, account, since, until)
    if settings.as_json:
        print_document(shown.to_document())
    else:
        click.echo(_statement_text(shown))
    if not shown.agrees:
        raise click.ClickException(shown.summary())


@click.command("watch")
@shared_options(hidden=True)
@runs_async
async def watch(settings: Settings) -> None:
    """Show the account's credits now and whenever they change, until it is interrupted.

    With --json, one document a line.
    """
    account = choose_account(settings)
    async with connect_to_broker(AccountClient, settings, key=account.key) as client:
        responses = client.watch_balance(account_id=account.account_id, account_token=account.account_token)
        async for response in responses:
            if settings.as_json:
                print_line(to_document(response))
            else:
                click.echo(_watched_text(response))


async def _get_balance(client: AccountClient, account: AccountChoice) -> GetBalanceResponse:
    return await client.get_balance(account_id=account.account_id, account_token=account.account_token)


async def _read_statement(
    client: AccountClient, account: AccountChoice, since: datetime | None, until: datetime | None
) -> Statement:
    """Read the entries and, for a whole statement, the credits they must add up to.

    The account may change between the two, so that a difference counts only when it stays.
    """
    for _ in range(_READINGS):
        entries = [
            entry
            async for entry in client.list_entries(
                account_id=account.account_id,
                account_token=account.account_token,
                start_time=since,
                end_time=until,
            )
        ]
        if since is not None or until is not None:
            return Statement(entries=entries)
        response = await _get_balance(client, account)
        whole = Statement(entries=entries, ledger_credits=response.balance.ledger_credits)
        if whole.agrees:
            break
    return whole


def _opened_account_text(response: OpenAccountResponse) -> str:
    about_account = pairs(
        [
            ("account", response.account.account_id),
            ("service", response.account.service),
            ("credits", response.balance.available_credits),
        ]
    )
    if not response.account_token:
        return f"{about_account}\n\nIt was opened before; its token was shown then, and only then."
    return (
        f"{about_account}\n\nIts token is shown this once. Keep it secret, and use it with\n"
        f"  export IAP_ACCOUNT_TOKEN={response.account_token}"
    )


def _balance_text(response: GetBalanceResponse) -> str:
    about_account = pairs(
        [
            ("account", response.account.account_id),
            ("service", response.account.service),
            ("state", word(AccountState.Name(response.account.state), "ACCOUNT_STATE_")),
            ("ledger credits", response.balance.ledger_credits),
            ("reserved credits", response.balance.reserved_credits),
            ("available credits", response.balance.available_credits),
        ]
    )
    if not response.grants:
        return about_account
    columns = [
        ("granted (UTC)", LEFT),
        ("kind", LEFT),
        ("credits", RIGHT),
        ("remaining", RIGHT),
        ("reserved", RIGHT),
        ("expires (UTC)", LEFT),
    ]
    rows = [
        (
            format_time(grant.create_time),
            word(GrantKind.Name(grant.kind), "GRANT_KIND_"),
            grant.credits,
            grant.remaining_credits,
            grant.reserved_credits,
            format_time(grant.expire_time) if grant.HasField("expire_time") else "never",
        )
        for grant in response.grants
    ]
    return f"{about_account}\n\n{table(columns, rows)}"


def _watched_text(response: WatchBalanceResponse) -> str:
    balance = response.balance
    credits_now = f"{balance.available_credits} available, {balance.reserved_credits} reserved"
    return f"{format_time(response.time)}  {balance.ledger_credits} credits: {credits_now}"


def _statement_text(shown: Statement) -> str:
    columns = [
        ("time (UTC)", LEFT),
        ("kind", LEFT),
        ("credits", RIGHT),
        ("credits after", RIGHT),
        ("description", LEFT),
    ]
    return f"{table(columns, map(_entry_row, shown.entries))}\n\n{shown.summary()}"


def _entry_row(entry: Entry) -> tuple[object, ...]:
    return (
        format_time(entry.time),
        word(EntryKind.Name(entry.kind), "ENTRY_KIND_"),
        f"{entry.credits:+d}",
        entry.ledger_credits_after,
        entry.description,
    )
