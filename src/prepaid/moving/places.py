"""Databases by the names that users give them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TypeVar

from prepaid.audit import AuditReport, audit, audit_steps
from prepaid.config import Settings
from prepaid.errors import ConfigError
from prepaid.store.tables import Place

__all__ = ["Watch", "check", "opened", "unwatched"]

T = TypeVar("T")

Watch = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Told what begins and of how many steps it is; gives a function to tell of steps."""


@contextlib.contextmanager
def unwatched(_what: str, _total: int | None) -> Generator[Callable[[int], None]]:
    """Tells nobody."""
    yield lambda _: None


def opened(settings: Settings) -> Place:
    """The database that the settings name, made where it is a file that is missing; ``close()`` it.

    Raises:
        StoreError: it cannot be opened.
        ConfigError: it is PostgreSQL, and the extra for that is not installed.
    """
    file = settings.database_file
    if file is not None:
        from prepaid.store.sqlite.place import SqlitePlace  # noqa: PLC0415

        return SqlitePlace(file)
    try:
        from prepaid.store.postgres.place import PostgresPlace  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The database is PostgreSQL, and the package {error.name} is not installed.",
            remedy='Install it: pip install "prepaid[postgres]"',
        ) from error
    return PostgresPlace(settings.database)


def check(place: Place, watch: Watch = unwatched) -> AuditReport:
    """Whether all guarantees hold, as of one moment, while others go on writing.

    Raises:
        StoreCorrupted: the database is too damaged to be read.
    """
    with watch(f"Checking {place.name}", place.ask(audit_steps)) as advance:
        return place.ask(lambda reads: audit(reads, advance))
