"""Reports that read without bound: made off the event loop, a few at once for each owner.

One user's statements of many thousand lines slow nobody else: the books are read in a thread
(``store.report``), and the JSON is written in one, in pieces, because writing it in one go would keep all
other threads waiting.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

from fastapi.responses import Response

from prepaid.gateway.rest.access import Access

__all__ = ["listed", "report", "statement"]

T = TypeVar("T")

_PIECE_LINES: Final = 256
"""How many lines are written without a break; it takes less than a millisecond."""


async def report(
    caller: Access,
    question: Callable[[], Awaitable[T]],
    written: Callable[[T], str],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a question about the books, as JSON.

    Raises:
        ReportLimitReached: the owner already has as many reports being made as allowed.
    """
    with caller.reporting():
        answer = await question()
        body = await asyncio.to_thread(lambda: written(answer).encode())
    return Response(body, media_type="application/json", headers=dict(headers or {}))


def listed(records: Sequence[Any]) -> str:
    """A list of dataclasses as JSON."""
    return f"[{_pieces([asdict(each) for each in records])}]"


def statement(document: Mapping[str, Any]) -> str:
    """A statement as JSON."""
    head = _text({name: value for name, value in document.items() if name != "lines"})
    return f'{head[:-1]},"lines":[{_pieces(document["lines"])}]}}'


def _pieces(lines: Sequence[Any]) -> str:
    pieces = (
        _text(lines[first : first + _PIECE_LINES])[1:-1] for first in range(0, len(lines), _PIECE_LINES)
    )
    return ",".join(pieces)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
