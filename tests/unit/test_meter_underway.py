"""What runs and can be stopped, by itself: the streams' whole protocol, and a stop that is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import ManagerClosed
from prepaid.meter.underway import Underway


async def words(gate=None):
    try:
        if gate is not None:
            await gate.wait()
        yield 1
        yield 2
    except ValueError:
        yield 3


async def test_a_stream_is_a_whole_asynchronous_generator():
    stream = Underway().stream(words())
    assert await stream.asend(None) == 1
    assert await stream.athrow(ValueError("no")) == 3
    with pytest.raises(StopAsyncIteration):
        await stream.asend(None)


async def test_two_that_read_at_once_are_refused_as_by_every_generator():
    gate = asyncio.Event()
    stream = Underway().stream(words(gate))
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        await anext(stream)
    gate.set()
    assert await first == 1
    await stream.aclose()


async def test_a_stream_that_hangs_while_it_is_closed_hears_another_call():
    closed = []

    async def hangs():
        try:
            yield 1
        finally:
            try:
                await asyncio.Event().wait()
            finally:
                closed.append(True)

    underway = Underway()
    stream = underway.stream(hangs())
    await anext(stream)
    assert await underway.stop(0.2, lambda: True)
    assert closed == [True]
    with pytest.raises(ManagerClosed):
        await anext(stream)


async def test_a_stop_that_is_cancelled_goes_on_to_its_end():
    underway, settled = Underway(), []
    stopping = asyncio.ensure_future(underway.stop(60, lambda: bool(settled)))
    await asyncio.sleep(0)
    stopping.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not stopping.done()
    settled.append(True)
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert underway.is_over
