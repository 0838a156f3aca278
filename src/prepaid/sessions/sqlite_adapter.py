"""Saved sessions in SQLite; see ``persistence`` for what they are for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from prepaid.errors import SessionNotFound, StoreCorrupted
from prepaid.sessions.persistence import data_from_json, data_to_json
from prepaid.store.sqlite.connection import open_private, translated

__all__ = ["SqliteAdapter"]

_BUSY_MS: Final = 5_000
_APPLICATION_ID: Final = 0x70727376
"""``prsv`` in ASCII: a file of saved sessions, and no database of prepaid's."""


class SqliteAdapter:
    """Saved sessions in a SQLite file of their own, durable when saved; made when first needed.

    Several processes may use one file. ``close()`` it when no manager uses it any more.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None

    async def save(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace the session's row."""
        values = (session_id, str(data.get("user_id", "")), data_to_json(session_id, data))
        await asyncio.to_thread(self._run, "INSERT OR REPLACE INTO saved_session VALUES (?, ?, ?)", values)

    async def load(self, session_id: str) -> Mapping[str, Any]:
        """Read the session's row.

        Raises:
            SessionNotFound: there is none.
            SessionDataUnreadable: it is not JSON.
        """
        sql = "SELECT data FROM saved_session WHERE session_id = ?"
        rows = await asyncio.to_thread(self._run, sql, (session_id,))
        if not rows:
            raise SessionNotFound(session_id)
        return data_from_json(session_id, rows[0][0])

    async def delete(self, session_id: str) -> None:
        """Remove the session's row."""
        await asyncio.to_thread(self._run, "DELETE FROM saved_session WHERE session_id = ?", (session_id,))

    async def get_user_session_ids(self, user_id: str) -> Sequence[str]:
        """The user's sessions, oldest first."""
        sql = "SELECT session_id FROM saved_session WHERE user_id = ? ORDER BY session_id"
        return [row[0] for row in await asyncio.to_thread(self._run, sql, (user_id,))]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close(True)
                self._connection = None

    def _run(self, sql: str, values: tuple[str, ...]) -> list[Any]:
        with self._lock, translated(self._path):
            if self._connection is None:
                self._connection = _open(self._path)
            return self._connection.execute(sql, values).fetchall()


def _open(path: Path) -> apsw.Connection:
    connection = open_private(path)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        _check_ours(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS saved_session ("
            " session_id TEXT NOT NULL PRIMARY KEY, user_id TEXT NOT NULL, data TEXT NOT NULL) STRICT"
        )
        connection.execute(
            "CREATE INDEX IF NOT EXISTS saved_session_of_user ON saved_session (user_id, session_id)"
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.close(True)
        raise
    return connection


def _check_ours(connection: apsw.Connection, path: Path) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0]
    if tables and connection.execute("PRAGMA application_id").get != _APPLICATION_ID:
        raise StoreCorrupted(
            f"{path} is a database, but not one of saved sessions.",
            remedy="Give the adapter a file of its own.",
        )
