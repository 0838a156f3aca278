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
from pydantic import BaseModel

from prepaid.gateway.rest.access import Access
from prepaid.gateway.rest.paging import cursor_at

__all__ = ["PAGE_BYTES_MAX", "listed", "page", "report", "statement"]

T = TypeVar("T")
PlaceT = TypeVar("PlaceT", int, str)

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page of a list ends before it has more, unless its first item alone has."""

_ROWS_FIRST: Final = 2
"""Rows may be of megabytes: how many are read at once depends on those that were read before."""

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


async def page(
    caller: Access,
    fetch: Callable[[PlaceT | None, int], Awaitable[Sequence[T]]],
    shown: Callable[[T], BaseModel],
    last: Callable[[T], PlaceT],
    place: PlaceT | None,
    limit: int,
    what: str,
) -> Response:
    """A page of a list, read and written in pieces; shorter than ``limit`` where its items are long.

    ``fetch`` reads so many behind a place, which ``last`` tells of an item.

    Raises:
        ConcurrencyLimitReached: the key has no slot left.
    """
    with caller.slot():
        items: list[bytes] = []
        size, rows, goes_on = 0, _ROWS_FIRST, True
        while goes_on and len(items) < limit and size < PAGE_BYTES_MAX:
            rows = min(rows, limit - len(items))
            found = await fetch(place, rows + 1)
            goes_on = len(found) > rows
            written = await asyncio.to_thread(_written, [shown(each) for each in found[:rows]])
            for each, text in zip(found, written, strict=False):
                if items and size + len(text) > PAGE_BYTES_MAX:
                    size, goes_on = PAGE_BYTES_MAX, True
                    break
                items.append(text)
                size, place = size + len(text), last(each)
            rows = max(min(2 * rows, (PAGE_BYTES_MAX - size) * len(items) // max(size, 1)), 1)
        cursor = None if place is None or not goes_on else cursor_at(place, what)
        body = b'{"items":[%s],"next_cursor":%s}' % (b",".join(items), json.dumps(cursor).encode())
    return Response(body, media_type="application/json")


def _written(told: Sequence[BaseModel]) -> list[bytes]:
    return [each.model_dump_json().encode() for each in told]


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
