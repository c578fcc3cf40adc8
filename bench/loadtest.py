"""Load tests a broker and a provider with ghz: `python -m bench.loadtest`.

Starts both as processes of their own with an account that has plenty of credits, sends BrokerService.Reserve and then
ProviderService.ServeRequest, and checks afterwards that the books have exactly what was answered.

What is measured is this machine as much as the servers: all of it, ghz included, shares at most two CPUs. The broker
commits to SQLite and answers when a commit is on disk; a ServeRequest is two calls to it (Reserve, Capture) and a text
that the sandbox gateway has on disk. One account pays for everything.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.type.money_pb2 import Money

from bench.ghz_run import Credentials, GhzFailedError, Load, Report, load_configuration, run_ghz
from bench.ghz_tool import GHZ_VERSION, GhzMissingError, can_install_ghz, find_ghz, install_ghz
from client_stub.errors import IapError
from client_stub.provider import ProviderClient
from deploy.interruption import run_to_end
from deploy.local_mesh import Books, LocalMesh
from deploy.node_process import ProcessFailedError
from deploy.seeding import SEEDED_SERVICES, PackTerms, buy_pack, seed

RESERVE: Final = "reserve.json"
SERVE_REQUEST: Final = "serve_request.json"

_PLENTY: Final = PackTerms(title="Load test", credits=10**9, price=Money(currency_code="EUR", units=1_000_000))
_CPUS: Final = 2
_DURATION: Final = re.compile(r"(?P<number>[1-9][0-9]*)(?P<unit>s|m)")
# Reservations live for 15 minutes by default, and those of Reserve have to be there at the end.
_LONGEST_SECONDS: Final = 300
_WRONG_SETTINGS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was answered, and what a request of each kind moves."""

    reserve: Report
    serve_request: Report
    reserved_credits_each: int
    charged_credits_each: int


async def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load test and return the exit code: 1 when something is wrong, 2 when it could not be tried."""
    load = _read_load(arguments)
    try:
        ghz = find_ghz() or _install_ghz()
        _use_few_cpus()
        with tempfile.TemporaryDirectory(prefix="iap-loadtest-") as directory:
            async with LocalMesh(Path(directory)) as mesh:
                outcome = await _send(ghz, mesh, load)
                books = await mesh.audit()
    except GhzMissingError as error:
        print(f"loadtest: error: {error}", file=sys.stderr)
        return _WRONG_SETTINGS
    except (ProcessFailedError, GhzFailedError, IapError) as error:
        print(f"loadtest: error: {error}", file=sys.stderr)
        return 1
    problems = [*outcome.reserve.problems(), *outcome.serve_request.problems(), *compare_books(books, outcome)]
    for problem in problems:
        print(f"loadtest: error: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(
        f"The books agree: {books.reserved_credits} credits reserved and {books.captured_credits} captured, just as "
        f"answered; {books.entries_checked} entries checked, no differences."
    )
    return 0


def _read_load(arguments: Sequence[str] | None) -> Load:
    parser = argparse.ArgumentParser(prog="loadtest", description="Load tests a broker and a provider with ghz.")
    parser.add_argument(
        "--duration", type=_parse_duration, default=10, metavar="TIME", help="of each call; default 10s"
    )
    parser.add_argument("--requests", type=int, metavar="NUMBER", help="send so many of each call instead")
    parser.add_argument("--concurrency", type=int, metavar="NUMBER", help="calls in flight; default 64")
    read = parser.parse_args(arguments)
    for name in ("requests", "concurrency"):
        if getattr(read, name) is not None and getattr(read, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if read.requests is not None and read.requests < (read.concurrency or 1):
        parser.error("--requests must be at least --concurrency")
    return Load(duration_seconds=read.duration, requests=read.requests, concurrency=read.concurrency)


def _parse_duration(text: str) -> int:
    matched = _DURATION.fullmatch(text)
    seconds = int(matched["number"]) * (60 if matched["unit"] == "m" else 1) if matched else 0
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time from 1s to 5m")
    return seconds


def _install_ghz() -> Path:
    if can_install_ghz():
        print(f"Installing ghz {GHZ_VERSION} with Go; this takes about a minute, once.", flush=True)
    return install_ghz()


def _use_few_cpus() -> None:
    """Keep this process and those it starts to two CPUs, so that figures of machines can be compared."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CPUS])


async def _send(ghz: Path, mesh: LocalMesh, load: Load) -> Outcome:
    """Start the servers and send both loads."""
    operator_key = await mesh.initialize()
    await mesh.broker.start()
    seeded = await seed(mesh.broker.address, operator_key=operator_key or "", packs=[_PLENTY], trial_credits=0)
    await buy_pack(mesh.broker.address, pack_id=seeded.pack_ids[0], account_token=seeded.account_token)
    provider = mesh.add_provider(key=seeded.provider_key, arguments=SEEDED_SERVICES)
    await provider.start()
    credentials = Credentials(provider_key=seeded.provider_key, account_token=seeded.account_token)

    async def send(file_name: str, host: str) -> tuple[Report, dict[str, Any]]:
        configuration = load_configuration(file_name, host=host, credentials=credentials, load=load)
        report = await run_ghz(ghz, configuration, directory=mesh.directory, load=load)
        print(f"\n{report.summary}", flush=True)
        return report, configuration["data"]

    _print_setting(load)
    reserve, reserve_data = await send(RESERVE, mesh.broker.address)
    serve_request, serve_data = await send(SERVE_REQUEST, provider.address)
    print()
    async with ProviderClient.connect(provider.address) as client:
        quote = await client.quote(service=seeded.service, input=serve_data["input"])
    return Outcome(
        reserve=reserve,
        serve_request=serve_request,
        reserved_credits_each=reserve_data["credits"],
        charged_credits_each=quote.credits,
    )


def _print_setting(load: Load) -> None:
    extent = f"{load.duration_seconds} s of each" if load.requests is None else f"{load.requests} of each"
    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    print(
        f"One broker process on SQLite, every commit on disk before it is answered; one provider process with the\n"
        f"sandbox gateway, every text on disk too; ghz; all on the same {cpus} CPUs. One account pays. {extent}.",
        flush=True,
    )


def compare_books(books: Books, outcome: Outcome) -> list[str]:
    """Return how the books differ from what was answered.

    A call that failed may have been done all the same: after errors the figures need not be equal.
    """
    reserved = outcome.reserve.ok_count * outcome.reserved_credits_each
    captured = outcome.serve_request.ok_count * outcome.charged_credits_each
    differences = [f"the audit found {violation}" for violation in books.violations]
    if books.reserved_credits != reserved:
        differences.append(f"{books.reserved_credits} credits are reserved, {reserved} were answered")
    if books.captured_credits != captured:
        differences.append(f"{books.captured_credits} credits are captured, {captured} were answered")
    return differences


if __name__ == "__main__":
    sys.exit(run_to_end(main))
