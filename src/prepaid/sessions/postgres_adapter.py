"""Saved sessions on PostgreSQL; see ``persistence`` for what they are for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from prepaid.errors import InvalidRequestError, SessionNotFound
from prepaid.sessions.persistence import data_from_json, data_to_json
from prepaid.store.postgres.connection import Connection
from prepaid.store.postgres.readers import Readers

__all__ = ["PostgresAdapter"]

# Ids are bytes: a user's may have what PostgreSQL's text cannot.
_MAKE: Final = """
  DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('saved_session', 0));
    CREATE TABLE IF NOT EXISTS saved_session (
      session_id bytea NOT NULL PRIMARY KEY, user_id bytea NOT NULL, data text NOT NULL);
    CREATE INDEX IF NOT EXISTS saved_session_of_user ON saved_session (user_id, session_id);
  END $$"""

_SAVE: Final = """
  INSERT INTO saved_session VALUES ($1, $2, $3)
  ON CONFLICT (session_id) DO UPDATE SET user_id = excluded.user_id, data = excluded.data"""


class PostgresAdapter:
    """Saved sessions in a table of their own, ``saved_session``, durable when saved; made when first needed.

    Any number of processes may use one database; best another than the sessions' own, which is not lost with
    it. Where a connection is cut, the same is tried again on another: to save and to delete twice is to do
    it once. ``await aclose()`` it when no manager uses it any more.
    """

    def __init__(self, url: str) -> None:
        self._connections = Readers(url)
        self._making = asyncio.Lock()
        self._is_made = False

    async def save(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace the session's row."""
        user_id = str(data.get("user_id", "")).encode("utf-8", "surrogatepass")
        body = data_to_json(session_id, data)
        await self._run(_SAVE, _bytes_of(session_id), user_id, body)

    async def load(self, session_id: str) -> Mapping[str, Any]:
        """Read the session's row.

        Raises:
            SessionNotFound: there is none.
            SessionDataUnreadable: it is not JSON.
        """
        sql = "SELECT data FROM saved_session WHERE session_id = $1"
        rows = await self._run(sql, _bytes_of(session_id))
        if not rows:
            raise SessionNotFound(session_id)
        return data_from_json(session_id, rows[0][0])

    async def delete(self, session_id: str) -> None:
        """Remove the session's row."""
        await self._run("DELETE FROM saved_session WHERE session_id = $1", _bytes_of(session_id))

    async def get_user_session_ids(self, user_id: str) -> Sequence[str]:
        """The user's sessions, oldest first."""
        sql = "SELECT session_id FROM saved_session WHERE user_id = $1 ORDER BY session_id"
        rows = await self._run(sql, user_id.encode("utf-8", "surrogatepass"))
        return [bytes(row[0]).decode() for row in rows]

    async def aclose(self) -> None:
        """Close the connections; the next use opens them again."""
        await self._connections.aclose()

    async def _run(self, sql: str, *values: object) -> list[Any]:
        if not self._is_made:
            async with self._making:
                await self._connections.ask(lambda connection: connection.execute(_MAKE))
                self._is_made = True

        async def asked(connection: Connection) -> list[Any]:
            found: list[Any] = await connection.fetch(sql, *values)
            return found

        return await self._connections.ask(asked)


def _bytes_of(session_id: str) -> bytes:
    try:
        return session_id.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"{session_id[:64]!r} is no session id.", remedy="Use plain characters."
        ) from None
