"""`iap buy`, `iap purchases`, `iap refund`: packs for an account, and their price back."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import click
from iap.broker.v1.purchase_pb2 import CreatePurchaseResponse, Purchase, PurchaseState, SandboxOutcome

from client_stub.cli.confirming import confirm
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.failures import NOT_ANSWERED
from client_stub.cli.money import format_money
from client_stub.cli.running import connect_to_broker, repeatable, request_id_option, runs_async, yes_option
from client_stub.cli.settings import AccountChoice, Settings, choose_account, require_customer_key, shared_options
from client_stub.cli.tables import LEFT, RIGHT, count, format_time, pairs, printable, table, word
from client_stub.purchases import PurchaseClient
from client_stub.request_ids import request_id_or_new

# As the broker names the gateway where no money moves.
_SANDBOX: Final = "sandbox"


class Payment(StrEnum):
    """What to do about a sandbox purchase that waits for its payment."""

    ASK = "ask"
    PAY = "pay"
    FAIL = "fail"
    NO_PAY = "no-pay"


@click.command("buy")
@click.argument("pack_id")
@click.option("--pay", "payment", flag_value=Payment.PAY.value, help="Pay at once, without asking.")
@click.option("--fail", "payment", flag_value=Payment.FAIL.value, help="Let the payment fail.")
@click.option("--no-pay", "payment", flag_value=Payment.NO_PAY.value, help="Leave the purchase unpaid.")
@click.option("--yes", is_flag=True, help="Answer the question with yes.")
@click.option(
    "--save-payment-method", is_flag=True, help="Keep how it is paid, for `iap topup`; with the customer's key."
)
@click.option("--request-id", metavar="UUID", help="Repeat an earlier call: the pack is bought once.")
@shared_options(hidden=True)
@runs_async
async def buy(
    settings: Settings,
    pack_id: str,
    payment: str | None,
    yes: bool,
    save_payment_method: bool,
    request_id: str | None,
) -> None:
    """Buy the pack PACK_ID for the account.

    With the broker's sandbox gateway it asks and pays, without real money; else it prints where to pay.
    """
    request_id = request_id_or_new(request_id)
    choice = Payment(payment or (Payment.PAY if yes else Payment.ASK))
    account = choose_account(settings)
    async with connect_to_broker(PurchaseClient, settings, key=account.key) as client:
        try:
            created = await _create(client, account, pack_id, request_id, save_payment_method=save_payment_method)
            purchase = await _pay(client, created, choice, request_id)
        except NOT_ANSWERED as error:
            error.add_note(f"repeat it with --request-id {request_id}, and nothing is bought twice")
            raise
    checkout_url = created.checkout_url if purchase.state == PurchaseState.PURCHASE_STATE_PENDING else ""
    if settings.as_json:
        print_document({"purchase": to_document(purchase), "checkout_url": checkout_url})
        return
    click.echo(_purchase_text(purchase, checkout_url, request_id))


@click.command("purchases")
@shared_options(hidden=True)
@runs_async
async def purchases(settings: Settings) -> None:
    """List the account's purchases, newest first."""
    account = choose_account(settings)
    async with connect_to_broker(PurchaseClient, settings, key=account.key) as client:
        listed = client.list_purchases(account_id=account.account_id, account_token=account.account_token)
        found = [purchase async for purchase in listed]
    if settings.as_json:
        print_document({"purchases": [to_document(purchase) for purchase in found]})
        return
    click.echo(_purchases_text(found))


@click.command("refund")
@click.argument("purchase_id")
@click.option("--reason", default="", help="Why; it stands on the statement.")
@request_id_option("the money is given back once")
@yes_option
@shared_options(hidden=True)
@runs_async
async def refund(settings: Settings, purchase_id: str, reason: str, request_id: str | None, yes: bool) -> None:
    """Get the price of what is unspent of the purchase PURCHASE_ID back, pro rata. With the customer's key."""
    key = require_customer_key(settings)
    await refund_unspent(settings, purchase_id, key=key, reason=reason, request_id=request_id, yes=yes)


