"""Wires everything: the one place that knows the concrete classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from prepaid.config import Settings
from prepaid.errors import ConfigError
from prepaid.ledger import Ledger
from prepaid.meter import Meter
from prepaid.models.catalogue import Catalogue
from prepaid.models.contract import Model
from prepaid.relay import Relay
from prepaid.store.contract import Store
from prepaid.turns import Turns

__all__ = ["Runtime"]


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
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.settings = settings
        self.logger = logger or logging.getLogger("prepaid")
        self.catalogue = Catalogue(settings, models)
        self.store = _opened(settings, clock)
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


def _opened(settings: Settings, clock: Callable[[], int] | None) -> Store:
    """The store on the database that the settings name; only its own libraries are imported."""
    file = settings.database_file
    if file is not None:
        from prepaid.store.sqlite.store import SqliteStore  # noqa: PLC0415

        return SqliteStore(file, clock=clock)
    try:
        from prepaid.store.postgres.store import PostgresStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The database is PostgreSQL, and the package {error.name} is not installed.",
            remedy='Install it: pip install "prepaid[postgres]"',
        ) from error
    return PostgresStore(settings.database, clock=clock)
