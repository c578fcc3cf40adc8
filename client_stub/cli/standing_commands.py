"""`iap topup`, `iap alert`, `iap token`: what a customer arranges for an account, with the customer's key."""

from datetime import timedelta

import click
from google.type.money_pb2 import Money
from iap.broker.v1.account_pb2 import AutoTopUp, AutoTopUpState, LowBalanceAlert

from client_stub.accounts import AccountClient
from client_stub.cli.confirming import confirm
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.failures import NOT_ANSWERED
from client_stub.cli.money import format_money
from client_stub.cli.running import connect_to_broker, runs_async
from client_stub.cli.settings import Settings, shared_options
from client_stub.cli.tables import count, format_time, pairs, word
from client_stub.currencies import parse_money
from client_stub.request_ids import request_id_or_new


def _read_money(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Money | None:
    if value is None:
        return None
    try:
        return parse_money(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _account_id(settings: Settings) -> str:
    """Return the customer's account; UsageError without it and the customer's key."""
    if settings.account_id is None or settings.customer_key is None:
        raise click.UsageError("this takes --account-id and the customer's key: --customer-key or IAP_CUSTOMER_KEY")
    return settings.account_id


@click.command("topup", short_help="Show or change how the account is topped up by itself.")
@click.option("--pack", "pack_id", metavar="ID", help="Have this pack bought whenever the account runs low.")
@click.option("--below", "threshold_credits", type=click.IntRange(1), metavar="CREDITS", help="Bought below so many.")
@click.option(
    "--monthly-cap", callback=_read_money, metavar="AMOUNT", help='The most it may cost in a month, such as "EUR 30".'
)
@click.option("--off", is_flag=True, help="Buy no more.")
@click.option("--yes", is_flag=True, help="Answer the question with yes.")
@shared_options(hidden=True)
@runs_async
async def topup(
    settings: Settings,
    pack_id: str | None,
    threshold_credits: int | None,
    monthly_cap: Money | None,
    off: bool,
    yes: bool,
) -> None:
    """Show how the account is topped up by itself; with --pack, --below and --monthly-cap, agree to it; --off ends it.

    With the customer's key. What is asked here is kept as what was agreed to.
    """
    account_id = _account_id(settings)
    terms = (pack_id, threshold_credits, monthly_cap)
    if any(term is not None for term in terms) and (off or None in terms):
        raise click.UsageError("--pack, --below and --monthly-cap go together, and not with --off")
    async with connect_to_broker(AccountClient, settings, key=settings.customer_key) as client:
        if off:
            await client.set_auto_top_up(account_id=account_id, pack_id="")
        elif pack_id is not None and threshold_credits is not None and monthly_cap is not None:
            await _agree(client, account_id, pack_id, threshold_credits, monthly_cap, yes=yes)
        shown = (await client.get_auto_top_up(account_id=account_id)).auto_top_up
    if settings.as_json:
        print_document({"auto_top_up": to_document(shown)})
        return
    click.echo(_top_up_text(shown))


async def _agree(
    client: AccountClient, account_id: str, pack_id: str, threshold_credits: int, monthly_cap: Money, *, yes: bool
) -> None:
    consent = (
        f"Whenever fewer than {count(threshold_credits, 'credit')} are left, buy the pack {pack_id}, "
        f"for at most {format_money(monthly_cap)} in a calendar month."
    )
    confirm(f"{consent} Agreed?", yes=yes)
    await client.set_auto_top_up(
        account_id=account_id,
        pack_id=pack_id,
        threshold_credits=threshold_credits,
        monthly_cap=monthly_cap,
        consent=consent,
    )


@click.command("alert")
@click.option("--below", "threshold_credits", type=click.IntRange(0), required=True, metavar="CREDITS")
@click.option("--webhook-url", default="", metavar="URL", help="Where the notice goes; else only to `iap events`.")
@shared_options(hidden=True)
@runs_async
async def alert(settings: Settings, threshold_credits: int, webhook_url: str) -> None:
    """Be told, as the event balance.low, when the account's credits fall below --below; 0 turns it off."""
    account_id = _account_id(settings)
    async with connect_to_broker(AccountClient, settings, key=settings.customer_key) as client:
        response = await client.set_low_balance_alert(
            account_id=account_id, threshold_credits=threshold_credits, webhook_url=webhook_url
        )
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(_alert_text(response.alert))


@click.command("token")
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, 2_592_000),
    default=0,
    show_default=True,
    help="How long the tokens that work now go on working.",
)
@click.option("--request-id", metavar="UUID", help="Repeat an earlier call: the token is changed once.")
@shared_options(hidden=True)
@runs_async
async def token(settings: Settings, overlap_seconds: int, request_id: str | None) -> None:
    """Give the account another token, and print it, this once."""
    account_id = _account_id(settings)
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(AccountClient, settings, key=settings.customer_key) as client:
        try:
            response = await client.rotate_account_token(
                account_id=account_id, overlap=timedelta(seconds=overlap_seconds), request_id=request_id
            )
        except NOT_ANSWERED as error:
            error.add_note(f"repeat it with --request-id {request_id}: a replay shows no token, so rotate again then")
            raise
    if settings.as_json:
        print_document(to_document(response))
        return
    shown = response.account_token or "– (changed before; shown once)"
    click.echo(pairs([("account", account_id), ("token", shown)]))


def _top_up_text(top_up: AutoTopUp) -> str:
    state = word(AutoTopUpState.Name(top_up.state), "AUTO_TOP_UP_STATE_")
    if not top_up.pack_id:
        return pairs([("account", top_up.account_id), ("topped up", state)])
    lines = [
        ("account", top_up.account_id),
        ("topped up", state),
        ("pack", top_up.pack_id),
        ("below", count(top_up.threshold_credits, "credit")),
        ("this month", f"{format_money(top_up.spent_this_month)} of {format_money(top_up.monthly_cap)}"),
        ("agreed", f"{format_time(top_up.consent_time)}: {top_up.consent}"),
    ]
    if top_up.failed_payments:
        lines.append(("failed payments", str(top_up.failed_payments)))
    if top_up.HasField("next_attempt_time"):
        lines.append(("next attempt", format_time(top_up.next_attempt_time)))
    return pairs(lines)


def _alert_text(shown: LowBalanceAlert) -> str:
    lines = [
        ("account", shown.account_id),
        ("alert", f"below {count(shown.threshold_credits, 'credit')}" if shown.threshold_credits else "off"),
    ]
    if shown.webhook_url:
        lines += [("webhook", shown.webhook_url), ("signing secret", shown.signing_secret)]
    return pairs(lines)
