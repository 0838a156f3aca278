"""Where work goes that is linear in a long body: one thread, so that the event loop waits for one at most.

A parser in C lets no other thread go on until it is done: of several such threads, the loop would wait for
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
"""Nobody else is to wait for what is linear in a longer body."""

_BYTES_A_VALUE: Final = 16
"""Of numbers and marks, on average at most: numbers of thousands of digits cost as much as many."""

_VALUES_A_CONTAINER: Final = 4
"""What a list costs to make, to look after and to forget, in numbers."""

_BODY: Final = "the request's body (body_values_max)"
_BLANKS: Final = b" \t\r\n"
_worker: Final = ThreadPoolExecutor(1, thread_name_prefix="prepaid-heavy")


async def heavily(work: Callable[[], T]) -> T:
    """What ``work`` results in, while the event loop goes on; first come, first served."""
    return await asyncio.get_running_loop().run_in_executor(_worker, work)


def check_structure(raw: bytes, values_max: int, what: str = _BODY) -> int:
    """Refuse JSON of too many parts, before a parser makes objects of them; else how many there are.

    A name or a value counts one, a list or an object four more, and what stands in texts nothing, however
    long they are. Exact for what is JSON, and for as much of anything else as a parser would read.

    Raises:
        ValueTooLarge: there are more than ``values_max``, or numbers as long as so many.
    """
    bare = raw
    if b"\\" in raw:  # only texts have them: without what they escape, the quotes left are texts' own
        bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    _check_count(bare.count(b'"') // 2, values_max, what)  # every text is a name or a value
    outside = b"".join(bare.split(b'"')[::2])
    count = outside.count(b",") + outside.count(b":")
    count += _VALUES_A_CONTAINER * (outside.count(b"{") + outside.count(b"["))
    _check_count(count, values_max, what)
    size, limit = len(outside.translate(None, _BLANKS)), values_max * _BYTES_A_VALUE
    if size > limit:
        raise ValueTooLarge(f"{what} without its texts", size, limit)
    return count


def _check_count(count: int, values_max: int, what: str) -> None:
    if count > values_max:
        raise ValueTooLarge(what, count, values_max, "values")
