"""Pages: opaque cursors over keysets, so that a page costs the same at any depth and none is skipped."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query

from prepaid.errors import InvalidRequestError

__all__ = ["Cursor", "Limit", "after_of", "cursor_at", "number_of", "page_of"]

T = TypeVar("T")
PAGE_MAX: Final = 200

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many at most.", examples=[50])]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="The `next_cursor` of the page before.", examples=[None])
]


def after_of(cursor: str | None, what: str) -> str | None:
    """Where the page before ended; ``what`` names the list, whose cursors fit no other.

    Raises:
        InvalidRequestError: it is no cursor of this list's.
    """
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != 2 or found[0] != what or not isinstance(found[1], str):  # noqa: PLR2004
        raise InvalidRequestError("cursor is none of this list's.", remedy="Begin again without one.")
    return found[1]


def number_of(cursor: str | None, what: str) -> int | None:
    """``after_of`` of a list that goes by numbers."""
    after = after_of(cursor, what)
    if after is None:
        return None
    if not (after.isascii() and after.isdecimal() and len(after) < 16):  # noqa: PLR2004 -- far below what would overflow
        raise InvalidRequestError("cursor is none of this list's.", remedy="Begin again without one.")
    return int(after)


def page_of(
    found: Sequence[T], limit: int, what: str, last: Callable[[T], object], shown: Callable[[T], Any]
) -> dict[str, Any]:
    """A page of at most ``limit`` of what was found, one more than that where the list goes on."""
    kept = found[:limit]
    cursor = cursor_at(last(kept[-1]), what) if len(found) > limit else None
    return {"items": [shown(each) for each in kept], "next_cursor": cursor}


def cursor_at(place: object, what: str) -> str:
    """The cursor of a list that goes on after this place."""
    return base64.urlsafe_b64encode(json.dumps([what, str(place)]).encode()).decode()
