"""Connecting to PostgreSQL: settings of the session, and errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import asyncpg

from prepaid.errors import StoreBusy, StoreCorrupted, StoreError, StoreFull, StoreReadOnly

__all__ = ["CONNECT_SECONDS", "LOST", "Connection", "connect", "is_lost", "raise_translated", "shown_url"]

Connection = Any
"""An ``asyncpg.Connection``; its own annotations leave most of what we call open."""

CONNECT_SECONDS: Final = 10.0
_STATEMENTS_MAX: Final = 1_000

_SESSION: Final = """
  SET application_name = 'prepaid';
  SET default_transaction_isolation = 'read committed';
  -- Batches differ in size, never in what is the right plan; planning each would cost more than running it.
  SET plan_cache_mode = 'force_generic_plan';
  SET jit = off
"""

_UNKNOWN: Final = "Whether it was kept is unknown: retry with the same key."

LOST: Final = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.QueryCanceledError,
)
"""What a cut connection, a server that restarts, or a full one look like: the next connection may do."""


async def connect(url: str) -> Connection:
    """A connection whose commits are durable on the server (guarantee 6).

    Raises whatever asyncpg raises; ``raise_translated`` says it in our words.
    """
    connection = await asyncpg.connect(
        url,
        timeout=CONNECT_SECONDS,
        statement_cache_size=_STATEMENTS_MAX,
        max_cached_statement_lifetime=0,
    )
    try:
        await connection.execute(_SESSION)
        # What sums of bigint are; every column of ours is an integer.
        await connection.set_type_codec(
            "numeric", schema="pg_catalog", encoder=str, decoder=int, format="text"
        )
        # A server may answer before it has written. Which replicas it waits for is its owner's choice.
        if await connection.fetchval("SHOW synchronous_commit") in {"off", "local"}:
            await connection.execute("SET synchronous_commit = 'on'")
    except BaseException:
        connection.terminate()
        raise
    return connection


def shown_url(url: str) -> str:
    """The URL without its password, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_lost(error: BaseException) -> bool:
    """Whether another connection may do what this one could not."""
    return isinstance(error, (*LOST, asyncio.CancelledError))


def raise_translated(error: BaseException, url: str, *, in_doubt: bool = False) -> NoReturn:
    """Raise a database's error as ours; what only a mistake of ours can have caused, as it is.

    ``in_doubt``: the connection was cut while a commit was under way.
    """
    if isinstance(error, asyncpg.DataError) and error.__cause__ is not None:
        raise error.__cause__  # a value that no column takes: a TypeError or OverflowError, as on SQLite
    translated = _in_our_words(error, f"The database {shown_url(url)}", in_doubt=in_doubt)
    if translated is None:
        raise error
    raise translated from error


def _in_our_words(error: BaseException, where: str, *, in_doubt: bool) -> StoreError | None:
    what = f"{type(error).__name__}: {error}".strip(": ")
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return StoreBusy(f"{where} has no connection left ({what}).")
    if is_lost(error):
        remedy = _UNKNOWN if in_doubt else "Check that the server runs and can be reached, then retry."
        return StoreError(f"{where} does not answer ({what}).", remedy=remedy)
    for kinds, make, text in _KNOWN:
        if isinstance(error, kinds):
            return make(text.format(where=where, what=what))
    return None


def _not_writable(what: str) -> StoreReadOnly:
    return StoreReadOnly(what, remedy="Name the primary server, and a role that owns the tables.")


def _not_there(what: str) -> StoreError:
    return StoreError(what, remedy="Check the name of the database, the user and the password.")


_KNOWN: Final[list[tuple[tuple[type[Exception], ...], Callable[[str], StoreError], str]]] = [
    ((asyncpg.DiskFullError,), StoreFull, "{where} could not grow: its disk is full ({what})."),
    (
        (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError),
        _not_writable,
        "{where} cannot be written ({what}).",
    ),
    (
        (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError),
        StoreCorrupted,
        "{where} is damaged ({what}).",
    ),
    (
        (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError),
        _not_there,
        "{where} cannot be opened ({what}).",
    ),
]
