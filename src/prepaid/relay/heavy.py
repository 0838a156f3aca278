"""One thread for work that is linear in a long body, so that the event loop waits for one such job at most.

A parser in C stops all other threads until it is done: with several such threads, the loop would wait for
each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["HEAVY_BYTES", "heavily"]

T = TypeVar("T")

HEAVY_BYTES: Final = 65_536
"""Nobody else should wait for work that is linear in a longer body."""

_worker: Final = ThreadPoolExecutor(1, thread_name_prefix="prepaid-heavy")


async def heavily(work: Callable[[], T]) -> T:
    """Run ``work`` while the event loop goes on; first come, first served."""
    return await asyncio.get_running_loop().run_in_executor(_worker, work)
