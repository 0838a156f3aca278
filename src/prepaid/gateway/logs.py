"""Structured logs: one JSON object a line on standard error. Never keys, never prompts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, Final

from prepaid.gateway.asgi import Request
from prepaid.models.failures import request_id

__all__ = ["AccessLog", "JsonFormatter", "configure", "where"]

_FLUSH_SECONDS: Final = 0.1
_WRITE_BYTES_MAX: Final = 4096
"""What a pipe takes in one piece, so that the lines of several workers do not mix."""
_MODEL_LENGTH_MAX: Final = 128

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's, for terminals
}
"""What every record has; the rest was passed as ``extra``."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, with whatever was passed as ``extra``.

    Of an exception, its kind and where it happened: its message may quote what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, Any] = {
            "time": _instant(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if request_id.get():
            told["request_id"] = request_id.get()
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
    """Send all logs of this process to standard error as JSON, ours from ``level`` on.

    Of uvicorn's, errors only: it warns of every request that cannot be parsed, as often as a stranger likes.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("prepaid").setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


class AccessLog:
    """A line for each request, gathered for a moment: writing one costs more than making it."""

    def __init__(self) -> None:
        self.is_wanted = logging.getLogger("prepaid").isEnabledFor(logging.INFO)
        self._lines: list[bytes] = []
        self._process = os.getpid()

    def note(self, request: Request, seconds: float) -> None:
        """A request is answered. Of its path only the template is told, of its model only the beginning."""
        if not self.is_wanted:
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        told: dict[str, Any] = {
            "time": _instant(time.time()),
            "level": "info",
            "logger": "prepaid.access",
            "message": "request",
            "process": self._process,
            "request_id": request.id,
            "client": request.client,
            "method": request.method,
            "route": request.route,
            "status": request.status,
            "seconds": round(seconds, 6),
        }
        if request.session_id is not None:
            told["session_id"] = request.session_id
        if request.model is not None:
            told["model"] = request.model[:_MODEL_LENGTH_MAX]
        if request.cost is not None:
            told["cost"] = request.cost
        if request.error is not None:
            told["error"] = request.error
        self._lines.append(json.dumps(told).encode() + b"\n")

    def flush(self) -> None:
        """Write what was gathered, in pieces that end with a line."""
        lines, self._lines = self._lines, []
        piece = b""
        for line in lines:
            if len(piece) + len(line) > _WRITE_BYTES_MAX:
                _write(piece)
                piece = b""
            piece += line
        _write(piece)


def _write(piece: bytes) -> None:
    sys.stderr.buffer.write(piece)
    sys.stderr.buffer.flush()


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
