"""A database of every earlier version is brought to this one, with all that is in it; what was released stays."""

from __future__ import annotations

import asyncio
from contextlib import closing
from hashlib import sha256
from importlib import resources

import apsw
import asyncpg
import pytest

from prepaid.audit import audit
from prepaid.store.lines import first_digest, line_digest, payload
from prepaid.store.postgres import schema
from prepaid.store.sqlite import connection
from stores import open_store

from .books import fund

RELEASED = {
    "sqlite/migrations/0001_initial.sql": "680a54066a2472bf",
    "sqlite/migrations/0002_other_libraries.sql": "b274e888d0588a23",
    "sqlite/migrations/0003_api_keys.sql": "b1b4ddb874acc982",
    "sqlite/migrations/0004_requests.sql": "4aaaaa499b338f7b",
    "postgres/migrations/0001_initial.sql": "04188a19d1354dcb",
}
"""Those in 0.1.0, which databases of users have gone through."""

SQLITE = connection._migrations()
POSTGRES = schema._migrations()

LINE = ("fund", "funding", "session", 70, "first", 5, "ann", 0, "", 0, 0)
START = first_digest("s1", "ann", "USD")
HEAD = line_digest(START, 1, payload(*LINE))
ACCOUNT = "session_id, owner, asset, state, funded, available, held, spent, refunded, last_used_ms, line_count, head"
SESSION = "session_id, name, metadata, preferences, tags, created_ms, auto_save"


def hexed(value, form):
    return form.format(value.hex()) if isinstance(value, bytes) else repr(value)


def content(form, line_columns, line_values, flag):
    """A session with 70, one line, a tag, as statements of any version."""
    line = ", ".join(hexed(each, form) for each in (*line_values, "s1", 1, *LINE, HEAD))
    columns = "session_id, seq, kind, debit, credit, amount, key, at_ms, actor, chat_no, model, input_units, output_units"
    return [
        f"INSERT INTO account ({ACCOUNT}) VALUES ('s1', 'ann', 'USD', 0, 70, 70, 0, 0, 0, 5, 1, {hexed(HEAD, form)})",
        f"""INSERT INTO session ({SESSION}) VALUES ('s1', 'kept', '{{}}', '{{}}', '["red"]', 5, {flag})""",
        f"INSERT INTO transfer ({line_columns}{columns}, digest) VALUES ({line})",
    ]


def shape_of_sqlite(path):
    with closing(apsw.Connection(str(path))) as made:
        return made.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


SHAPE = """
  SELECT table_name || '.' || column_name, data_type || is_nullable || coalesce(collation_name, '')
  FROM information_schema.columns WHERE table_schema = 'public'
  UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
  UNION ALL SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  ORDER BY 1, 2"""


async def ask(url, *statements):
    made = await asyncpg.connect(url)
    try:
        for statement in statements[:-1]:
            await made.execute(statement)
        return [tuple(row) for row in await made.fetch(statements[-1])]
    finally:
        await made.close()


async def goes_on(where):
    """All is there, and there is more to come."""
    store = open_store(where)
    report = await store.report(audit)
    assert report.is_clean, str(report)
    assert store.reads.session("s1").name == "kept"
    assert (await store.submit(fund(5, "more", "s1"))).available == 75
    assert (await store.report(audit)).is_clean
    await store.aclose()


def test_what_was_released_stays():
    """A migration that databases have gone through must never change: add another."""
    folder = resources.files("prepaid.store")
    for name, digest in RELEASED.items():
        assert sha256((folder / name).read_bytes()).hexdigest()[:16] == digest, name


@pytest.mark.parametrize("version", range(1, len(SQLITE) + 1))
async def test_forward_on_sqlite(version, tmp_path):
    path, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    with closing(apsw.Connection(str(path))) as old:
        for script in SQLITE[:version]:
            old.execute(script).fetchall()
        old.execute(f"PRAGMA user_version = {version}")
        old.execute(f"PRAGMA application_id = {connection.APPLICATION_ID}")
        for statement in content("x'{}'", "id, ", [1], "1"):
            old.execute(statement)
        old.execute("UPDATE account SET last_line = 1")
    await goes_on(path)
    connection.open_writer(fresh).close()
    assert shape_of_sqlite(path) == shape_of_sqlite(fresh)


@pytest.fixture
def emptied(postgres):
    """A database without any schema."""
    made = postgres.new()
    asyncio.run(ask(made, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "SELECT 1"))
    yield made
    postgres.drop(made)


@pytest.mark.slow
@pytest.mark.parametrize("version", range(1, len(POSTGRES) + 1))
def test_forward_on_postgres(version, emptied, postgres):
    known = [
        "CREATE TABLE prepaid_schema (version bigint NOT NULL)",
        f"INSERT INTO prepaid_schema VALUES ({version})",
    ]
    asyncio.run(ask(emptied, *POSTGRES[:version], *known, *content(r"'\x{}'", "", [], "true"), "SELECT 1"))
    asyncio.run(goes_on(emptied))
    fresh = postgres.new()
    assert asyncio.run(ask(emptied, SHAPE)) == asyncio.run(ask(fresh, SHAPE))
    postgres.give_back(fresh)
