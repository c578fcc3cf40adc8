"""Entry point of the `iap-broker` command, also `python -m broker_service`."""

from typing import NoReturn

from mesh_runtime.commands import invoke_from


def main() -> NoReturn:
    """Runs the command and exits."""
    invoke_from("broker_service.cli", "iap-broker", extra="broker")


if __name__ == "__main__":
    main()
