"""`iap admin`: what the operator of a broker does."""

import click
from iap.broker.v1.account_pb2 import Account, AccountState
from iap.broker.v1.admin_pb2 import (
    AuditLedgerResponse,
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Provider,
    ProviderState,
)

from client_stub.admin import AdminClient
from client_stub.cli import provider_commands
from client_stub.cli.credit_commands import grant, refund
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.failures import REFUSED
from client_stub.cli.key_commands import keys
from client_stub.cli.money import format_money
from client_stub.cli.owed_refund_commands import owed
from client_stub.cli.payout_commands import payout
from client_stub.cli.running import connect_to_broker, repeatable, request_id_option, runs_async
from client_stub.cli.settings import Settings, require_operator_key, shared_options
from client_stub.cli.tables import LEFT, RIGHT, count, format_time, pairs, printable, table, word
from client_stub.request_ids import request_id_or_new

_ANY_OUTCOME = PaymentNoticeOutcome.PAYMENT_NOTICE_OUTCOME_UNSPECIFIED
_OUTCOMES = {
    "applied": PaymentNoticeOutcome.PAYMENT_NOTICE_OUTCOME_APPLIED,
    "ignored": PaymentNoticeOutcome.PAYMENT_NOTICE_OUTCOME_IGNORED,
    "unknown-purchase": PaymentNoticeOutcome.PAYMENT_NOTICE_OUTCOME_UNKNOWN_PURCHASE,
    "wrong-amount": PaymentNoticeOutcome.PAYMENT_NOTICE_OUTCOME_WRONG_AMOUNT,
}


@click.group("admin", short_help="Operate the broker.")
def admin() -> None:
    """Operate the broker, with an operator's key: --operator-key or IAP_OPERATOR_KEY."""


@admin.group("customer")
def customer() -> None:
    """Register customers."""


@admin.group("provider")
def provider() -> None:
    """Register, list and suspend providers."""


@admin.group("account")
def account() -> None:
    """Suspend and resume accounts."""


for _command in (keys, grant, refund, owed, payout):
    admin.add_command(_command)
provider.add_command(provider_commands.register)


