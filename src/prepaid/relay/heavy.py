"""One thread for work that is linear in a long body, so that the event loop waits for one such job at most.

A parser in C stops all other threads until it is done: with several such threads, the loop would wait for
each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from prepaid.errors import ValueTooLarge

__all__ = ["HEAVY_BYTES", "check_structure", "heavily"]

T = TypeVar("T")

HEAVY_BYTES: Final = 65_536
"""Nobody else should wait for work that is linear in a longer body."""

_BYTES_A_VALUE: Final = 16
"""Numbers and punctuation may have so many on average: a number of 1,000 digits costs as much as many."""

_VALUES_A_CONTAINER: Final = 4
"""What a list costs to make, keep and free, compared with a number."""

_BODY: Final = "The request body"
_BLANKS: Final = b" \t\r\n"
_worker: Final = ThreadPoolExecutor(1, thread_name_prefix="prepaid-heavy")


async def heavily(work: Callable[[], T]) -> T:
    """Run ``work`` while the event loop goes on; first come, first served."""
    return await asyncio.get_running_loop().run_in_executor(_worker, work)


def check_structure(raw: bytes, values_max: int, what: str = _BODY) -> int:
    """Refuse JSON with too many values, before a parser makes objects of them; return how many it has.

    A comma or a colon counts one, a list or an object four, and the content of strings nothing, however long
    they are. Exact for JSON, and for as much of anything else as a parser would read.

    Raises:
        ValueTooLarge: there are more than ``values_max``, or numbers as long as so many.
    """
    bare = raw
    if b"\\" in raw:  # only strings have them: without what they escape, the quotes left delimit strings
        bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    _check_count(bare.count(b'"') // 2, values_max, what)  # every string is a name or a value
    outside = b"".join(bare.split(b'"')[::2])
    count = outside.count(b",") + outside.count(b":")
    count += _VALUES_A_CONTAINER * (outside.count(b"{") + outside.count(b"["))
    _check_count(count, values_max, what)
    size, limit = len(outside.translate(None, _BLANKS)), values_max * _BYTES_A_VALUE
    if size > limit:
        raise _too_much(what, size, limit, "bytes without its strings")
    return count


def _check_count(count: int, values_max: int, what: str) -> None:
    if count > values_max:
        raise _too_much(what, count, values_max, "values")


def _too_much(what: str, size: int, limit: int, unit: str) -> ValueTooLarge:
    setting = "body_values_max" if what == _BODY else None
    return ValueTooLarge(what, size, limit, unit, limit_name=setting, remedy="Send fewer and shorter values.")
