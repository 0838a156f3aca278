"""What handlers work with: opened when a worker starts, closed when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from prepaid.config import Settings, TelemetrySettings
from prepaid.errors import ConfigError
from prepaid.gateway.asgi import Request
from prepaid.gateway.callers import Callers
from prepaid.gateway.heavy import Heavy
from prepaid.gateway.limits import Slots
from prepaid.gateway.logs import AccessLog
from prepaid.gateway.metrics import Metrics
from prepaid.gateway.readiness import Readiness
from prepaid.sessions.manager import SessionManager
from prepaid.sessions.workspace import Workspace

if TYPE_CHECKING:
    from prepaid.gateway.tracing import Tracing

__all__ = ["Handler", "Parts", "Routes"]


@dataclass(frozen=True, slots=True)
class Parts:
    """One worker's parts. Open them with ``open``, in the event loop that serves.

    Raises:
        StoreError, ConfigError: as ``SessionManager``.
    """

    settings: Settings
    manager: SessionManager
    callers: Callers
    slots: Slots
    """Requests in flight, by key."""
    heavy: Heavy
    readiness: Readiness
    metrics: Metrics
    access_log: AccessLog
    tracing: Tracing | None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The parts for these settings."""
        tracing = _tracing(settings.telemetry)
        manager = SessionManager(settings=settings)
        slots = Slots(settings.gateway.requests_per_key_max)
        metrics = Metrics()
        readiness = Readiness(manager._workspace.store)  # noqa: SLF001 -- as below
        callers = Callers(manager, settings.gateway.failed_keys_per_minute)
        heavy = Heavy(manager._workspace, settings.gateway)  # noqa: SLF001 -- as below
        parts = cls(settings, manager, callers, slots, heavy, readiness, metrics, AccessLog(), tracing)
        parts.workspace.meter.listener = metrics.note_settled
        return parts

    @property
    def workspace(self) -> Workspace:
        """What stands behind the manager, for the hot path: store, ledger, meter, catalogue."""
        return self.manager._workspace  # noqa: SLF001 -- handlers work on the books without a handle each

    def note(self, request: Request, seconds: float) -> None:
        """A request is answered: count it, log it, trace it."""
        self.metrics.note(request, seconds)
        self.access_log.note(request, seconds)
        if self.tracing is not None:
            self.tracing.note(request, seconds)

    async def aclose(self) -> None:
        """Stop what runs in the background, close the database, and write and send what is left to tell."""
        await self.readiness.aclose()
        await self.manager.shutdown()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)
        self.access_log.flush()


def _tracing(settings: TelemetrySettings) -> Tracing | None:
    if not settings.is_wanted:
        return None
    try:
        from prepaid.gateway.tracing import Tracing  # noqa: PLC0415 -- an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Traces are configured, but {error.name} is not installed.",
            remedy='pip install "prepaid[telemetry]", or take the endpoint out.',
        ) from None
    return Tracing(settings)


Handler = Callable[[Request, Parts], Awaitable[None]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Handlers by path and method. A path may end in ``/*``, for whatever stands below it: ``Request.tail``."""
