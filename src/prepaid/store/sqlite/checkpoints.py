"""Copying the log into the database file, beside the commits instead of inside them.

SQLite's own way is to checkpoint within the commit that brings the log to 1,000 pages, whose callers wait for
it. Here a connection and a thread of their own do it. That never waits for a writer or reader, so under an
unbroken load the log is never copied whole and cannot start over: where it has grown to ``BOUND_PAGES``, a
commit finishes the copy, of which little is left by then.

Durability is no matter of checkpoints: what is committed is in the log, which starts over only once all of
it was copied and synced.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import apsw

from prepaid.store.sqlite.connection import open_copier

__all__ = ["BOUND_PAGES", "START_PAGES", "Checkpoints"]

START_PAGES: Final = 1_000
"""As SQLite's own default: fewer would copy a page that changes often again and again."""

BOUND_PAGES: Final = 8_000
"""32 MB of log; a reader has to look through an index of all of it."""

_LOG: Final = logging.getLogger("prepaid.store")


class Checkpoints:
    """Takes over from SQLite's own checkpoints on ``writer``.

    A checkpoint that fails is told to the log and tried again at the next commit: what was committed stays
    committed. Where the disk is full, the log soon cannot grow either, and commits say so themselves.
    """

    def __init__(self, writer: apsw.Connection) -> None:
        self.start_pages = START_PAGES
        self.bound_pages = BOUND_PAGES
        self._connection = open_copier(Path(writer.filename), vfs=writer.open_vfs)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prepaid-checkpoint")
        self._running: Future[None] | None = None
        writer.set_wal_hook(self._grown)

    def close(self) -> None:
        """Finish the copy that is under way; no commit may come after this. Again does nothing."""
        self._thread.shutdown()
        self._connection.close()

    def _grown(self, writer: apsw.Connection, _: str, pages: int) -> int:
        """A commit is durable, and the log has ``pages`` now; called in the committing thread."""
        if pages >= self.bound_pages:
            _copy(writer)
        elif pages >= self.start_pages and (self._running is None or self._running.done()):
            self._running = self._thread.submit(_copy, self._connection)
        return apsw.SQLITE_OK


def _copy(connection: apsw.Connection) -> None:
    """As much of the log as no reader still needs."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.BusyError:
        return  # somebody else is at it
    except apsw.Error as error:
        _LOG.warning("The log of %s could not be copied into it: %s.", connection.filename, error)
