"""What `deploy.run` prints once the mesh is up: lines to paste into another terminal."""

import json
import shlex
import shutil
import sys
import uuid
from pathlib import Path
from typing import Final

from deploy.seeding import Seeded

_EXAMPLE_INPUT: Final = {"to": "+12025550143", "text": "Hello from the mesh"}


def instructions(*, broker: str, provider: str, directory: Path, seeded: Seeded) -> str:
    """Return the text, with every address, id and key filled in; `directory` is the mesh's own."""
    kept = shown_path(directory)
    sections = (
        f"The broker serves on {broker}, the provider on {provider}. Ctrl-C stops both.\n"
        f"Database, outbox and logs are in {kept}, all keys in {shown_path(directory / 'run.json')}.",
        "Paste into another terminal:",
        _lines(*_exports(broker, provider, seeded)),
        "Then try the customer's command:",
        _lines(*_customer_commands(directory, seeded)),
        "Any gRPC client that knows server reflection works too, such as grpcurl:",
        _lines(*_grpcurl_commands(broker, provider, seeded)),
        "A request_id makes a call safe to repeat: the same grpcurl lines again change nothing and are answered with\n"
        "`replayed`. Another request needs another one.",
    )
    return "\n\n".join(sections)


def shown_path(path: Path) -> str:
    """Return a path as it is typed in the current directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _exports(broker: str, provider: str, seeded: Seeded) -> tuple[str, ...]:
    return (
        f"export IAP_BROKER={broker} IAP_PROVIDER={provider}",
        f"export IAP_ACCOUNT_TOKEN={seeded.account_token}",
        f"export IAP_CUSTOMER_KEY={seeded.customer_key}",
        f"export IAP_PROVIDER_KEY={seeded.provider_key}",
    )


def _customer_commands(directory: Path, seeded: Seeded) -> tuple[str, ...]:
    iap, text = _iap_command(), "--to {to} --text '{text}'".format(**_EXAMPLE_INPUT)
    return (
        f"{iap} catalog",
        f"{iap} balance",
        f"{iap} buy {seeded.pack_ids[0]} --pay",
        f"{iap} quote {seeded.service} {text}",
        f"{iap} serve {seeded.service} {text}",
        f"{iap} statement",
        f"cat {shlex.quote(shown_path(directory / 'sms-outbox.txt'))}",
    )


def _grpcurl_commands(broker: str, provider: str, seeded: Seeded) -> tuple[str, ...]:
    served = {
        "request_id": str(uuid.uuid4()),
        "service": seeded.service,
        "account_token": seeded.account_token,
        "input": _EXAMPLE_INPUT,
    }
    reserved = {
        "request_id": str(uuid.uuid4()),
        "account_token": seeded.account_token,
        "credits": 1,
        "ttl": "60s",
        "description": "by hand",
    }
    header = f"-H 'authorization: Bearer {seeded.provider_key}'"
    return (
        f"grpcurl -plaintext {broker} list",
        f"grpcurl -plaintext {broker} describe iap.broker.v1.BrokerService",
        f"grpcurl -plaintext -d {_quoted(served)} {provider} iap.provider.v1.ProviderService/ServeRequest",
        f"grpcurl -plaintext {header} -d {_quoted(reserved)} {broker} iap.broker.v1.BrokerService/Reserve",
    )


def _quoted(message: object) -> str:
    return shlex.quote(json.dumps(message))


def _iap_command() -> str:
    """Return how to call `iap` from the project's directory."""
    if shutil.which("iap"):
        return "iap"
    beside_python = Path(sys.executable).with_name("iap")
    if beside_python.exists():
        return shlex.quote(shown_path(beside_python))
    return f"{shlex.quote(shown_path(Path(sys.executable)))} -m client_stub"


def _lines(*lines: str) -> str:
    return "\n".join(f"  {line}" for line in lines)
