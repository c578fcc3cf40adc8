"""A provider's statement: what has moved the money it is owed."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import click
from google.type.money_pb2 import Money
from iap.broker.v1.settlement_pb2 import GetStatementResponse, StatementLine, StatementLineKind, StatementTotal

from client_stub.cli.csv_output import print_csv
from client_stub.cli.documents import print_document, to_document
from client_stub.cli.money import format_all, format_money
from client_stub.cli.running import connect_to_broker
from client_stub.cli.settings import Settings, require_figures_key
from client_stub.cli.tables import LEFT, RIGHT, format_time, table
from client_stub.currencies import format_amount, sum_of
from client_stub.settlement import SettlementClient

CSV_COLUMNS: Final = ("time", "kind", "reference", "currency", "gross", "commission", "net")
_FIRST_INSTANT: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def show_statement(
    settings: Settings, provider_id: str, start: datetime | None, end: datetime | None, *, as_csv: bool
) -> None:
    """Print a provider's statement, however long: it is asked for in pieces. Without an end, it ends now."""
    if as_csv and settings.as_json:
        raise click.UsageError("say either --csv or --json")
    start_time, end_time = start or _FIRST_INSTANT, end or datetime.now(UTC)
    key = require_figures_key(settings)
    if as_csv:
        print_csv([CSV_COLUMNS])
    pieces = []
    async with connect_to_broker(SettlementClient, settings, key=key) as client:
        async for piece in client.iterate_statement(provider_id=provider_id, start_time=start_time, end_time=end_time):
            if as_csv:
                print_csv(map(_csv_row, piece.lines))
            else:
                pieces.append(piece)
    if settings.as_json:
        print_document(to_document(_joined(pieces)))
    elif not as_csv:
        click.echo(_statement_text(_joined(pieces)))


def _joined(pieces: Sequence[GetStatementResponse]) -> GetStatementResponse:
    """Return one statement of several that follow each other."""
    totals: dict[str, list[StatementTotal]] = defaultdict(list)
    for piece in pieces:
        for total in piece.totals:
            totals[total.net.currency_code].append(total)
    return GetStatementResponse(
        lines=[line for piece in pieces for line in piece.lines],
        totals=[
            StatementTotal(
                gross=sum_of([total.gross for total in found]),
                commission=sum_of([total.commission for total in found]),
                net=sum_of([total.net for total in found]),
            )
            for _, found in sorted(totals.items())
        ],
    )


def _statement_text(statement: GetStatementResponse) -> str:
    columns = [
        ("time (UTC)", LEFT),
        ("kind", LEFT),
        ("reference", LEFT),
        ("gross", RIGHT),
        ("commission", RIGHT),
        ("net", RIGHT),
    ]
    rows = [
        (format_time(line.time), _kind(line).replace("_", " "), line.reference, *map(format_money, _amounts(line)))
        for line in statement.lines
    ]
    number = "1 line" if len(rows) == 1 else f"{len(rows)} lines"
    nets = format_all(total.net for total in statement.totals)
    return f"{table(columns, rows)}\n\n{number}, together {nets}"


def _csv_row(line: StatementLine) -> tuple[str, ...]:
    return (
        line.time.ToJsonString(),
        _kind(line),
        line.reference,
        line.net.currency_code,
        *map(format_amount, _amounts(line)),
    )


def _amounts(line: StatementLine) -> tuple[Money, Money, Money]:
    return line.gross, line.commission, line.net


def _kind(line: StatementLine) -> str:
    return StatementLineKind.Name(line.kind).removeprefix("STATEMENT_LINE_KIND_").lower()
