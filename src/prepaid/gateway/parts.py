"""What handlers work with: opened when a worker starts, closed when it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

from prepaid.config import Settings
from prepaid.gateway.asgi import Request
from prepaid.gateway.limits import Slots
from prepaid.sessions.manager import SessionManager
from prepaid.sessions.workspace import Workspace

__all__ = ["Handler", "Parts", "Routes"]


@dataclass(frozen=True, slots=True)
class Parts:
    """One worker's parts. Open them with ``open``, in the event loop that serves.

    Raises:
        StoreError, ConfigError: as ``SessionManager``.
    """

    settings: Settings
    manager: SessionManager
    slots: Slots
    """Requests in flight, by key."""

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The parts for these settings."""
        manager = SessionManager(settings=settings)
        return cls(settings, manager, Slots(settings.gateway.requests_per_key_max))

    @property
    def workspace(self) -> Workspace:
        """What stands behind the manager, for the hot path: store, ledger, meter, catalogue."""
        return self.manager._workspace  # noqa: SLF001 -- handlers work on the books without a handle each

    async def aclose(self) -> None:
        """Stop what runs in the background and close the database."""
        await self.manager.shutdown()


Handler = Callable[[Request, Parts], Awaitable[None]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Handlers by path and method. A path may end in ``/*``, for whatever stands below it: ``Request.tail``."""
