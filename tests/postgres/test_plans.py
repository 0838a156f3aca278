"""What the tables and the statements of the hot path look like to PostgreSQL (spec D8)."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.records import Message, Role
from prepaid.store.operations import AddToPool, IssueKey, Limits, Place, SaveSettings, TakeFromPool, Turn
from prepaid.store.postgres import lane
from prepaid.store.postgres.book import loading, saving
from prepaid.store.postgres.connection import connect
from prepaid.store.postgres.locks import names_of
from prepaid.store.postgres.store import PostgresStore
from store.books import OWNER, chat, create, hold, settle

SHARED = {"tally", "setting", "lane", "moving", "prepaid_schema"}
"""What belongs to no session; nothing of it but its own lane's row is written by requests."""

KEYS = """
  SELECT relation.relname, attribute.attname
  FROM pg_class AS relation JOIN pg_index AS key ON key.indrelid = relation.oid AND key.indisprimary
  JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attnum = key.indkey[0]
  WHERE relation.relnamespace = 'public'::regnamespace AND relation.relkind = 'r'"""

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture
async def connection(url):
    """As a lane's."""
    made = await connect(url)
    await made.execute(lane.SETTINGS)
    yield made
    await made.close()


@pytest.fixture
async def crowd(connection):
    """A thousand accounts, and what a planner knows of them."""
    await connection.execute(
        "INSERT INTO account SELECT 's' || n, 'ann', 'USD', 0, 9, 9, 0, 0, 0, 0, 0, NULL, 0, ''"
        " FROM generate_series(1, 1000) AS n; ANALYZE"
    )


@pytest.fixture
async def store(url):
    made = PostgresStore(url)
    yield made
    await made.aclose()


async def test_the_session_s_id_leads_every_key(connection):
    leading = dict(await connection.fetch(KEYS))
    tables = {name for (name,) in await connection.fetch(TABLES)}
    assert set(leading) >= tables - {"prepaid_schema"}, "a table without a key"
    assert {name for name in tables - SHARED if leading[name] not in {"session_id", "holder"}} == set()


async def plan(connection, statement):
    """The plan that a lane's connection runs, as text; it does not depend on the values."""
    arguments = ", ".join(["'{}'"] * statement.count("::text::"))
    if statement is lane._BEGIN:
        arguments = "'{}', 1, 'lane'"
    await connection.execute(f"PREPARE asked AS {statement}")
    found = await connection.fetch(f"EXPLAIN EXECUTE asked({arguments})")
    await connection.execute("DEALLOCATE asked")
    return [line for (line,) in found]


def scans(lines):
    """What is read from its beginning to its end, but for the lane's own table of few rows."""
    return [line.strip() for line in lines if "Seq Scan on" in line and "on lane" not in line]


EVERY_PART = [(number,) for number in range(9)] + [tuple(range(9)), (0, 1), (0, 2, 3), (0, 2, 3, 5, 6)]


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("statement", [lane._BEGIN, loading._LOAD], ids=["lock", "load"])
async def test_what_a_batch_reads_is_found_by_key(statement, connection):
    """A batch costs the same at any number of sessions."""
    assert scans(await plan(connection, statement)) == []


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("parts", EVERY_PART, ids=str)
async def test_what_a_batch_writes_is_found_by_key(parts, connection):
    found = await plan(connection, saving._statement(parts))
    assert scans(found) == []
    written = {
        line.split(" on ")[1].split()[0] for line in found if "Insert on" in line or "Update on" in line
    }
    assert len(written) >= 1
    assert written & SHARED == set(), "a row that sessions share"


OTHERS = [
    create("s4", owner=OWNER, limits=Limits(active_max=9, per_user_max=9)),
    TakeFromPool("", "bob", "other", 2**40),
    IssueKey("s2", OWNER, b"another", 10),
    SaveSettings("", ()),
]
"""What takes locks beside its session's."""


async def test_a_request_writes_no_row_that_sessions_share(store, connection):
    """Spec C11: requests of all kinds, while somebody keeps every such row, and every lock that limits are under."""
    for number in range(3):
        await store.submit(create(f"s{number}", 1_000))
    await store.submit(chat("s0"))
    await store.submit(AddToPool("s1", "ann", 100, Limits()))
    await store.submit(TakeFromPool("", "bob", "lease", 2**40))
    await store.submit(IssueKey("s2", "ann", b"digest", 10, cap=100))
    said = Turn((Message(Role.USER, "q"), Message(Role.ASSISTANT, "a")), 5)
    async with connection.transaction():
        await connection.execute("LOCK TABLE tally, setting, session, pool IN EXCLUSIVE MODE")
        await connection.execute(lane._TAKE_NAMES, names_of(OTHERS))
        for work in (
            hold(10, "h", "s0", place=Place(1, 0, 2)),
            settle(4, "h", "s0", turn=said, response="said"),
            hold(10, "h", "s1", owner="bob", lease_id="lease"),
            settle(4, "h", "s1"),
            hold(10, "h", "s2", key_no=1),
            settle(4, "h", "s2"),
        ):
            await store.submit(work)
        opening = store.submit(create("s3"))
        _, waiting = await asyncio.wait([opening], timeout=0.2)
        assert waiting, "those that do write one have to wait"
    await opening


async def test_balances_are_written_in_place(store, connection):
    """Room in each page lets a new balance stand beside the old one: no index is written (HOT)."""
    await connection.execute("SELECT pg_stat_reset()")
    await store.submit(create("s", 1_000))
    for number in range(20):
        await store.submit(hold(1, f"h{number}", "s", keep_refusal=False))
    await store.aclose()  # a connection tells its counts when it closes
    updates, in_place = await connection.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'account'"
    )
    assert updates >= 20
    assert in_place > 0.9 * updates
