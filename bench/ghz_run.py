"""One run of ghz: its configuration filled in, its report read."""

import asyncio
import contextlib
import json
import re
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
# Lines of ghz's summary.
_COUNT: Final = re.compile(r"^ *Count:\s+(\d+)$", re.MULTILINE)
_STATUS: Final = re.compile(r"^ *\[(\w+)\]\s+(\d+) responses? *$", re.MULTILINE)
_ERROR: Final = re.compile(r"^ *\[(\d+)\]\s+(.+)$", re.MULTILINE)
_ERRORS_HEADING: Final = "Error distribution:"
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
    """What ghz measured; `summary` is its own text."""

    name: str
    summary: str
    count: int
    count_by_status: Mapping[str, int]
    count_by_error: Mapping[str, int]

    @classmethod
    def from_summary(cls, name: str, summary: str) -> Self:
        """Read the counts in ghz's summary. Raises GhzFailedError if it has none."""
        count = _COUNT.search(summary)
        if count is None:
            raise GhzFailedError(f"{name}: ghz gave no summary: {summary}")
        statuses, _, errors = summary.partition(_ERRORS_HEADING)
        return cls(
            name=name,
            summary=summary,
            count=int(count[1]),
            count_by_status={status: int(number) for status, number in _STATUS.findall(statuses)},
            count_by_error={error: int(number) for number, error in _ERROR.findall(errors)},
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
    path, protoset_path = directory / "ghz.json", directory / "ghz.protoset"
    write_protoset(protoset_path)
    path.touch(mode=0o600)
    path.write_text(json.dumps({**configuration, "protoset": str(protoset_path)}), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(ghz, "--config", path, "--format", "summary"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    name = configuration["name"]
    try:
        async with asyncio.timeout(load.duration_seconds + _SPARE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        raise GhzFailedError(f"{name}: ghz did not come to an end") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        path.unlink()
    if process.returncode != 0:
        said = (errors or output).decode(errors="replace").strip()
        raise GhzFailedError(f"{name}: ghz failed: {said}")
    return Report.from_summary(name, output.decode().strip())
