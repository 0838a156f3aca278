"""Connecting to PostgreSQL: settings of the session, and errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from prepaid.errors import (
    InvalidRequestError,
    StoreBusy,
    StoreCorrupted,
    StoreError,
    StoreFull,
    StoreReadOnly,
)
from prepaid.store.moves import moved

__all__ = [
    "CONNECT_SECONDS",
    "LOST",
    "Connection",
    "connect",
    "is_lost",
    "raise_translated",
    "shown_url",
    "urls_of_hosts",
]

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

_CLOSED: Final = "PM001"
"""What the trigger ``refuse_changes`` raises."""

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

    Where the URL names several hosts, all are asked at once, and whichever may write is taken: after a
    failover nobody waits for the host that is gone. Raises whatever asyncpg raises; ``raise_translated``
    says it in our words.
    """
    urls = urls_of_hosts(url)
    connection = await (_opened(urls[0]) if len(urls) == 1 else _first(urls))
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


async def _opened(url: str) -> Connection:
    return await asyncpg.connect(
        url,
        timeout=CONNECT_SECONDS,
        statement_cache_size=_STATEMENTS_MAX,
        max_cached_statement_lifetime=0,
    )


async def _first(urls: list[str]) -> Connection:
    """The connection that is there first. If there is none, why: rather a refusal than a silence."""
    tries = {asyncio.create_task(_opened(url)) for url in urls}
    pending, failures = tries, []
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                error = each.exception()
                if error is None:
                    tries.remove(each)
                    return each.result()
                failures.append(error)
        raise next((error for error in failures if not is_lost(error)), failures[-1])
    finally:
        for each in tries:
            each.add_done_callback(_be_done_with)
            each.cancel()


def _be_done_with(ended: asyncio.Task[Connection]) -> None:
    if not ended.cancelled() and ended.exception() is None:
        ended.result().terminate()


def urls_of_hosts(url: str) -> list[str]:
    """The URL for each host, where it names several; one that cannot write will not do, unless it says so."""
    parts = urlsplit(url)
    who, at, places = parts.netloc.rpartition("@")
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    hosts, ports = asked.get("host", "").split(","), asked.get("port", "").split(",")
    if len(hosts) > 1:  # host=a,b&port=1,2, as for sockets
        if len(ports) not in {1, len(hosts)}:
            return [url]  # asyncpg says what is wrong with it
        ports = ports * len(hosts) if len(ports) == 1 else ports
        one_each = [(places, {"host": host, "port": port}) for host, port in zip(hosts, ports, strict=True)]
    elif "," in places:
        one_each = [(place, {}) for place in places.split(",")]
    else:
        return [url]
    asked.setdefault("target_session_attrs", "read-write")
    queries = [{name: value for name, value in (asked | own).items() if value} for _, own in one_each]
    return [
        f"{parts.scheme}://{who}{at}{place}{parts.path}?{urlencode(query)}"
        for (place, _), query in zip(one_each, queries, strict=True)
    ]


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
    if getattr(error, "sqlstate", None) == _CLOSED:
        stage, _, peer = str(error).partition(" ")
        raise moved(shown_url(url), stage, peer) from error
    if isinstance(error, asyncpg.CharacterNotInRepertoireError):
        # No StoreError: that would refuse the whole batch, and this is about one operation in it.
        raise InvalidRequestError(
            "A text has the character NUL, which PostgreSQL cannot keep.", remedy="Leave it out."
        ) from error
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
