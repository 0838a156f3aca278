"""Wires everything: the one place that knows the concrete classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from prepaid.config import Settings
from prepaid.ledger import Ledger
from prepaid.meter import Meter
from prepaid.models.catalogue import Catalogue
from prepaid.models.contract import Model
from prepaid.relay import Relay
from prepaid.store.sqlite.store import SqliteStore, now_ms
from prepaid.turns import Turns

__all__ = ["Runtime", "now_ms"]


class Runtime:
    """The parts that one ``SessionManager`` works with, opened together and closed together.

    Raises:
        StoreError: the database cannot be opened.
        ConfigError: the settings contradict each other.
    """

    def __init__(
        self,
        settings: Settings,
        models: Iterable[Model] = (),
        logger: logging.Logger | None = None,
        *,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.settings = settings
        self.logger = logger or logging.getLogger("prepaid")
        self.catalogue = Catalogue(settings, models)
        self.store = SqliteStore(Path(settings.database_path), clock=clock)
        self.ledger = Ledger(self.store)
        self.meter = Meter(self.ledger, timedelta(seconds=settings.hold_seconds))
        self.turns = Turns(self.meter, settings.default_output_tokens)
        self.relay = Relay(self.meter, self.catalogue, settings.default_output_tokens)

    def models(self, name: str) -> tuple[Model, ...]:
        """The model with this name or id, and its fallbacks in order."""
        names = (name, *self.catalogue.fallbacks(name))
        return tuple(self.catalogue.resolve(each) for each in names)

    async def aclose(self) -> None:
        """Stop the heartbeat, finish what is queued, close connections and the database."""
        await self.meter.aclose()
        await self.store.aclose()
        await self.catalogue.aclose()
