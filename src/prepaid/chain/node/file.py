"""The journal's file: made, checked, and locked by the one process that has it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw

from prepaid.errors import StoreBusy, StoreCorrupted, StoreTooNew
from prepaid.store.sqlite.connection import translated

__all__ = ["opened"]

_VERSION: Final = 1
_APPLICATION_ID: Final = 0x7072706E
"""``prpn`` in ASCII, in the header of each of our files."""

_SCHEMA: Final = f"""
  CREATE TABLE place (
    chain_id INTEGER NOT NULL, contract TEXT NOT NULL, next_block INTEGER NOT NULL,
    PRIMARY KEY (chain_id, contract)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE request (
    chain_id INTEGER NOT NULL, contract TEXT NOT NULL, request_id TEXT NOT NULL,
    state TEXT NOT NULL, block INTEGER NOT NULL, made TEXT NOT NULL, answer TEXT, sent TEXT,
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (chain_id, contract, request_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX request_by_state ON request (chain_id, contract, state, block);
  PRAGMA application_id = {_APPLICATION_ID};
  PRAGMA user_version = {_VERSION};"""


def opened(path: Path) -> apsw.Connection:
    """The file, for this process alone.

    Raises:
        StoreBusy: another process has it.
    """
    with translated(path):
        connection = apsw.Connection(str(path))
    try:
        with translated(path):
            # Before WAL, so that there is no shared memory, and the lock is held from the first write on.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN EXCLUSIVE; COMMIT")
            _bring_up(connection, path)
    except StoreBusy:
        connection.close(True)
        raise StoreBusy(
            f"Another node has {path} open.", remedy="Give each node a file of its own: node.journal."
        ) from None
    except BaseException:
        connection.close(True)
        raise
    return connection


def _bring_up(connection: apsw.Connection, path: Path) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0]
    if tables and connection.execute("PRAGMA application_id").get != _APPLICATION_ID:
        raise StoreCorrupted(f"{path} is a database, but no node's.", remedy="Choose another node.journal.")
    version = connection.execute("PRAGMA user_version").get
    if version > _VERSION:
        raise StoreTooNew(version, _VERSION)
    if version == 0:
        with connection:
            connection.execute(_SCHEMA).fetchall()
