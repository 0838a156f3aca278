"""What happened, for whoever wants to know: an async iterator and callbacks (spec B12).

Events tell of changes made through this manager, after they are durable.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

__all__ = [
    "AIRequestFailed",
    "AIResponseReceived",
    "Event",
    "EventBus",
    "SessionClosed",
    "SessionCreated",
    "SessionPooled",
    "SessionRenewed",
]

_BACKLOG_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a session."""

    session_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class SessionCreated(Event):
    """A session was opened with ``balance`` base units."""

    balance: int


@dataclass(frozen=True, slots=True)
class SessionClosed(Event):
    """A session ended: ``refund`` went back at once, ``held`` follows as its requests settle."""

    refund: int
    held: int
    expired: bool


@dataclass(frozen=True, slots=True)
class SessionRenewed(Event):
    """Money was added; ``new_balance`` is available now."""

    new_balance: int


@dataclass(frozen=True, slots=True)
class SessionPooled(Event):
    """A session was added to the shared pool."""


@dataclass(frozen=True, slots=True)
class AIResponseReceived(Event):
    """A request was answered and cost ``cost`` base units. ``request_id`` is its chat or request."""

    request_id: str
    model: str
    cost: int


@dataclass(frozen=True, slots=True)
class AIRequestFailed(Event):
    """A request failed with this error and cost nothing."""

    request_id: str
    error: str


EventT = TypeVar("EventT", bound=Event)
Callback = Callable[[Any], Awaitable[None] | None]


class EventBus:
    """Hands events to iterators and callbacks. A reader that falls 10,000 behind loses the oldest."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._callbacks: list[tuple[type[Event], Callback]] = []
        self._readers: set[asyncio.Queue[Event]] = set()
        self._tasks: set[asyncio.Future[None]] = set()

    def on(self, kind: type[EventT], callback: Callable[[EventT], Awaitable[None] | None]) -> None:
        """Call ``callback``, plain or async, at each event of this kind (``Event``: at all)."""
        self._callbacks.append((kind, callback))

    async def events(self) -> AsyncGenerator[Event]:
        """Events from now on, until the iterator is closed."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_BACKLOG_MAX)
        self._readers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.discard(queue)

    def emit(self, event: Event) -> None:
        """Tell everybody. A callback that fails is logged and disturbs nobody."""
        for queue in self._readers:
            if queue.full():
                self._logger.warning(
                    "an event reader is %d events behind; the oldest is dropped", _BACKLOG_MAX
                )
                queue.get_nowait()
            queue.put_nowait(event)
        for kind, callback in self._callbacks:
            if isinstance(event, kind):
                self._call(callback, event)

    def _call(self, callback: Callback, event: Event) -> None:
        try:
            result = callback(event)
        except Exception:
            self._logger.exception("an event callback failed on %r", event)
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(self._awaited(result, event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _awaited(self, result: Awaitable[None], event: Event) -> None:
        try:
            await result
        except Exception:
            self._logger.exception("an event callback failed on %r", event)

    async def aclose(self) -> None:
        """Wait for callbacks that still run."""
        await asyncio.gather(*self._tasks)
