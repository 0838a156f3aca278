"""What is being asked and paid for right now, and how it is broken off when all is to be closed.

A request is in one of two places. Inside a step its task waits for a model, a lock or the store: it is
cancelled there, which settles what was delivered, and hears ``ManagerClosed`` instead of the cancellation.
Between two steps a stream waits for whoever reads it, who may never come back: it is closed in their stead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar
from weakref import WeakSet

from prepaid.errors import ManagerClosed

__all__ = ["Stream", "Underway"]

T = TypeVar("T")
_POLL_SECONDS: Final = 0.005


class Underway:
    """All requests of one meter that run now."""

    def __init__(self) -> None:
        self.is_over = False
        """Whether they were stopped: nothing is asked any more."""
        self.is_stopping = False
        self._steps: set[_Step] = set()
        self._streams: WeakSet[Stream[Any]] = WeakSet()
        self._closings: set[asyncio.Task[None]] = set()
        self._deadline = 0.0

    @contextmanager
    def step(self, *, spared: int = 0) -> Iterator[None]:
        """A stretch of this task that a stop may break off, or waits for as long as it is ``spared``.

        Raises:
            ManagerClosed: it was broken off, or everything was stopped before.
        """
        self.check()
        with _Step(spared=spared) as step:
            self._steps.add(step)
            try:
                yield
            finally:
                self._steps.discard(step)

    def stream(self, events: AsyncGenerator[T]) -> Stream[T]:
        """``events``, which a stop may break off wherever they are."""
        return Stream(self, events)

    def check(self) -> None:
        """Refuse to begin what would be broken off at once.

        Raises:
            ManagerClosed: everything is being stopped.
        """
        if self.is_stopping:
            raise ManagerClosed

    async def stop(self, seconds: float, is_settled: Callable[[], bool]) -> bool:
        """Break off what runs, and wait up to ``seconds`` until all of it has ended; whether it has.

        What does not hear the first call, because it swallows cancellations or hangs while it closes, hears
        another at half time. Being cancelled does not end the wait, which is short; it goes on afterwards.
        """
        loop = asyncio.get_running_loop()
        began, self.is_stopping = loop.time(), True
        self._deadline = began + seconds
        cancelled: asyncio.CancelledError | None = None
        for until in (began + seconds / 2, self._deadline):
            for each in self._here(loop):
                each.break_off()
            while (self._here(loop) or not is_settled()) and loop.time() < until:
                try:
                    await asyncio.sleep(_POLL_SECONDS)
                except asyncio.CancelledError as error:
                    cancelled = error
        self.is_over = True
        if cancelled is not None:
            raise cancelled
        return not self._here(loop) and is_settled()

    @property
    def seconds_left(self) -> float:
        """How long a stop still waits."""
        return max(self._deadline - asyncio.get_running_loop().time(), 0.0)

    def _here(self, loop: asyncio.AbstractEventLoop) -> list[_Step | Stream[Any]]:
        """Those of this event loop; tasks of another cannot be touched from here."""
        here: list[_Step | Stream[Any]] = [*self._steps, *self._streams]
        return [each for each in here if each.loop is loop]

    def note(self, stream: Stream[Any]) -> None:
        """It has begun."""
        self._streams.add(stream)

    def forget(self, stream: Stream[Any]) -> None:
        """It has ended."""
        self._streams.discard(stream)

    def close_aside(self, closing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Close a stream in a task that is kept until it has ended."""
        task = asyncio.get_running_loop().create_task(closing)
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)
        return task


class _Step:
    """A stretch of one task, which is broken off as ``asyncio.timeout`` does it.

    Where somebody else cancels the task too, its cancellation stays one.
    """

    __slots__ = ("_broken_off", "_cancelling", "_spared", "_task", "loop")

    def __init__(self, *, spared: int = 0) -> None:
        self._spared = spared
        self._broken_off = 0

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "requests are made in tasks"
        self._task, self._cancelling = task, task.cancelling()
        self.loop = task.get_loop()
        return self

    def break_off(self) -> None:
        """Cancel it, unless it is spared this time."""
        if self._spared:
            self._spared -= 1
            return
        self._broken_off += 1
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._broken_off:
            return
        for _ in range(self._broken_off):
            left = self._task.uncancel()
        if left <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise ManagerClosed from error


class Stream(AsyncGenerator[T, None], Generic[T]):
    """An asynchronous generator that can be broken off by others than its reader.

    Dropped without being closed, it is closed by the event loop, as every asynchronous generator is.
    """

    def __init__(self, underway: Underway, events: AsyncGenerator[T]) -> None:
        self._underway = underway
        self._events = events
        self._step: _Step | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_told = False
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __anext__(self) -> T:
        """The next event.

        Raises:
            ManagerClosed: all was stopped; what was delivered is settled.
        """
        return await self._stepped(self._events.__anext__)

    async def asend(self, value: None) -> T:
        """As every asynchronous generator's."""
        return await self._stepped(lambda: self._events.asend(value))

    async def athrow(self, *error: Any) -> T:
        """As every asynchronous generator's."""
        return await self._stepped(lambda: self._events.athrow(*error))

    async def aclose(self) -> None:
        """Stop early: what was delivered is settled."""
        if self._closing is not None:
            await asyncio.wait((self._closing,), timeout=self._underway.seconds_left)
        elif self.loop is None or self._step is not None:
            await self._events.aclose()  # it has not begun; or it runs, and says that it cannot be closed now
        else:
            # It is settling what was delivered, which is what a stop wants: not cut off at its first call.
            try:
                await self._in(_Step(spared=1), self._events.aclose)
            finally:
                self._underway.forget(self)

    def break_off(self) -> None:
        """End it, wherever it stands."""
        if self._step is not None:
            self._step.break_off()
        elif self._closing is None:
            self._closing = self._underway.close_aside(self._close())
        else:
            self._closing.cancel()

    async def _stepped(self, step: Callable[[], Awaitable[T]]) -> T:
        if self._closing is not None and not self._is_told:
            self._is_told = True
            await self._raise_closed(self._closing)
        if self._step is not None:  # two read at once, which the generator refuses
            return await step()
        if self.loop is None:
            self._underway.check()
            self.loop = asyncio.get_running_loop()
            self._underway.note(self)
        try:
            event: T = await self._in(_Step(), step)
        except BaseException:
            self._underway.forget(self)
            raise
        return event

    async def _in(self, step: _Step, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            with step as self._step:
                return await work()
        finally:
            self._step = None

    async def _close(self) -> None:
        try:
            await self._events.aclose()
        finally:
            self._underway.forget(self)

    async def _raise_closed(self, closing: asyncio.Task[None]) -> None:
        await asyncio.wait((closing,), timeout=self._underway.seconds_left)
        failed = closing.done() and not closing.cancelled()
        raise ManagerClosed from (closing.exception() if failed else None)
