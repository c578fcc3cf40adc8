"""Shows the whole of a mesh at work, in a few seconds: `python -m deploy.demo`.

Starts a broker and a provider as processes of their own in a temporary directory, buys credits, has text messages
served and paid for, and checks that everything is as told: exit code 1 if anything is not.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iap.broker.v1.account_pb2 import EntryKind
from iap.broker.v1.broker_pb2 import Balance, Offer
from iap.broker.v1.purchase_pb2 import Purchase

from client_stub.accounts import AccountClient
from client_stub.catalog import CatalogClient
from client_stub.cli.money import format_money
from client_stub.errors import IapError
from client_stub.provider import ProviderClient
from deploy.demo_money import cents, euros, money_table, settle_up
from deploy.demo_requests import REQUESTS, Outcome
from deploy.demo_tables import pack_table, request_table, statement_table
from deploy.demo_texting import Sent, TextingApp
from deploy.interruption import run_to_end
from deploy.local_mesh import LocalMesh
from deploy.node_process import NodeProcess, ProcessFailedError
from deploy.seeding import SEEDED_SERVICES, TRIAL_CREDITS, Seeded, buy_pack, seed
from deploy.story import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    """What the sections work with."""

    story: Story
    mesh: LocalMesh
    provider: NodeProcess
    seeded: Seeded
    operator_key: str


async def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    directory = _read_directory(arguments)
    story = Story()
    try:
        if directory is not None:
            await _run(story, directory)
        else:
            with tempfile.TemporaryDirectory(prefix="iap-demo-") as temporary:
                await _run(story, Path(temporary))
    except (ProcessFailedError, IapError) as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    for difference in story.differences:
        print(f"demo: error: not as told: {difference}", file=sys.stderr)
    if story.differences:
        return 1
    print("\nAll of it was checked, and is as told.")
    return 0


def _read_directory(arguments: Sequence[str] | None) -> Path | None:
    parser = argparse.ArgumentParser(prog="demo", description="Shows the whole of a mesh at work.")
    parser.add_argument(
        "--directory", type=Path, help="keep database, outbox and logs here; default: a temporary directory, removed"
    )
    directory: Path | None = parser.parse_args(arguments).directory
    return directory


async def _run(story: Story, directory: Path) -> None:
    async with LocalMesh(directory) as mesh:
        await _tell_all(story, mesh)


async def _tell_all(story: Story, mesh: LocalMesh) -> None:
    demo = await _open_for_business(story, mesh)
    await _tell_catalog(demo)
    purchase = await _tell_purchase(demo)
    sent = await _tell_requests(demo)
    _tell_offer(demo, sent[-1])
    await _tell_statement(demo, sent)
    await _tell_money(demo, purchase, sent)
    _tell_outbox(demo)
    await _tell_audit(demo, sent)


async def _open_for_business(story: Story, mesh: LocalMesh) -> _Demo:
    story.begin_section("A broker and a provider")
    operator_key = await mesh.initialize()
    if operator_key is None:
        raise ProcessFailedError(f"{mesh.directory} is in use: there is a database in it")
    await mesh.broker.start()
    seeded = await seed(mesh.broker.address, operator_key=operator_key)
    provider = mesh.add_provider(key=seeded.provider_key, arguments=SEEDED_SERVICES)
    await provider.start()
    story.tell(
        f"The broker serves on {mesh.broker.address}. It keeps packs, payments, credit accounts and their ledger. A "
        f"provider serves on {provider.address}. It sells text messages, and needs neither a payment gateway nor "
        "customer accounts of its own: the broker has them. Both are gRPC servers, each in a process of its own."
    )
    return _Demo(story=story, mesh=mesh, provider=provider, seeded=seeded, operator_key=operator_key)


async def _tell_catalog(demo: _Demo) -> None:
    story, service = demo.story, demo.seeded.service
    story.begin_section("What is for sale")
    async with CatalogClient.connect(demo.mesh.broker.address) as catalog:
        published = (await catalog.get_service(service=service)).service
        packs = [pack async for pack in catalog.list_packs(service=service)]
    story.tell(
        f"The provider has published the service “{published.service}” ({published.title}), priced by the "
        f"{published.unit_name}: 1 credit each in the United States, 4 in the United Kingdom, 5 in France, 6 in "
        "Germany. Credits come in packs:"
    )
    story.show(pack_table(packs))
    story.check("packs on sale", found=[pack.pack_id for pack in packs], expected=list(demo.seeded.pack_ids))


async def _tell_purchase(demo: _Demo) -> Purchase:
    story, seeded = demo.story, demo.seeded
    story.begin_section("A customer buys credits")
    purchase = await buy_pack(demo.mesh.broker.address, pack_id=seeded.pack_ids[0], account_token=seeded.account_token)
    balance = await _read_balance(demo)
    story.tell(
        f"A customer opened an account, was given {TRIAL_CREDITS} trial credits, and buys the "
        f"{purchase.pack.title.lower()}: {purchase.credits} credits for {format_money(purchase.price)}. Of that the "
        f"broker keeps {format_money(purchase.commission)} (25 %) and owes the provider "
        f"{format_money(purchase.provider_share)}. The account now has {balance.available_credits} credits."
    )
    story.check(
        "commission and provider's share together",
        found=cents(purchase.commission) + cents(purchase.provider_share),
        expected=cents(purchase.price),
    )
    story.check("credits", found=balance.available_credits, expected=TRIAL_CREDITS + purchase.credits)
    return purchase


async def _tell_requests(demo: _Demo) -> list[Sent]:
    story, seeded = demo.story, demo.seeded
    story.begin_section("Eight requests")
    story.tell(
        "The customer's app calls ProviderService.ServeRequest with its account token. Each time the provider "
        "reserves the price at the broker, hands the text to its SMS gateway, and then captures the credits, or "
        "releases them when the gateway fails."
    )
    async with (
        ProviderClient.connect(demo.provider.address) as provider,
        AccountClient.connect(demo.mesh.broker.address) as accounts,
    ):
        app = TextingApp(provider, accounts, service=seeded.service, account_token=seeded.account_token)
        sent = [await app.send(request) for request in REQUESTS]
    story.show(request_table(sent))
    _explain_requests(story, sent)
    return sent


def _explain_requests(story: Story, sent: Sequence[Sent]) -> None:
    for it in sent:
        story.check(it.request.title, found=it.result, expected=it.request.expected)
        story.check(f"{it.request.title}: credits left reserved", found=it.balance.reserved_credits, expected=0)
    first, refused, failed, retry = sent[0], sent[4], sent[5], sent[6]
    story.tell(
        f"The wrong number was refused with the name of the field: {refused.explanation}. To the dead line: "
        f"{failed.explanation}. The retry had the request_id of the first request, and got the answer that one had got."
    )
    story.check("the fields refused", found=refused.refused_fields, expected=("input.to",))
    story.check("the retry's reservation", found=retry.reservation_id, expected=first.reservation_id)


def _tell_offer(demo: _Demo, unpaid: Sent) -> None:
    story = demo.story
    story.begin_section("More than the account can pay")
    offer = unpaid.offer or Offer()
    story.tell(
        f"The last text costs {unpaid.price_credits} credits; {unpaid.balance.available_credits} are there. Nothing "
        "was sent or charged, and the error brought what to do about it, for the app to show:"
    )
    story.show(f"{offer.message}\n\n{pack_table(offer.packs)}")
    missing = unpaid.price_credits - unpaid.balance.available_credits
    story.check("credits missing", found=offer.missing_credits, expected=missing)
    story.check("packs offered", found=[pack.pack_id for pack in offer.packs], expected=list(demo.seeded.pack_ids))


async def _tell_statement(demo: _Demo, sent: Sequence[Sent]) -> None:
    story = demo.story
    story.begin_section("The customer's statement")
    async with AccountClient.connect(demo.mesh.broker.address) as accounts:
        entries = [entry async for entry in accounts.list_entries(account_token=demo.seeded.account_token)]
    balance = await _read_balance(demo)
    story.tell("Only what moved credits is an entry: what was refused, failed or retried left none.")
    story.show(statement_table(entries))
    total = 0
    for entry in entries:
        total += entry.credits
        story.check("running total", found=entry.ledger_credits_after, expected=total)
    captured = [-entry.credits for entry in entries if entry.kind == EntryKind.ENTRY_KIND_CAPTURE]
    story.check("captures", found=captured, expected=_charges(sent))
    story.check("sum of the entries", found=total, expected=balance.ledger_credits)
    story.tell(f"The entries add up to {total} credits, which is what the account holds.")


async def _tell_money(demo: _Demo, purchase: Purchase, sent: Sequence[Sent]) -> None:
    story, seeded = demo.story, demo.seeded
    story.begin_section("The money")
    before = await _read_balance(demo)
    settled = await settle_up(
        demo.mesh.broker.address, operator_key=demo.operator_key, seeded=seeded, purchase=purchase
    )
    left = await _read_balance(demo)
    unspent = before.ledger_credits - left.ledger_credits
    story.tell(
        f"The customer is done, and gets its {unspent} unspent credits refunded: {euros(settled.refund_cents)} of "
        f"{format_money(purchase.price)}, pro rata; the broker gives back its commission on them, too. The operator "
        f"then pays the provider what it is owed, {euros(settled.payout_cents)}. The provider's statement:"
    )
    story.show(money_table(settled.lines))
    story.tell(
        "What the customers paid, less what they got back, is the broker's commission and what the provider was paid. "
        f"Payable now: {euros(settled.payable_cents)}."
    )
    price, commission = cents(purchase.price), cents(purchase.commission)
    refund, its_commission = (amount * unspent // purchase.credits for amount in (price, commission))
    used = sum(_charges(sent))
    story.check("credits refunded", found=unspent, expected=TRIAL_CREDITS + purchase.credits - used)
    story.check("refund", found=settled.refund_cents, expected=refund)
    owed = price - commission - (refund - its_commission)
    for name, found in (("owed", settled.owed_cents), ("paid out", settled.payout_cents)):
        story.check(name, found=found, expected=owed)
    story.check("payable at the end", found=settled.payable_cents, expected=0)
    story.check("sum of the statement", found=sum(cents(line.net) for line in settled.lines), expected=0)


def _tell_outbox(demo: _Demo) -> None:
    story = demo.story
    story.begin_section("What the SMS gateway was given")
    story.tell("The provider runs with the sandbox gateway, which appends each text to a file:")
    outbox = demo.mesh.outbox_path.read_text(encoding="utf-8")
    story.show(outbox)
    wanted = [request.to for request in REQUESTS if request.expected.outcome is Outcome.SENT]
    found = [line.rpartition(" ")[2] for line in outbox.splitlines() if line and not line.startswith(" ")]
    story.check("texts in the outbox", found=found, expected=wanted)


async def _tell_audit(demo: _Demo, sent: Sequence[Sent]) -> None:
    story = demo.story
    story.begin_section("The books")
    books, balance = await demo.mesh.audit(), await _read_balance(demo)
    story.tell(
        f"`iap-broker audit` has recomputed the database from its {books.entries_checked} entries: "
        f"{books.ledger_credits} credits on accounts, {books.reserved_credits} reserved, {books.captured_credits} "
        f"captured, {len(books.violations)} differences."
    )
    story.check("differences in the books", found=books.violations, expected=())
    story.check("credits captured in the books", found=books.captured_credits, expected=sum(_charges(sent)))
    story.check("credits in the books", found=books.ledger_credits, expected=balance.ledger_credits)


async def _read_balance(demo: _Demo) -> Balance:
    async with AccountClient.connect(demo.mesh.broker.address) as accounts:
        return (await accounts.get_balance(account_token=demo.seeded.account_token)).balance


def _charges(sent: Sequence[Sent]) -> list[int]:
    return [it.result.charged_credits for it in sent if it.result.charged_credits]


if __name__ == "__main__":
    sys.exit(run_to_end(main))
