"""Structured logging to standard error: one event name plus fields per line."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from mesh_runtime.startup_errors import StartupError

LEVELS: Final = ("debug", "info", "warning", "error")
STYLES: Final = ("json", "text")


def configure_logging(level: str, style: str) -> None:
    """Set the lowest level and the style of all logging in this process, that of libraries included.

    Call it once, before any gRPC object exists: `grpc.aio` can deadlock when another thread reconfigures
    logging later. Libraries log from `warning` up (from `info` at level `debug`), and Python's warnings go
    the same way. StartupError when the level or the style is none of LEVELS and STYLES.
    """
    if level not in LEVELS:
        raise StartupError(f"invalid log level {level!r}: expected one of {', '.join(LEVELS)}")
    if style not in STYLES:
        raise StartupError(f"invalid log style {style!r}: expected one of {', '.join(STYLES)}")
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering = _json_rendering() if style == "json" else _text_rendering()
    structlog.configure(
        processors=[*shared, *rendering, _encode],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # It writes and flushes, and asks nothing else of a file.
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _ForgivingFile(sys.stderr.buffer))),
        cache_logger_on_first_use=True,
    )
    _route_library_logging(level, shared, rendering)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; it may be made before logging is configured, and used after."""
    return cast("FilteringBoundLogger", structlog.get_logger(source=name))


class _ForgivingFile:
    """A file where a line that cannot be written is lost: a full disk must not break what the line tells of."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


def _json_rendering() -> list[Processor]:
    return [structlog.processors.format_exc_info, _render_json]


def _text_rendering() -> list[Processor]:
    colors = sys.stderr.isatty()
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


# Made once: json.dumps with any argument builds an encoder for each line.
_encode_json: Final[Callable[[Any], str]] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), default=repr
).encode


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encode_json(event)


def _encode(_logger: WrappedLogger, _method: str, line: EventDict) -> bytes:
    return cast("str", line).encode("utf-8", "backslashreplace")


def _add_source(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["source"] = event["_record"].name
    return event


def _route_library_logging(level: str, shared: list[Processor], rendering: list[Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_add_source, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel({"debug": logging.INFO, "error": logging.ERROR}.get(level, logging.WARNING))
    logging.captureWarnings(capture=True)
