"""The programs whose processes tests fork rather than start, by what is run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.forker import ROOT, Imports


@dataclass(frozen=True, slots=True)
class Program:
    """What is run by `python` followed by `head`, and what to import beforehand."""

    head: tuple[str, ...]
    imports: Imports


_OF_A_BROKER: Final = Imports(
    (
        *("broker_service.cli", "broker_service.bootstrap", "broker_service.transport.http.app"),
        "broker_service.transport.http.server",
        *("alembic.command", "alembic.config", "asyncpg", "stripe", "uvloop", "tests.compiled_rules"),
    )
)

IAP: Final = Program(
    ("-m", "client_stub"),
    # As `iap` sets it before gRPC is imported.
    Imports(("client_stub.cli.command",), environment=(("GRPC_VERBOSITY", "NONE"),)),
)
BROKER: Final = Program(("-m", "broker_service"), _OF_A_BROKER)
_DYING_BROKER: Final = Program(("-m", "tests.contract.broker_edge_cases.dying_broker"), _OF_A_BROKER)
_MEASURING: Final = [
    Program(("-m", f"bench.{name}"), _OF_A_BROKER) for name in ("engine_lane", "echo_server", "frames")
]
_PROVIDER: Final = Program(
    ("-m", "provider_service"),
    Imports(
        (
            *("provider_service.cli", "provider_service.journal.durable", "provider_service.journal.sqlite"),
            "provider_service.journal.tables",
            *("provider_service.services.completion", "provider_service.gateways.chat_completions"),
            *("provider_service.services.sms", "provider_service.gateways.sandbox_sms", "uvloop"),
        )
    ),
)
_EXAMPLE_NODE: Final = Program(
    (str(ROOT / "tests" / "unit" / "mesh_runtime" / "example_node.py"),), Imports(("mesh_runtime.node", "uvloop"))
)
# A supervisor does without gRPC, which its workers import.
_EXAMPLE_WORKERS: Final = Program(
    (str(ROOT / "tests" / "unit" / "mesh_runtime" / "example_workers.py"),),
    Imports(("mesh_runtime.workers", "mesh_runtime.commands", "mesh_runtime.logs")),
)
_ALL: Final = (IAP, BROKER, _DYING_BROKER, *_MEASURING, _PROVIDER, _EXAMPLE_NODE, _EXAMPLE_WORKERS)


def program_of(line: Sequence[str]) -> tuple[Program, Sequence[str]] | None:
    """Returns the program that a command line runs, and its arguments; None if it is none of these."""
    if line[:1] == (sys.executable,):
        for program in _ALL:
            end = 1 + len(program.head)
            if line[1:end] == program.head:
                return program, line[end:]
    return None
