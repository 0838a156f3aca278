"""Plain functions that wait for a database without holding up the event loop.

The handlers and queries that both databases share are plain functions: SQLite answers while they wait. Here
they run in a greenlet, which steps aside while a statement is on its way, and goes on with its answer.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from greenlet import getcurrent, greenlet

__all__ = ["in_greenlet", "waited"]

T = TypeVar("T")


def waited(awaitable: Awaitable[T]) -> T:
    """What ``awaitable`` results in; only for functions that ``in_greenlet`` runs."""
    answer: T = getcurrent().parent.switch(awaitable)
    return answer


async def in_greenlet(work: Callable[..., T], *arguments: object) -> T:
    """Run a plain function that uses ``waited``, to its end."""
    runner = greenlet(work)
    asked = runner.switch(*arguments)
    while not runner.dead:
        try:
            answer = await asked
        except BaseException:  # noqa: BLE001 -- it belongs to the function that waits
            asked = runner.throw(*sys.exc_info())
        else:
            asked = runner.switch(answer)
    result: T = asked
    return result
