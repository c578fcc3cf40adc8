"""Entry point of the `iap-provider` command, also `python -m provider_service`."""

from typing import NoReturn

from mesh_runtime.commands import invoke_from


def main() -> NoReturn:
    """Runs the command and exits."""
    invoke_from("provider_service.cli", "iap-provider", extra="provider")


if __name__ == "__main__":
    main()
