"""The programs whose processes tests fork rather than start, by what is run."""

import sys
from collections.abc import Sequence

from tests.forker import ROOT, Program

IAP = Program(
    ("-m", "client_stub"),
    ("client_stub.cli.command",),
    # As `iap` sets it before gRPC is imported.
    environment=(("GRPC_VERBOSITY", "NONE"),),
)
BROKER = Program(
    ("-m", "broker_service"),
    ("broker_service.cli", "broker_service.bootstrap", "broker_service.transport.http.app", "uvloop", "stripe"),
)
PROVIDER = Program(("-m", "provider_service"), ("provider_service.cli", "uvloop"))
EXAMPLE_NODE = Program(
    (str(ROOT / "tests" / "unit" / "mesh_runtime" / "example_node.py"),), ("mesh_runtime.node", "uvloop")
)
_ALL = (IAP, BROKER, PROVIDER, EXAMPLE_NODE)


def program_of(line: Sequence[str]) -> tuple[Program, Sequence[str]] | None:
    """Returns the program that a command line runs, and its arguments; None if it is none of these."""
    if line[:1] == (sys.executable,):
        for program in _ALL:
            end = 1 + len(program.head)
            if line[1:end] == program.head:
                return program, line[end:]
    return None
