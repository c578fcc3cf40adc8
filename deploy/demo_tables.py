"""The tables that the demo shows."""

from collections.abc import Sequence
from typing import Final

from iap.broker.v1.account_pb2 import Entry, EntryKind
from iap.broker.v1.catalog_pb2 import Pack

from client_stub.cli.money import format_money
from client_stub.cli.tables import LEFT, RIGHT, format_time, table
from deploy.demo_texting import Sent

_UNKNOWN: Final = "–"
_PACK_COLUMNS: Final = (("pack", LEFT), ("credits", RIGHT), ("price", RIGHT))


def pack_table(packs: Sequence[Pack]) -> str:
    """Return packs with their prices."""
    return table(_PACK_COLUMNS, [(pack.title, pack.credits, format_money(pack.price)) for pack in packs])


def request_table(sent: Sequence[Sent]) -> str:
    """Return requests with what came of each."""
    columns = [
        ("request", LEFT),
        ("to", LEFT),
        ("encoding", LEFT),
        ("segments", RIGHT),
        ("charged", RIGHT),
        ("balance", RIGHT),
        ("outcome", LEFT),
    ]
    rows = [
        (
            it.request.title,
            it.request.to,
            it.result.encoding or _UNKNOWN,
            it.result.segments or _UNKNOWN,
            it.result.charged_credits,
            it.balance.available_credits,
            it.result.outcome,
        )
        for it in sent
    ]
    return table(columns, rows)


def statement_table(entries: Sequence[Entry]) -> str:
    """Return an account's entries."""
    columns = [("time (UTC)", LEFT), ("entry", LEFT), ("credits", RIGHT), ("total", RIGHT), ("description", LEFT)]
    rows = [
        (
            format_time(entry.time),
            EntryKind.Name(entry.kind).removeprefix("ENTRY_KIND_").lower().replace("_", " "),
            f"{entry.credits:+d}",
            entry.ledger_credits_after,
            entry.description,
        )
        for entry in entries
    ]
    return table(columns, rows)
