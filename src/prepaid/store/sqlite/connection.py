"""Opening a SQLite file: durability settings, schema migrations, and errors in our words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import apsw

from prepaid.errors import StoreBusy, StoreCorrupted, StoreError, StoreFull, StoreReadOnly, StoreTooNew
from prepaid.files import make_private
from prepaid.store.lines import line_digest

__all__ = ["migrate", "open_copier", "open_private", "open_reader", "open_writer", "translated"]

_OPENING_BUSY_MS = 5_000
"""Other processes may be opening, migrating or recovering the file; a reader waits for nothing else."""

_OPENING_POLL_SECONDS = 0.01

APPLICATION_ID = 0x70726570
"""``prep`` in ASCII, in the header of each of our files."""


def open_writer(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """The connection that writes: WAL, ``synchronous=FULL``, so that a commit survives a power cut.

    A file that is not ours, or from a newer version, is left as it was.

    Raises:
        StoreError: the file is damaged, not a database of ours, read-only, or from a newer version.
    """
    with translated(path):
        connection = _connected(path, vfs)
        try:
            connection.set_busy_timeout(_OPENING_BUSY_MS)
            _pending(connection, path)
            _configure(connection, path)
            digest: Any = line_digest
            # RETURNING hands the new digest back within the statement that moves the balance.
            connection.create_scalar_function("line_digest", digest, 3, deterministic=True)
            migrate(connection, path)
            connection.set_busy_timeout(0)  # writes poll by themselves
        except BaseException:
            connection.close(True)
            raise
    return connection


def open_reader(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A second connection for queries; WAL lets it read while the writer writes."""
    with translated(path):
        connection = _connected(path, vfs)
        connection.set_busy_timeout(_OPENING_BUSY_MS)
        connection.execute("PRAGMA query_only = ON")
    return connection


def open_copier(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that only copies the log into the file; it waits for nobody."""
    with translated(path):
        connection = _connected(path, vfs)
        _sync_all(connection)
    return connection


def open_private(path: Path, vfs: str | None = None) -> apsw.Connection:
    """A connection to a file that is made for its user only, where there is none.

    SQLite gives its log, its index and its journal the rights of the database file.
    """
    if vfs is None:
        with contextlib.suppress(OSError):  # SQLite fails next, and for that we have words
            make_private(path)
    return apsw.Connection(str(path), vfs=vfs)


def _connected(path: Path, vfs: str | None) -> apsw.Connection:
    connection = open_private(path, vfs)
    # Else SQLite plans a statement anew at each value that a partial index might be for, which was 6 % of a
    # request of the gateway's. Our statements name such values themselves.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


def _sync_all(connection: apsw.Connection) -> None:
    """Each connection has its own level, and copying the log syncs twice."""
    connection.execute("PRAGMA synchronous = FULL")
    # On macOS a plain fsync leaves data in the drive's cache; elsewhere these change nothing.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")


def _configure(connection: apsw.Connection, path: Path) -> None:
    mode = _switch_to_log(connection)
    if mode != "wal":
        raise StoreReadOnly(f"The database {path} cannot use write-ahead logging: it stays in {mode!r} mode.")
    _sync_all(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")


def _switch_to_log(connection: apsw.Connection) -> str:
    """The journal mode, once it was asked to be WAL.

    SQLite does not wait, whatever its timeout, where it reads a file that somebody else is about to write:
    several processes that find a new one at the same moment would refuse each other.
    """
    deadline = time.monotonic() + _OPENING_BUSY_MS / 1000
    while True:
        try:
            mode: str = connection.execute("PRAGMA journal_mode = WAL").get
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_OPENING_POLL_SECONDS)
        else:
            return mode


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring the schema to this version, one numbered file at a time, all in one transaction.

    Raises:
        StoreTooNew: a newer prepaid wrote this database.
        StoreCorrupted: something else than prepaid did.
    """
    if not _pending(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may have migrated meanwhile.
        for version, script in _pending(connection, path):
            connection.execute(script).fetchall()
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pending(connection: apsw.Connection, path: Path) -> list[tuple[int, str]]:
    """The migrations that this database still needs, with their numbers."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0]
    if tables and connection.execute("PRAGMA application_id").get != APPLICATION_ID:
        raise StoreCorrupted(
            f"{path} is a database, but not one of prepaid's.", remedy="Choose another --database."
        )
    scripts = _migrations()
    found = connection.execute("PRAGMA user_version").get
    if found > len(scripts):
        raise StoreTooNew(found, len(scripts))
    return list(enumerate(scripts, start=1))[found:]


def _migrations() -> list[str]:
    folder = resources.files("prepaid.store.sqlite") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name)
    return [entry.read_text(encoding="utf-8") for entry in files]


@contextmanager
def translated(path: Path) -> Generator[None]:
    """SQLite's errors as ours; what only a mistake of ours can cause passes."""
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise StoreBusy(f"Another process holds the database {path} ({error}).") from error
    except apsw.FullError as error:
        raise StoreFull(f"The disk is full; the database {path} could not grow.") from error
    except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StoreReadOnly(f"The database {path} cannot be written ({error}).") from error
    except apsw.CantOpenError as error:
        raise _cannot_open(path, error) from error
    except (apsw.CursorClosedError, apsw.ConnectionClosedError) as error:
        raise StoreError("The store is closed.", remedy="Open it again.") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StoreCorrupted(f"The database {path} is damaged or not a database ({error}).") from error
    except (apsw.IOError, apsw.NoMemError, apsw.ProtocolError) as error:
        # A sync that failed may still have reached the disk: only the same key tells.
        raise StoreError(
            f"The database {path} could not be read or written ({error}).",
            remedy="Whether it was kept is unknown: retry with the same key.",
        ) from error


def _cannot_open(path: Path, error: apsw.CantOpenError) -> StoreReadOnly:
    if not _is_directory(path.parent):
        return StoreReadOnly(
            f"The database {path} cannot be opened: there is no directory {path.parent} for this user.",
            remedy="Create the directory, or choose another --database.",
        )
    if _is_directory(path):
        return StoreReadOnly(
            f"The database {path} cannot be opened: it is a directory.",
            remedy="Choose another --database, a file.",
        )
    return StoreReadOnly(f"The database {path} cannot be opened or created ({error}).")


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # somewhere on the way there nobody lets us in
        return False
