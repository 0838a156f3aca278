"""The schema, brought to this version: numbered SQL, forward only, one process at a time."""

from __future__ import annotations

from importlib import resources
from typing import Final

import asyncpg

from prepaid.errors import StoreCorrupted, StoreTooNew
from prepaid.store.postgres.connection import Connection

__all__ = ["migrate"]

_LOCK: Final = 0x70726570616964  # "prepaid" in ASCII

_VERSION: Final = "SELECT version FROM prepaid_schema"


async def migrate(connection: Connection) -> None:
    """Apply the migrations that this database still needs, all in one transaction.

    Raises:
        StoreTooNew: a newer prepaid wrote this database.
        StoreCorrupted: tables of something else stand where ours would.
    """
    scripts = _migrations()
    if await _version(connection) == len(scripts):
        return
    async with connection.transaction():
        # Asked again under the lock: another process may have migrated meanwhile.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        found = await _version(connection)
        if found > len(scripts):
            raise StoreTooNew(found, len(scripts))
        try:
            for script in scripts[found:]:
                await connection.execute(script)
        except asyncpg.DuplicateObjectError as error:
            raise _not_ours(error) from error
        except asyncpg.DuplicateTableError as error:
            raise _not_ours(error) from error
        if found == 0:
            await connection.execute("CREATE TABLE prepaid_schema (version bigint NOT NULL)")
            await connection.execute("INSERT INTO prepaid_schema VALUES (0)")
        await connection.execute("UPDATE prepaid_schema SET version = $1", len(scripts))


async def _version(connection: Connection) -> int:
    """How far this database is; 0 is an empty one."""
    if await connection.fetchval("SELECT to_regclass('prepaid_schema')") is None:
        return 0
    return int(await connection.fetchval(_VERSION))


def _not_ours(error: Exception) -> StoreCorrupted:
    return StoreCorrupted(
        f"The database holds tables that are not prepaid's ({error}).",
        remedy="Create an empty database for prepaid, and name it in --database.",
    )


def _migrations() -> list[str]:
    folder = resources.files("prepaid.store.postgres") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name)
    return [entry.read_text(encoding="utf-8") for entry in files]
