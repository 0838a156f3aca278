"""Hands what one task makes to another, piece by piece, and never runs ahead of the taker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

__all__ = ["Handoff", "Sink", "finished"]

T = TypeVar("T")
R = TypeVar("R")
Sink = Callable[[T], Awaitable[None]]


class Handoff(Generic[T, R]):
    """The pieces that ``work(sink)`` puts into its sink, as an async iterator.

    ``work`` runs in a task of its own from start to end, because what pydantic-ai and MCP clients open
    must be closed in the task that opened it, and a generator may be closed in any. It goes on only
    when the taker asks for the next piece, so a taker that leaves was given all that was made.
    """

    def __init__(self, work: Callable[[Sink[T]], Awaitable[R]]) -> None:
        self._work = work
        self._task: asyncio.Task[R] | None = None
        self._pieces: asyncio.Queue[T | None] = asyncio.Queue()
        self._taken = asyncio.Event()

    def __aiter__(self) -> Handoff[T, R]:
        return self

    async def __anext__(self) -> T:
        """The next piece.

        Raises whatever ``work`` raised.
        """
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._made())
            self._task.add_done_callback(lambda _: self._pieces.put_nowait(None))
        self._taken.set()
        piece = await self._pieces.get()
        if piece is not None:
            return piece
        self._pieces.put_nowait(None)  # whoever asks again hears the same
        self._task.result()
        raise StopAsyncIteration

    @property
    def result(self) -> R:
        """What ``work`` returned, once the last piece was taken."""
        assert self._task is not None
        return self._task.result()

    async def aclose(self) -> None:
        """Cancel ``work`` and wait until it has cleaned up; what it raises then is nobody's concern."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            # Whoever cancels us twice does not wait for it: a tool may block a thread; it cleans up alone.
            await asyncio.wait((self._task,))
        if self._task is not None and not self._task.cancelled():
            self._task.exception()

    async def _made(self) -> R:
        return await self._work(self._give)

    async def _give(self, piece: T) -> None:
        self._taken.clear()
        self._pieces.put_nowait(piece)
        await self._taken.wait()


async def finished(*tasks: asyncio.Future[Any]) -> None:
    """Wait until all are done, however often we are cancelled meanwhile; only then that goes on.

    For what takes one commit at most. Cancel scopes of anyio cancel again at every step of the loop.
    """
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
