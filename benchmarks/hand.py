"""Reading by hand: the standard library's ``sqlite3`` on a file that prepaid has open.

In a process of its own, because two copies of SQLite in one process break each other's locks (docs/ledger.md).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.floor import connect
from benchmarks.harness import timed

_opened: sqlite3.Connection
"""The child's."""


class Hand:
    """Reads with sqlite3, into dicts."""

    def __init__(self, path: Path) -> None:
        self._process = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_open, initargs=(path,)
        )

    async def read(self, sql: str, asked: Sequence[tuple[object, ...]], *, rows: int) -> float:
        """Seconds of one statement, which has so many rows."""
        loop = asyncio.get_running_loop()
        seconds, found = await loop.run_in_executor(self._process, _read, sql, asked)
        assert found == rows
        return seconds

    def close(self) -> None:
        self._process.shutdown()


def _open(path: Path) -> None:
    global _opened  # noqa: PLW0603 - what a pool's initializer makes has no other place
    _opened = connect(path)


def _read(sql: str, asked: Sequence[tuple[object, ...]]) -> tuple[float, int]:
    """Seconds of one statement, and the rows of the last."""
    with timed() as watch:
        for values in asked:
            cursor = _opened.execute(sql, values)
            names = [column[0] for column in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor]
    return watch.seconds / len(asked), len(found)