@customer.command("register")
@click.argument("name")
@click.option("--email", default="", help="Its e-mail address.")
@request_id_option("the customer is registered once")
@shared_options(hidden=True)
@runs_async
async def register_customer(settings: Settings, name: str, email: str, request_id: str | None) -> None:
    """Register a customer and print its key, this once."""
    request_id = request_id_or_new(request_id)
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        with repeatable(request_id, "nobody is registered twice"):
            response = await client.register_customer(name=name, email=email, request_id=request_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    about_customer = pairs([("customer", response.customer.customer_id), ("name", response.customer.name)])
    if not response.customer_key:
        click.echo(f"{about_customer}\n\nIt was registered before; its key was shown then, and only then.")
        return
    click.echo(
        f"{about_customer}\n\nIts key is shown this once. Keep it secret, and use it with\n"
        f"  export IAP_CUSTOMER_KEY={response.customer_key}"
    )


@provider.command("list")
@shared_options(hidden=True)
@runs_async
async def list_providers(settings: Settings) -> None:
    """List the providers, by their ids."""
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        found = [it async for it in client.list_providers()]
    if settings.as_json:
        print_document({"providers": [to_document(it) for it in found]})
        return
    columns = [("provider", LEFT), ("name", LEFT), ("state", LEFT), ("commission", RIGHT), ("registered (UTC)", LEFT)]
    rows = [
        (
            it.provider_id,
            it.name,
            word(ProviderState.Name(it.state), "PROVIDER_STATE_"),
            _rate(it),
            format_time(it.create_time),
        )
        for it in found
    ]
    click.echo(table(columns, rows))


@provider.command("suspend")
@click.argument("provider_id")
@click.option("--reason", default="", help="Why; written to the broker's log.")
@shared_options(hidden=True)
@runs_async
async def suspend_provider(settings: Settings, provider_id: str, reason: str) -> None:
    """Stop new reservations, charges, purchases and payouts of PROVIDER_ID."""
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        response = await client.suspend_provider(provider_id=provider_id, reason=reason)
    _show_provider(settings, response.provider)


@provider.command("resume")
@click.argument("provider_id")
@shared_options(hidden=True)
@runs_async
async def resume_provider(settings: Settings, provider_id: str) -> None:
    """Let PROVIDER_ID sell again."""
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        response = await client.resume_provider(provider_id=provider_id)
    _show_provider(settings, response.provider)


@admin.command("commission")
@click.argument("provider_id")
@click.option("--basis-points", type=click.IntRange(0, 10_000), help="Its own rate; 2500 is a quarter of each sale.")
@click.option("--default", "is_default", is_flag=True, help="Back to the broker's rate.")
@shared_options(hidden=True)
@runs_async
async def commission(settings: Settings, provider_id: str, basis_points: int | None, is_default: bool) -> None:
    """Set the commission rate of PROVIDER_ID for purchases to come."""
    if (basis_points is None) != is_default:
        raise click.UsageError("say either --basis-points or --default")
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        response = await client.set_commission(provider_id=provider_id, commission_basis_points=basis_points)
    _show_provider(settings, response.provider)


@account.command("suspend")
@click.argument("named_account", metavar="ACCOUNT_ID")
@click.option("--reason", default="", help="Why; kept for the operator.")
@shared_options(hidden=True)
@runs_async
async def suspend_account(settings: Settings, named_account: str, reason: str) -> None:
    """Stop new reservations, charges and purchases of ACCOUNT_ID."""
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        response = await client.suspend_account(account_id=named_account, reason=reason)
    _show_account(settings, response.account)


@account.command("resume")
@click.argument("named_account", metavar="ACCOUNT_ID")
@shared_options(hidden=True)
@runs_async
async def resume_account(settings: Settings, named_account: str) -> None:
    """Let ACCOUNT_ID be used again."""
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        response = await client.resume_account(account_id=named_account)
    _show_account(settings, response.account)


@admin.command("notices")
@click.option("--outcome", type=click.Choice(list(_OUTCOMES)), help="Only those with this outcome.")
@click.option("--purchase-id", default="", metavar="ID", help="Only those that name this purchase.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@shared_options(hidden=True)
@runs_async
async def notices(settings: Settings, outcome: str | None, purchase_id: str, limit: int) -> None:
    """List what payment gateways have told, and what came of it, newest first."""
    wanted = _ANY_OUTCOME if outcome is None else _OUTCOMES[outcome]
    found: list[PaymentNotice] = []
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        listed = client.list_payment_notices(outcome=wanted, purchase_id=purchase_id, page_size=min(limit, 1_000))
        async for notice in listed:
            found.append(notice)
            if len(found) == limit:
                break
    if settings.as_json:
        print_document({"notices": [to_document(notice) for notice in found]})
        return
    columns = [
        ("came (UTC)", LEFT),
        ("gateway", LEFT),
        ("told", LEFT),
        ("purchase", LEFT),
        ("amount", RIGHT),
        ("outcome", LEFT),
        ("times", RIGHT),
        ("detail", LEFT),
    ]
    click.echo(table(columns, map(_notice_row, found)))


@admin.command("audit")
@shared_options(hidden=True)
@runs_async
async def audit(settings: Settings) -> None:
    """Have the books recomputed; exit 1 and name each difference if there is any.

    Large books take longer than a call usually may: give it time with --timeout.
    """
    async with connect_to_broker(AdminClient, settings, key=require_operator_key(settings)) as client:
        response = await client.audit_ledger()
    if settings.as_json:
        print_document(to_document(response))
    else:
        click.echo(_audit_text(response))
    if response.violations:
        click.get_current_context().exit(REFUSED)


def _show_provider(settings: Settings, shown: Provider) -> None:
    if settings.as_json:
        print_document({"provider": to_document(shown)})
        return
    click.echo(
        pairs(
            [
                ("provider", shown.provider_id),
                ("name", shown.name),
                ("state", word(ProviderState.Name(shown.state), "PROVIDER_STATE_")),
                ("commission", _rate(shown)),
            ]
        )
    )


def _show_account(settings: Settings, shown: Account) -> None:
    if settings.as_json:
        print_document({"account": to_document(shown)})
        return
    state = word(AccountState.Name(shown.state), "ACCOUNT_STATE_")
    click.echo(pairs([("account", shown.account_id), ("service", shown.service), ("state", state)]))


def _rate(shown: Provider) -> str:
    if not shown.HasField("commission_basis_points"):
        return "the broker's"
    return f"{shown.commission_basis_points / 100:.2f} %"


def _notice_row(notice: PaymentNotice) -> tuple[object, ...]:
    return (
        format_time(notice.receive_time),
        notice.gateway,
        word(PaymentNoticeKind.Name(notice.kind), "PAYMENT_NOTICE_KIND_"),
        notice.purchase_id,
        format_money(notice.amount) if notice.HasField("amount") else "–",
        word(PaymentNoticeOutcome.Name(notice.outcome), "PAYMENT_NOTICE_OUTCOME_"),
        notice.times_received,
        notice.detail,
    )


def _audit_text(response: AuditLedgerResponse) -> str:
    lines = [printable(f"{it.rule} {it.account_id}: {it.description}") for it in response.violations]
    entries = f"{response.entries_checked} entr{'y' if response.entries_checked == 1 else 'ies'}"
    verdict = count(len(lines), "difference") if lines else "the books agree"
    return "\n".join([*lines, f"{count(response.accounts_checked, 'account')}, {entries}: {verdict}"])
