"""Opening a SQLite file: durability settings, schema migrations, and errors in our words."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import apsw

from prepaid.errors import StoreCorrupted, StoreError, StoreFull, StoreReadOnly, StoreTooNew
from prepaid.store.lines import line_digest

__all__ = ["migrate", "open_reader", "open_writer", "translated"]

_READER_BUSY_MS = 5_000  # a reader only waits for recovery after a crash, and for nothing else


def open_writer(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """The connection that writes: WAL, ``synchronous=FULL``, so that a commit survives a power cut.

    Raises:
        StoreError: the file is damaged, not a database, read-only, or from a newer version.
    """
    with translated(path):
        connection = apsw.Connection(str(path), vfs=vfs)
        try:
            _configure(connection)
            digest: Any = line_digest
            # RETURNING hands the new digest back within the statement that moves the balance.
            connection.create_scalar_function("line_digest", digest, 3, deterministic=True)
            migrate(connection)
            connection.set_busy_timeout(0)
        except BaseException:
            connection.close(True)
            raise
    return connection


def open_reader(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A second connection for queries; WAL lets it read while the writer writes."""
    with translated(path):
        connection = apsw.Connection(str(path), vfs=vfs)
        connection.set_busy_timeout(_READER_BUSY_MS)
        connection.execute("PRAGMA query_only = ON")
    return connection


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(_READER_BUSY_MS)  # while opening; writes poll by themselves
    mode = connection.execute("PRAGMA journal_mode = WAL").get
    if mode != "wal":
        raise StoreReadOnly(f"The database cannot use write-ahead logging (it stays in {mode!r} mode).")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")


def migrate(connection: apsw.Connection) -> None:
    """Bring the schema to this version, one numbered file at a time, each in its own transaction.

    Raises:
        StoreTooNew: a newer prepaid wrote this database.
    """
    scripts = _migrations()
    found = connection.execute("PRAGMA user_version").get
    if found > len(scripts):
        raise StoreTooNew(found, len(scripts))
    if found == len(scripts):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have migrated meanwhile.
        found = connection.execute("PRAGMA user_version").get
        for version, script in enumerate(scripts[found:], start=found + 1):
            for _ in connection.execute(script):
                pass
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrations() -> list[str]:
    folder = resources.files("prepaid.store.sqlite") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name)
    return [entry.read_text(encoding="utf-8") for entry in files]


@contextmanager
def translated(path: Path | None = None) -> Generator[None]:
    """SQLite's errors as ours. ``BusyError`` passes: it is a wait, not a failure."""
    where = f" {path}" if path else ""
    try:
        yield
    except apsw.BusyError:
        raise
    except apsw.FullError as error:
        raise StoreFull(f"The disk is full; the database{where} could not grow.") from error
    except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StoreReadOnly(f"The database{where} cannot be written ({error}).") from error
    except apsw.CantOpenError as error:
        raise StoreReadOnly(f"The database{where} cannot be opened or created ({error}).") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StoreCorrupted(f"The database{where} is damaged or not a database ({error}).") from error
    except (apsw.IOError, apsw.NoMemError, apsw.LockedError, apsw.ProtocolError) as error:
        # A sync that failed may still have reached the disk: only the same key tells.
        raise StoreError(
            f"The database{where} could not be read or written ({error}).",
            remedy="Whether it was kept is unknown: retry with the same key.",
        ) from error