async def refund_unspent(
    settings: Settings, purchase_id: str, *, key: str, reason: str, request_id: str | None, yes: bool
) -> None:
    """Ask, then refund what is unspent of a purchase, with the customer's key or the operator's, and print it."""
    request_id = request_id_or_new(request_id)
    confirm(f"Refund what is unspent of {purchase_id}?", yes=yes)
    async with connect_to_broker(PurchaseClient, settings, key=key) as client:
        with repeatable(request_id, "nothing is refunded twice"):
            response = await client.refund_purchase(purchase_id=purchase_id, reason=reason, request_id=request_id)
    if settings.as_json:
        print_document(to_document(response))
        return
    click.echo(
        pairs(
            [
                ("purchase", response.purchase.purchase_id),
                ("state", _state(response.purchase)),
                ("refund", format_money(response.refund)),
                ("credits taken back", response.purchase.refunded_credits),
            ]
        )
    )


async def _create(
    client: PurchaseClient, account: AccountChoice, pack_id: str, request_id: str, *, save_payment_method: bool
) -> CreatePurchaseResponse:
    return await client.create_purchase(
        pack_id=pack_id,
        account_id=account.account_id,
        account_token=account.account_token,
        save_payment_method=save_payment_method,
        request_id=request_id,
    )


async def _pay(client: PurchaseClient, created: CreatePurchaseResponse, choice: Payment, request_id: str) -> Purchase:
    """Play the payer's part if the gateway is the sandbox and the choice is to pay, or to fail to."""
    purchase = created.purchase
    if purchase.gateway != _SANDBOX or purchase.state != PurchaseState.PURCHASE_STATE_PENDING:
        return purchase
    if choice is Payment.NO_PAY or (choice is Payment.ASK and not _ask(purchase)):
        return purchase
    outcome = (
        SandboxOutcome.SANDBOX_OUTCOME_FAILED if choice is Payment.FAIL else SandboxOutcome.SANDBOX_OUTCOME_SUCCEEDED
    )
    response = await client.complete_sandbox_payment(
        purchase_id=purchase.purchase_id, outcome=outcome, request_id=request_id
    )
    return response.purchase


def _ask(purchase: Purchase) -> bool:
    price, credits_bought = format_money(purchase.price), count(purchase.credits, "credit")
    # On standard error, so that standard output has the outcome only.
    return click.confirm(f"Pay {price} for {credits_bought} ({printable(purchase.pack.title)})?", err=True)


def _purchase_text(purchase: Purchase, checkout_url: str, request_id: str) -> str:
    about_purchase = pairs(
        [
            ("purchase", purchase.purchase_id),
            ("state", _state(purchase)),
            ("pack", f"{purchase.pack.pack_id} {purchase.pack.title}"),
            ("credits", purchase.credits),
            ("price", format_money(purchase.price)),
        ]
    )
    if not checkout_url:
        return about_purchase
    if purchase.gateway != _SANDBOX:
        return f"{about_purchase}\n\nPay at {printable(checkout_url)}"
    to_pay = f"Not paid yet. To pay:\n  iap buy {purchase.pack.pack_id} --pay --request-id {request_id}"
    # Without pages of the broker's, the sandbox's address is none that a browser can open.
    page = f"\nor at {printable(checkout_url)}" if checkout_url.startswith(("http:", "https:")) else ""
    return f"{about_purchase}\n\n{to_pay}{page}"


def _purchases_text(found: Sequence[Purchase]) -> str:
    columns = [
        ("purchase", LEFT),
        ("bought (UTC)", LEFT),
        ("state", LEFT),
        ("pack", LEFT),
        ("credits", RIGHT),
        ("price", RIGHT),
        ("refunded", RIGHT),
    ]
    rows = [
        (
            purchase.purchase_id,
            format_time(purchase.create_time),
            _state(purchase),
            purchase.pack.title,
            purchase.credits,
            format_money(purchase.price),
            format_money(purchase.refunded) if purchase.HasField("refunded") else "–",
        )
        for purchase in found
    ]
    return table(columns, rows)


def _state(purchase: Purchase) -> str:
    return word(PurchaseState.Name(purchase.state), "PURCHASE_STATE_")
