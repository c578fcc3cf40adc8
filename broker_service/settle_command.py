"""`iap-broker settle`: all payouts that are due."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import click

from broker_service.command_options import database_option, json_option, payout_minimum_option, with_database
from broker_service.domain.currencies import amount_text, minor_unit_digits
from broker_service.domain.records import Payout
from broker_service.engine.clock import system_clock
from broker_service.engine.settlement import Settled, Settlement
from broker_service.storage.database import Database
from broker_service.storage.schema import shards_of
from broker_service.storage.settlement import DuePayout


def _currency(_context: click.Context, _parameter: click.Parameter, currency: str | None) -> str | None:
    if currency is not None and minor_unit_digits(currency) is None:
        raise click.BadParameter(f"{currency!r} is no currency of ISO 4217 with a minor unit")
    return currency


@click.command("settle")
@database_option
@click.option("--dry-run", is_flag=True, help="Only list the payouts that are due.")
@click.option("--apply", "is_applied", is_flag=True, help="Make them.")
@click.option("--currency", callback=_currency, help="Only in this currency, such as EUR.")
@payout_minimum_option
@json_option
def settle_command(
    database: str,
    dry_run: bool,
    is_applied: bool,
    currency: str | None,
    payout_minimums: Mapping[str, int],
    as_json: bool,
) -> None:
    """Pay out what is owed to providers, each in each currency, where it is at least the minimum.

    Suspended providers are left out. It may run beside brokers and beside itself, and again after a crash: nothing is
    paid out twice. Which transfers are under way is told besides.
    """
    if dry_run == is_applied:
        raise click.UsageError("say either --dry-run or --apply")
    if dry_run:
        due = asyncio.run(with_database(database, lambda opened: _due(opened, currency, payout_minimums)))
        click.echo(json.dumps(_due_document(due)) if as_json else _due_text(due))
    else:
        settled = asyncio.run(with_database(database, lambda opened: _settle(opened, currency, payout_minimums)))
        click.echo(json.dumps(_settled_document(settled)) if as_json else _settled_text(settled))


async def _due(database: Database, currency: str | None, minimums: Mapping[str, int]) -> list[DuePayout]:
    return await (await _settlement(database, minimums)).due(currency)


async def _settle(database: Database, currency: str | None, minimums: Mapping[str, int]) -> Settled:
    return await (await _settlement(database, minimums)).settle(currency)


async def _settlement(database: Database, minimums: Mapping[str, int]) -> Settlement:
    """Raises DatabaseUnusableError if the database is not a broker's of this version."""
    await database.read(shards_of)
    return Settlement(database, system_clock, payout_minimums=minimums)


def _due_document(due: list[DuePayout]) -> dict[str, Any]:
    return {
        "applied": False,
        "due": [
            {
                "provider_id": it.provider_id,
                "currency": it.currency,
                "amount": amount_text(it.currency, it.payable_minor_units),
            }
            for it in due
        ],
    }


def _settled_document(settled: Settled) -> dict[str, Any]:
    return {
        "applied": True,
        "made": [_payout_document(payout) for payout in settled.made],
        "in_transit_before": [_payout_document(payout) for payout in settled.in_transit_before],
    }


def _payout_document(payout: Payout) -> dict[str, str]:
    return {
        "payout_id": payout.payout_id,
        "provider_id": payout.provider_id,
        "currency": payout.currency,
        "amount": amount_text(payout.currency, payout.amount_minor_units),
        "create_time": payout.create_time.isoformat().replace("+00:00", "Z"),
    }


def _due_text(due: list[DuePayout]) -> str:
    lines = [
        f"would pay {it.provider_id} {it.currency} {amount_text(it.currency, it.payable_minor_units)}" for it in due
    ]
    return "\n".join([*lines, f"{_payouts(len(due))} due"])


def _settled_text(settled: Settled) -> str:
    lines = [
        *(f"in transit since {it.create_time:%Y-%m-%d}: {_payout_text(it)}" for it in settled.in_transit_before),
        *(f"made: {_payout_text(it)}" for it in settled.made),
    ]
    return "\n".join([*lines, f"{_payouts(len(settled.made))} made"])


def _payout_text(payout: Payout) -> str:
    amount = amount_text(payout.currency, payout.amount_minor_units)
    return f"{payout.payout_id} of {payout.currency} {amount} to {payout.provider_id}"


def _payouts(count: int) -> str:
    return f"{count} payout" if count == 1 else f"{count} payouts"
