"""Entry point of the `iap` command, also `python -m client_stub`."""

import os
import sys
from io import TextIOWrapper
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal cannot show must not stop the command.
            stream.reconfigure(errors="replace")
    # gRPC logs to standard error what the command reports in its own words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from client_stub.cli.command import run  # noqa: PLC0415 - gRPC reads the setting above when it is imported

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
