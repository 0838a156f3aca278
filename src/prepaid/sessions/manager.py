"""``SessionManager``: where users' sessions are opened, found, pooled, cleaned up and counted (spec B, C)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from prepaid.config import Settings
from prepaid.errors import ConfigError, ManagerClosed
from prepaid.models.contract import Model
from prepaid.runtime import Runtime
from prepaid.sessions.cleanup import Cleaner
from prepaid.sessions.events import Event, EventStream
from prepaid.sessions.fetching import Fetching
from prepaid.sessions.key_ring import KeyRing
from prepaid.sessions.persistence import SessionPersistenceAdapter
from prepaid.sessions.pooling import Pooling
from prepaid.sessions.restoring import Restoring
from prepaid.sessions.saver import Saver
from prepaid.sessions.upkeep import Upkeep
from prepaid.sessions.workspace import Workspace

__all__ = ["SessionManager"]

EventT = TypeVar("EventT", bound=Event)
SHUTDOWN_SECONDS: Final = 10.0
"""How long a shutdown waits for requests to settle and for callbacks of events."""

_CALLBACKS_SECONDS_MIN: Final = 1.0


class SessionManager(Fetching, KeyRing, Pooling, Restoring, Upkeep):
    """Opens and finds sessions on one database; any number of managers and processes may share it.

    Use it as ``async with SessionManager("app.db") as manager:``. Settings come from the arguments,
    then ``PREPAID_*`` in the environment, then ``prepaid.toml``, then the defaults; durations are
    ``timedelta`` or seconds (spec C1). ``models`` are your own, by their names. With a
    ``persistence_adapter``, sessions with ``auto_save`` are saved there after they changed (spec C10).

    Raises:
        ConfigError: a wrong setting, naming where it stands.
        StoreError: the database cannot be opened.
    """

    def __init__(
        self,
        database: str | Path | None = None,
        *,
        max_active_sessions: int | None = None,
        max_sessions_per_user: int | None = None,
        max_chats_per_session: int | None = None,
        auto_cleanup: bool | None = None,
        cleanup_interval: timedelta | float | None = None,
        session_timeout: timedelta | float | None = None,
        persistence_adapter: SessionPersistenceAdapter | None = None,
        logger: logging.Logger | None = None,
        models: Iterable[Model] = (),
        settings: Settings | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        sessions = {
            "max_active_sessions": max_active_sessions,
            "max_sessions_per_user": max_sessions_per_user,
            "max_chats_per_session": max_chats_per_session,
            "auto_cleanup": auto_cleanup,
            "cleanup_interval": cleanup_interval,
            "session_timeout": session_timeout,
        }
        self._runtime = Runtime(_settings(settings, database, sessions), models, logger, clock=clock)
        self._workspace = Workspace(self._runtime)
        self._cleaner = Cleaner(self._workspace)
        self._asking = set()
        self._background = Counter()
        if persistence_adapter is not None:
            self._workspace.saver = Saver(self._workspace, persistence_adapter)
        self._closing: asyncio.Task[None] | None = None
        self._closers: set[asyncio.Task[Any]] = set()
        self._start()

    def on(self, kind: type[EventT], callback: Callable[[EventT], Awaitable[None] | None]) -> None:
        """Call ``callback`` at each event of this kind; ``Event`` stands for all (spec B12)."""
        self._workspace.events.on(kind, callback)

    def events(self) -> EventStream:
        """Events from this call on, until the stream is closed or the manager shut down (spec B12)."""
        return self._workspace.events.events()

    async def shutdown(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Break off what is being asked, save what is to be saved, close the database.

        What was delivered of answers is settled, and saved in their chats; whoever still waits for more gets
        ``ManagerClosed``. Requests and callbacks of events have ``seconds`` for that; what is not settled by
        then is left to the sweep of other managers, and logged. Sessions stay open in the database.

        Call it from wherever you like, again too: it is done once, and goes on where a caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        if self._closing is None:
            self._closing = loop.create_task(self._shut_down(seconds))
        elif self._closing.done() or self._closing.get_loop() is not loop:
            return
        caller = asyncio.current_task()
        assert caller is not None, "coroutines run in tasks"
        self._closers.add(caller)
        await asyncio.shield(self._closing)

    async def _shut_down(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds

        async def end_events() -> None:
            left = max(deadline - asyncio.get_running_loop().time(), _CALLBACKS_SECONDS_MIN)
            await self._workspace.events.aclose(left, self._closers)

        async with contextlib.AsyncExitStack() as closing:  # from the last to the first, whatever fails
            closing.push_async_callback(self._runtime.aclose)
            if self._workspace.saver is not None:
                closing.push_async_callback(self._workspace.saver.aclose)
            closing.push_async_callback(end_events)
            closing.push_async_callback(self._cleaner.aclose)
            closing.push_async_callback(self._stop_asking, seconds)

    async def _stop_asking(self, seconds: float) -> None:
        """Settle what runs, all at the same time."""
        meter = self._workspace.meter
        ends = (self.stop_asking(seconds), meter.stop(seconds))
        failures = [
            ended
            for ended in await asyncio.gather(*ends, return_exceptions=True)
            if isinstance(ended, BaseException)
        ]
        if meter.running:
            self._workspace.logger.warning(
                "%d requests did not settle within %g s of the shutdown: left to the sweep",
                len(meter.running),
                seconds,
            )
        if failures:
            raise failures[0]

    async def __aenter__(self) -> Self:
        if self._closing is not None:
            raise ManagerClosed
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    def _start(self) -> None:
        """Start the clean-up, as soon as there is a loop for it: here, or with ``async with``."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        if self.settings.sessions.auto_cleanup:
            self._cleaner.start()


def _settings(
    settings: Settings | None, database: str | Path | None, sessions: Mapping[str, object]
) -> Settings:
    given: dict[str, Any] = {}
    if database is not None:
        given["database"] = str(database)
    chosen = {name: value for name, value in sessions.items() if value is not None}
    if settings is not None:
        if given or chosen:
            named = ", ".join([*given, *chosen])
            raise ConfigError(f"settings and {named} were both given.", remedy="Put it into the settings.")
        return settings
    if chosen:
        given["sessions"] = chosen
    return Settings(**given)
