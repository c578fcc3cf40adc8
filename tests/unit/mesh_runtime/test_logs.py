import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mesh_runtime.logs import configure_logging
from mesh_runtime.startup_errors import StartupError

# Logging is configured once per process, so each test has a process of its own.
PROGRAM = """
import logging, sys, warnings
from mesh_runtime.logs import configure_logging, get_logger
logger = get_logger("example")
configure_logging(sys.argv[1], sys.argv[2])
logger.debug("detail")
logger.info("call", method="/a/B", duration_ms=1.25, text="Grüße\\nzwei")
try:
    raise ValueError("it failed")
except ValueError:
    logger.exception("call.bug")
logging.getLogger("some.library").info("chatter")
logging.getLogger("some.library").warning("careful: %s", 1)
warnings.warn("old", UserWarning)
"""


def run(level: str, style: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, style], capture_output=True, check=True, text=True, encoding="utf-8"
    )
    assert done.stdout == ""
    return done.stderr


def entries(level: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(level, "json").splitlines()]


def test_json_lines_have_an_event_its_fields_and_a_utc_time() -> None:
    call = next(entry for entry in entries("info") if entry["event"] == "call")
    time = datetime.fromisoformat(call.pop("timestamp"))
    assert call == {
        "event": "call",
        "level": "info",
        "source": "example",
        "method": "/a/B",
        "duration_ms": 1.25,
        "text": "Grüße\nzwei",
    }
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)


def test_a_traceback_is_one_field_of_one_line() -> None:
    (bug,) = [entry for entry in entries("info") if entry["event"] == "call.bug"]
    assert bug["level"] == "error"
    assert "ValueError: it failed" in bug["exception"]


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["detail", "call", "call.bug", "chatter", "careful: 1"]),
        ("info", ["call", "call.bug", "careful: 1"]),
        ("warning", ["call.bug", "careful: 1"]),
        ("error", ["call.bug"]),
    ],
)
def test_what_is_below_the_level_is_not_logged(level: str, events: list[str]) -> None:
    logged = [entry["event"] for entry in entries(level)]
    assert logged[: len(events)] == events
    assert [event for event in logged[len(events) :] if "UserWarning: old" not in event] == []


def test_libraries_and_warnings_log_in_the_same_shape() -> None:
    library, warning = entries("info")[-2:]
    assert (library["source"], library["level"]) == ("some.library", "warning")
    assert (warning["source"], warning["level"]) == ("py.warnings", "warning")
    assert "UserWarning: old" in warning["event"]


def test_text_lines_are_for_people() -> None:
    text = run("info", "text")
    assert "call.bug" in text
    assert "ValueError: it failed" in text
    assert "method=/a/B" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(("level", "style"), [("loud", "json"), ("info", "xml"), ("INFO", "json")])
def test_an_unknown_level_or_style_is_refused(level: str, style: str) -> None:
    with pytest.raises(StartupError, match="invalid log"):
        configure_logging(level, style)


def test_a_line_that_cannot_be_written_harms_nobody() -> None:
    code = (
        "from mesh_runtime.logs import configure_logging, get_logger\n"
        "configure_logging('info', 'json')\n"
        "for _ in range(3):\n"
        "    get_logger('example').info('something')\n"
        "print('done')\n"
    )
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, timeout=20, check=False
        )
    assert finished.stdout == b"done\n"
