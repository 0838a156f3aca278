"""What happened, for whoever wants to know: an async iterator and callbacks (spec B12).

Events tell of changes made through this manager, after they are durable, in the order in which they
became so. A change is told of even where its caller had stopped waiting for it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar
from weakref import WeakSet

from prepaid.errors import InvalidRequestError

__all__ = [
    "AIRequestFailed",
    "AIResponseReceived",
    "Event",
    "EventBus",
    "EventStream",
    "SessionClosed",
    "SessionCreated",
    "SessionPooled",
    "SessionRenewed",
]

BACKLOG_MAX: Final = 10_000
CALLBACKS_SECONDS: Final = 10.0


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
    """A request failed and cost nothing. ``error`` is the error's ``code``, or its class's name."""

    request_id: str
    error: str


EventT = TypeVar("EventT", bound=Event)
Callback = Callable[[Any], Awaitable[None] | None]


class EventStream(AsyncIterator[Event]):
    """Events from the moment it was made, until it is closed or the manager is shut down.

    A reader that falls 10,000 events behind loses the oldest. For one reader at a time.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self._is_closed = False

    def put(self, event: Event) -> None:
        """Keep an event for the reader; of 10,000 the oldest makes room."""
        if len(self._events) == BACKLOG_MAX:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        self._news.set()

    async def __anext__(self) -> Event:
        while not self._events:
            if self._is_closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()

    def close(self) -> None:
        """End it; what it has kept can still be read."""
        self._is_closed = True
        self._news.set()

    async def aclose(self) -> None:
        """``close``, for ``contextlib.aclosing``."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class EventBus:
    """Hands events to iterators and callbacks."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._callbacks: list[tuple[type[Event], Callback]] = []
        self._streams: WeakSet[EventStream] = WeakSet()
        self._tasks: set[asyncio.Future[None]] = set()
        self._is_closed = False

    def on(self, kind: type[EventT], callback: Callable[[EventT], Awaitable[None] | None]) -> None:
        """Call ``callback``, plain or async, at each event of this kind (``Event``: at all)."""
        if not (isinstance(kind, type) and issubclass(kind, Event)) or not callable(callback):
            raise InvalidRequestError(
                f"{kind!r} is no kind of event, or {callback!r} cannot be called.",
                remedy="Call on(SessionClosed, function), or on(Event, function) for all kinds.",
            )
        self._callbacks.append((kind, callback))

    def events(self) -> EventStream:
        """Events from now on."""
        stream = EventStream()
        if self._is_closed:
            stream.close()
        else:
            self._streams.add(stream)
        return stream

    def emit(self, event: Event) -> None:
        """Tell everybody. A callback that fails is logged and disturbs nobody."""
        for stream in list(self._streams):
            dropped = stream.dropped
            stream.put(event)
            if stream.dropped > dropped == 0:
                self._logger.warning("an event reader is %d behind; its oldest are dropped", BACKLOG_MAX)
        for kind, callback in list(self._callbacks):
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

    async def aclose(
        self, seconds: float = CALLBACKS_SECONDS, closing: AbstractSet[asyncio.Task[Any]] = frozenset()
    ) -> None:
        """Wait up to ``seconds`` for callbacks that still run, except those that are ``closing`` us.

        What runs on then is cancelled and logged. All streams are ended.
        """
        self._is_closed = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (others := self._tasks - closing) and (left := deadline - loop.time()) > 0:
            await asyncio.wait(others, timeout=left)
        for task in others:
            task.cancel()
            self._logger.warning("an event callback had not ended after %g s and was cancelled", seconds)
        for stream in list(self._streams):
            stream.close()
