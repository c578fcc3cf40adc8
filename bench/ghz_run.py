"""One run of ghz: its configuration filled in, its report read."""

import asyncio
import contextlib
import json
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from iap.broker.v1 import broker_pb2
from iap.provider.v1 import provider_pb2

CONFIGURATIONS: Final = Path(__file__).with_name("ghz")

_ACCOUNT_TOKEN: Final = "ACCOUNT_TOKEN"  # noqa: S105 - stands in the configurations for the real one
_PROVIDER_KEY: Final = "PROVIDER_KEY"
# For connecting, for calls that are in flight at the end, and for writing the report.
_SPARE_SECONDS: Final = 60.0
_NANOSECONDS_PER_MILLISECOND: Final = 1e6
_NANOSECONDS_PER_SECOND: Final = 1e9
_OK: Final = "OK"


class GhzFailedError(Exception):
    """ghz itself failed; the text is what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much to send: for a time, or a number of requests if one is given; None: what the configuration says."""

    duration_seconds: int
    requests: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who calls and who pays."""

    provider_key: str = field(repr=False)
    account_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What ghz measured."""

    name: str
    count: int
    seconds: float
    requests_per_second: float
    average_milliseconds: float
    slowest_milliseconds: float
    percentiles_milliseconds: Mapping[int, float]
    count_by_status: Mapping[str, int]
    count_by_error: Mapping[str, int]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read ghz's JSON report."""
        return cls(
            name=document["name"],
            count=document["count"],
            seconds=document["total"] / _NANOSECONDS_PER_SECOND,
            requests_per_second=document["rps"],
            average_milliseconds=document["average"] / _NANOSECONDS_PER_MILLISECOND,
            slowest_milliseconds=document["slowest"] / _NANOSECONDS_PER_MILLISECOND,
            percentiles_milliseconds={
                it["percentage"]: it["latency"] / _NANOSECONDS_PER_MILLISECOND
                for it in document["latencyDistribution"] or []
            },
            count_by_status=document["statusCodeDistribution"] or {},
            count_by_error=document["errorDistribution"] or {},
        )

    @property
    def ok_count(self) -> int:
        """Requests answered OK."""
        return self.count_by_status.get(_OK, 0)

    def problems(self) -> list[str]:
        """Say what keeps the figures from meaning anything; nothing if all requests were answered OK."""
        if self.count == 0:
            return [f"{self.name}: ghz sent nothing"]
        failed = [f"{self.name}: {number} times {error}" for error, number in self.count_by_error.items()]
        if not failed and self.ok_count != self.count:
            failed = [f"{self.name}: only {self.ok_count} of {self.count} requests were answered OK"]
        return failed

    def summary(self) -> str:
        """Return the figures for a person."""
        percentiles = [f"{name} % {value:.1f}" for name, value in self.percentiles_milliseconds.items()]
        latencies = [
            f"average {self.average_milliseconds:.1f}",
            *percentiles,
            f"slowest {self.slowest_milliseconds:.1f}",
        ]
        statuses = [f"{status} {number}" for status, number in self.count_by_status.items()]
        errors = [f"  error         {number} times {error}" for error, number in self.count_by_error.items()]
        lines = [
            self.name,
            f"  requests      {self.count} in {self.seconds:.2f} s",
            f"  requests/s    {self.requests_per_second:.1f}",
            f"  latency (ms)  {', '.join(latencies)}",
            f"  status codes  {', '.join(statuses)}",
            *errors,
        ]
        return "\n".join(lines)


def write_protoset(path: Path) -> None:
    """Write the contract, with all it imports, in the form ghz reads; it need not ask the servers for it then."""
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name not in files:
            # In the order that readers want: what is imported comes first.
            for imported in file.dependencies:
                add(imported)
            files[file.name] = file

    for module in (broker_pb2, provider_pb2):
        add(module.DESCRIPTOR)
    protoset = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(protoset.file.add())
    path.write_bytes(protoset.SerializeToString())


def load_configuration(file_name: str, *, host: str, credentials: Credentials, load: Load) -> dict[str, Any]:
    """Return one of the configurations with the server, the secrets and the load filled in."""
    text = (CONFIGURATIONS / file_name).read_text(encoding="utf-8")
    text = text.replace(_ACCOUNT_TOKEN, credentials.account_token).replace(_PROVIDER_KEY, credentials.provider_key)
    configuration: dict[str, Any] = {**json.loads(text), "host": host, "duration": f"{load.duration_seconds}s"}
    if load.concurrency is not None:
        configuration["concurrency"] = load.concurrency
        configuration["connections"] = min(configuration["connections"], load.concurrency)
    if load.requests is not None:
        del configuration["duration"]
        configuration["total"] = load.requests
    return configuration


async def run_ghz(ghz: Path, configuration: Mapping[str, Any], *, directory: Path, load: Load) -> Report:
    """Run ghz with a configuration, by way of a file in `directory`. Raises GhzFailedError."""
    path, report_path, protoset_path = (directory / f"ghz.{kind}" for kind in ("json", "report.json", "protoset"))
    report_path.unlink(missing_ok=True)
    write_protoset(protoset_path)
    path.touch(mode=0o600)
    path.write_text(json.dumps({**configuration, "protoset": str(protoset_path)}), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(ghz, "--config", path, "--format", "json", "--output", report_path),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(load.duration_seconds + _SPARE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        raise GhzFailedError(f"{configuration['name']}: ghz did not come to an end") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        path.unlink()
    if not report_path.exists():
        said = (errors or output).decode(errors="replace").strip()
        raise GhzFailedError(f"{configuration['name']}: ghz failed: {said}")
    return Report.from_document(json.loads(report_path.read_text(encoding="utf-8")))
