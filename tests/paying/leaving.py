"""Callers that leave: cancelled at a chosen await, or at each one after it."""

from __future__ import annotations

import asyncio
import itertools
import types
from contextlib import aclosing
from functools import partial


@types.coroutine
def cancelled_at(coroutine, *awaits):
    """Run ``coroutine``, and cancel the task at these of its awaits, counted from 0.

    An await counts where it gives control to the event loop. Returns what it returns, if it gets that far.
    """
    step = partial(coroutine.send, None)
    for number in itertools.count():
        try:
            waiting = step()
        except StopIteration as stop:
            return stop.value
        if number in awaits:
            asyncio.current_task().cancel()
        try:
            yield waiting
        except BaseException as error:  # noqa: BLE001 -- it goes on to where the coroutine stands
            step = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, None)
    raise AssertionError


async def listened(desk, question, heard):
    """Listen to the whole answer, noting each event in ``heard``."""
    async with aclosing(desk.turns.stream(question)) as events:
        async for event in events:
            heard.append(event)
