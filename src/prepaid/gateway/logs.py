"""Structured logs: one JSON object a line on standard error. Never keys, never prompts."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["JsonFormatter", "configure", "where"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest was passed as ``extra``."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, with whatever was passed as ``extra``.

    Of an exception, its kind and where it happened: its message may quote what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        told |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            told |= where(record.exc_info[1])
        return json.dumps(told, ensure_ascii=False, default=str)


def where(error: BaseException) -> dict[str, Any]:
    """An error's kind and stack, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    stack = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"kind": type(error).__name__, "stack": stack}


def configure(level: str) -> None:
    """Send all logs of this process to standard error as JSON, from ``level`` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("prepaid", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
