"""Stores to test, by where their database is: a file, or a server's URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from postgres_server import GIVEN
from prepaid.store.postgres.store import PostgresStore
from prepaid.store.sqlite.store import SqliteStore

__all__ = ["DATABASES", "open_store"]

DATABASES = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.slow),
    *([pytest.param("given-postgres", marks=pytest.mark.slow)] if GIVEN else []),
]
"""What a test that asks for ``database`` or ``where`` runs on."""


def open_store(where, **options):
    """One more store, as another process would open it."""
    if str(where).startswith("postgresql://"):
        return PostgresStore(str(where), **options)
    return SqliteStore(Path(where), **options)
