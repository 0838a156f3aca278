"""Plain functions that wait for a database without holding up the event loop.

The handlers and queries that both databases share are plain functions: SQLite answers while they wait. Here
they run in a greenlet, which steps aside while a statement is on its way, and goes on with its answer.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

__all__ = ["aside", "in_greenlet", "is_aside", "waited"]

T = TypeVar("T")


def waited(awaitable: Awaitable[T]) -> T:
    """What ``awaitable`` results in; only for functions that ``in_greenlet`` runs."""
    answer: T = getcurrent().parent.switch(awaitable)
    return answer


def is_aside() -> bool:
    """Whether whoever asks runs below ``aside``, and may use ``waited``."""
    return isinstance(getcurrent(), _Aside)


async def in_greenlet(work: Callable[..., T], *arguments: object) -> T:
    """Run a plain function that uses ``waited``, to its end."""
    result: T = await _to_its_end(greenlet(work), *arguments)
    return result


async def aside(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of which plain functions, however deep, use ``waited``."""
    runner = _Aside(_stepped)
    runner.gr_context = copy_context()  # a greenlet would begin with none
    result: T = await _to_its_end(runner, work)
    return result


class _Aside(greenlet):  # type: ignore[misc]  # it has no types
    """Steps through a coroutine."""


class _Passed:
    """What a coroutine waits for, on its way out to the event loop."""

    def __init__(self, step: Any) -> None:
        self._step = step

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self._step)


def _stepped(work: Coroutine[Any, Any, T]) -> T:
    go_on, value = work.send, None
    while True:
        try:
            step = go_on(value)
        except StopIteration as done:
            result: T = done.value
            return result
        try:
            go_on, value = work.send, waited(_Passed(step))
        except BaseException as error:  # noqa: BLE001 -- it belongs to the coroutine
            go_on, value = work.throw, error


async def _to_its_end(runner: greenlet, *arguments: object) -> Any:
    asked = runner.switch(*arguments)
    while not runner.dead:
        try:
            answer = await asked
        except BaseException:  # noqa: BLE001 -- it belongs to the function that waits
            asked = runner.throw(*sys.exc_info())
        else:
            asked = runner.switch(answer)
    return asked
