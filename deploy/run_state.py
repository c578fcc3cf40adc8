"""What `deploy.run` keeps from one run to the next: the secrets that the broker showed once."""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from deploy.node_process import ProcessFailedError
from deploy.seeding import Seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The operator's key, and whom the operator registered with it."""

    operator_key: str = field(repr=False)
    seeded: Seeded


def save_state(path: Path, state: RunState) -> None:
    """Replace the file, readable by its owner only, in one step."""
    new_path = path.with_suffix(".new")
    new_path.unlink(missing_ok=True)
    descriptor = os.open(new_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(state), file, indent=2)
    new_path.replace(path)


def load_state(path: Path) -> RunState:
    """Read the file. Raises ProcessFailedError when it is not one that was saved."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        seeded = Seeded(**{**document["seeded"], "pack_ids": tuple(document["seeded"]["pack_ids"])})
        return RunState(operator_key=document["operator_key"], seeded=seeded)
    except (ValueError, TypeError, KeyError) as error:
        raise ProcessFailedError(f"{path} cannot be read ({error}): move it and the database away") from error
