"""`iap buy`: credits for an account."""

from enum import StrEnum
from typing import Final

import click
from iap.broker.v1.purchase_pb2 import CreatePurchaseResponse, Purchase, PurchaseState, SandboxOutcome

from client_stub.cli.documents import print_document, to_document
from client_stub.cli.failures import NOT_ANSWERED
from client_stub.cli.money import format_money
from client_stub.cli.running import connect_to_broker, runs_async
from client_stub.cli.settings import AccountChoice, Settings, choose_account, shared_options
from client_stub.cli.tables import count, pairs, printable
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
@click.option("--request-id", metavar="UUID", help="Repeat an earlier call: the pack is bought once.")
@shared_options(hidden=True)
@runs_async
async def buy(settings: Settings, pack_id: str, payment: str | None, yes: bool, request_id: str | None) -> None:
    """Buy the pack PACK_ID for the account.

    With the broker's sandbox gateway it asks and pays, without real money; else it prints where to pay.
    """
    request_id = request_id_or_new(request_id)
    choice = Payment(payment or (Payment.PAY if yes else Payment.ASK))
    account = choose_account(settings)
    async with connect_to_broker(PurchaseClient, settings, key=account.key) as client:
        try:
            created = await _create(client, account, pack_id, request_id)
            purchase = await _pay(client, created, choice, request_id)
        except NOT_ANSWERED as error:
            error.add_note(f"repeat it with --request-id {request_id}, and nothing is bought twice")
            raise
    checkout_url = created.checkout_url if purchase.state == PurchaseState.PURCHASE_STATE_PENDING else ""
    if settings.as_json:
        print_document({"purchase": to_document(purchase), "checkout_url": checkout_url})
        return
    click.echo(_purchase_text(purchase, checkout_url, request_id))


async def _create(
    client: PurchaseClient, account: AccountChoice, pack_id: str, request_id: str
) -> CreatePurchaseResponse:
    return await client.create_purchase(
        pack_id=pack_id,
        account_id=account.account_id,
        account_token=account.account_token,
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
            ("state", PurchaseState.Name(purchase.state).removeprefix("PURCHASE_STATE_").lower().replace("_", " ")),
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
