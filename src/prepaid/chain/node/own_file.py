"""A small SQLite file of a node's own: in the hands of one process, durable when a call returns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from prepaid.errors import StoreBusy, StoreCorrupted, StoreTooNew
from prepaid.store.sqlite.connection import open_private, translated

__all__ = ["OwnFile", "Schema"]

T = TypeVar("T")

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Schema:
    """What stands in a file: the setting that names it, the mark in its header, its tables."""

    setting: str
    application_id: int
    """Four letters in ASCII, in the header of each file of the kind: ``prpn``, ``prpc``."""
    tables: str


@dataclass(slots=True)
class _Work:
    """What one caller wants done, and what came of it."""

    run: Callable[[apsw.Connection], Any]
    told: asyncio.Future[Any]
    outcome: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        if self.told.cancelled():
            return
        if self.error is not None:
            self.told.set_exception(self.error)
        else:
            self.told.set_result(self.outcome)


class OwnFile:
    """The file. Every call runs in one thread, in order; those that come while it writes share the next sync.

    Raises:
        StoreError: it cannot be opened or written, or another process has it open.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=schema.setting)
        try:
            self._connection = self._thread.submit(_opened, path, schema).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self._path = path
        self._lock = threading.Lock()
        self._waiting: list[_Work] = []

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """``work``, all of it or nothing, durable when this returns."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append(_Work(work, told))
            is_first = len(self._waiting) == 1
        if is_first:
            self._thread.submit(self._flush, loop)
        # A caller that is cancelled must not leave it half told: the work is done either way.
        return await asyncio.shield(told)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what is waiting, in one transaction: all of it, or none if any fails."""
        with self._lock:
            works, self._waiting = self._waiting, []
        try:
            with translated(self._path):
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    for work in works:
                        work.outcome = work.run(self._connection)
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        except Exception as error:  # noqa: BLE001 -- it is raised where the work was given
            for work in works:
                work.error = error
        loop.call_soon_threadsafe(_tell, works)

    def close(self) -> None:
        """Finish what is queued, and close the file."""
        self._thread.submit(self._connection.close, True).result()
        self._thread.shutdown()


def _tell(works: Iterable[_Work]) -> None:
    for work in works:
        work.tell()


def _opened(path: Path, schema: Schema) -> apsw.Connection:
    """The file, for this process alone.

    Raises:
        StoreBusy: another process has it.
    """
    with translated(path):
        connection = open_private(path)
    try:
        with translated(path):
            # Before WAL, so that there is no shared memory, and the lock is held from the first write on.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN EXCLUSIVE; COMMIT")
            _bring_up(connection, path, schema)
    except StoreBusy:
        connection.close(True)
        raise StoreBusy(
            f"Another node has {path} open.", remedy=f"Give each node a file of its own: {schema.setting}."
        ) from None
    except BaseException:
        connection.close(True)
        raise
    return connection


def _bring_up(connection: apsw.Connection, path: Path, schema: Schema) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0]
    if tables and connection.execute("PRAGMA application_id").get != schema.application_id:
        raise StoreCorrupted(
            f"{path} is a database, but no node's.", remedy=f"Choose another {schema.setting}."
        )
    version = connection.execute("PRAGMA user_version").get
    if version > _VERSION:
        raise StoreTooNew(version, _VERSION)
    if version == 0:
        marks = f"PRAGMA application_id = {schema.application_id}; PRAGMA user_version = {_VERSION};"
        with connection:
            connection.execute(schema.tables + marks).fetchall()
