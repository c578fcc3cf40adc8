"""Where the load generator ghz is (https://ghz.sh), and how it gets there."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

GHZ_VERSION: Final = "v0.121.0"
_GHZ_PACKAGE: Final = "github.com/bojand/ghz/cmd/ghz"
_INSTALL_SECONDS: Final = 600


class GhzMissingError(Exception):
    """There is no ghz, and none could be installed; one line that says what to do."""


def find_ghz() -> Path | None:
    """Return the ghz on the PATH, else the one where Go installs programs; None if there is neither."""
    on_path = shutil.which("ghz")
    if on_path is not None:
        return Path(on_path)
    installed = _go_programs() / "ghz" if can_install_ghz() else None
    return installed if installed is not None and installed.exists() else None


def can_install_ghz() -> bool:
    """Whether there is Go to install it with."""
    return shutil.which("go") is not None


def install_ghz() -> Path:
    """Build the pinned version with Go, which downloads it; return where it is. Raises GhzMissingError."""
    if not can_install_ghz():
        raise GhzMissingError(
            f"ghz is needed: put it on the PATH (https://ghz.sh/docs/install, {GHZ_VERSION}), or install Go"
        )
    try:
        done = _run_go("install", f"{_GHZ_PACKAGE}@{GHZ_VERSION}")
    except subprocess.TimeoutExpired:
        raise GhzMissingError(f"installing ghz took more than {_INSTALL_SECONDS} seconds") from None
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise GhzMissingError(f"ghz is needed, and `go install {_GHZ_PACKAGE}@{GHZ_VERSION}` failed: {last_line}")
    return _go_programs() / "ghz"


def _go_programs() -> Path:
    variables = _run_go("env", "GOBIN", "GOPATH").stdout.split("\n")
    return Path(variables[0]) if variables[0] else Path(variables[1].split(":")[0]) / "bin"


def _run_go(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (shutil.which("go") or "go", *arguments), check=False, capture_output=True, text=True, timeout=_INSTALL_SECONDS
    )
