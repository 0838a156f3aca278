"""Moving a database: everything arrives, nobody writes to what was left, and a crash is gone on from."""

from __future__ import annotations

import asyncio
from contextlib import closing
from random import Random

import apsw
import asyncpg
import pytest

from postgres_server import execute
from prepaid.errors import ConflictError, StoreBusy, StoreCorrupted, StoreMoved, StoreNotEmpty
from prepaid.moving import migrating
from prepaid.moving.places import check
from prepaid.store.moves import Mark, Stage
from prepaid.store.operations import AddItems
from prepaid.store.tables import OWN, TABLES
from store.books import chat, create, fund, hold, settle
from stores import open_store

from .worlds import LONG, PAIRS, dies, place, run, seen

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_every_table_and_column_is_carried(kind, worlds):
    """One that a migration adds must be named, or it would be left behind."""
    own = {
        "account": {"last_line", "previous_line"},
        "chat": {"messages_from"},
        "agent_history": {"items_from"},
    }
    keyless = (
        {"message": {"id"}, "agent_item": {"id"}, "transfer": {"id", "previous"}} if kind == "sqlite" else {}
    )
    reads = worlds.place(worlds.new(kind))
    if kind == "sqlite":
        sql = "SELECT m.name, p.name FROM sqlite_schema AS m, pragma_table_info(m.name) AS p WHERE m.type = 'table'"
    else:
        sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    there = {}
    for table, column in reads.ask(lambda found: found.rows(sql)):
        there.setdefault(table, set()).add(column)
    assert set(there) - OWN == {table.name for table in TABLES}
    for table in TABLES:
        placing = own.get(table.name, set()) | keyless.get(table.name, set())
        made = (
            set()
            if table.name not in keyless
            else {"session_id", "chat_no", "seq", "number"} - there[table.name]
        )
        assert there[table.name] - placing == set(table.columns) - made, table.name


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_everything_arrives_and_goes_on(before, after, worlds):
    """Open holds, chats, leases, keys, conversations: what was begun on one side ends on the other."""
    left, reached = worlds.filled(before), worlds.new(after)
    was = seen(left)
    assert all(was[1].values()), "a table without a row shows nothing"
    with closing(place(left)) as source, closing(place(reached)) as target:
        carried = migrating.migrate(source, target)
        assert carried.accounts == len(was[0])
    assert seen(reached) == was
    assert seen(left) == was, "what was left is as it was"

    async def go_on(store):
        await store.submit(settle(5, "open", "s1"))
        with pytest.raises(ConflictError):
            await store.submit(settle(9, "done", "s1"))
        assert (await store.submit(fund(1, "more-0", "s3"))).replayed
        assert await store.submit(chat("s3")) == 1
        await store.submit(AddItems("s1", "ann", 1, ("{}",)))
        await store.submit(create("s9"))
        assert check(worlds.place(reached)).is_clean

    run(reached, go_on)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nobody_writes_to_what_was_left(kind, worlds):
    """Neither a process that has it open since before, nor a new one, nor one of an older version."""
    left, reached = worlds.filled(kind), worlds.new("sqlite")

    async def stay(old):
        await old.submit(fund(5, "mine", "s3"))
        await asyncio.to_thread(move, left, reached)
        for work in (fund(5, "late", "s3"), fund(5, "mine", "s3"), create("s8"), hold(1, "k", "s3")):
            with pytest.raises(StoreMoved, match="it was moved to") as refused:
                await old.submit(work)
            assert str(reached) in str(refused.value)
        assert not refused.value.retryable

    run(left, stay)

    async def come(new):
        assert new.reads.account("s3") is not None, "it can be read"
        with pytest.raises(StoreMoved):
            await new.submit(create("s8"))

    run(left, come)
    older = "UPDATE account SET request_count = 0 WHERE session_id = 's3'"
    if kind == "sqlite":
        with (
            closing(apsw.Connection(str(left))) as connection,
            pytest.raises(apsw.ConstraintError, match="moved"),
        ):
            connection.execute(older)
    else:
        with pytest.raises(asyncpg.PostgresError, match="left"):
            execute(left, older)
    assert seen(left) == seen(reached)


def move(left, reached):
    with closing(place(left)) as source, closing(place(reached)) as target:
        return migrating.migrate(source, target)


@pytest.mark.parametrize(("before", "after"), PAIRS[:2])
def test_what_was_acknowledged_before_the_close_has_arrived(before, after, worlds):
    """Guarantee 6, with writers at work while it is closed under them."""
    left, reached = worlds.filled(before), worlds.new(after)
    acknowledged = []
    under_way = asyncio.Event()

    async def work(store, number):
        for step in range(100_000):
            try:
                await store.submit(fund(1, f"w{number}-{step}", "s3"))
            except StoreMoved:
                return
            acknowledged.append(f"w{number}-{step}")
            if step == 10:
                under_way.set()

    async def all_at_work(store):
        second = open_store(left)
        workers = [
            asyncio.ensure_future(work(each, n)) for n in range(4) for each in ((store, second)[n % 2],)
        ]
        await under_way.wait()
        await asyncio.to_thread(move, left, reached)
        await asyncio.gather(*workers)
        await second.aclose()

    run(left, all_at_work)
    keys = {row[6] for row in seen(reached)[1]["transfer"]} & {
        f"w{n}-{i}" for n in range(4) for i in range(100_000)
    }
    assert keys == set(acknowledged)


@pytest.mark.parametrize("after", ["sqlite", "postgres"])
def test_a_target_with_something_in_it_is_refused_and_the_source_stays_open(after, worlds):
    left, reached = worlds.filled("sqlite"), worlds.filled(after)
    with pytest.raises(StoreNotEmpty, match="not empty"):
        move(left, reached)
    run(left, lambda store: store.submit(create("s8")))


def test_a_source_that_contradicts_itself_is_refused_and_stays_open(worlds):
    left = worlds.filled("sqlite")
    with closing(apsw.Connection(str(left))) as connection:
        connection.execute("UPDATE hold SET amount = amount + 1 WHERE key = 'open'")
    with pytest.raises(StoreCorrupted, match=r"s1.*guarantee 2"):
        move(left, worlds.new("sqlite"))
    run(left, lambda store: store.submit(create("s8")))


@pytest.mark.parametrize("after", ["sqlite", "postgres"])
def test_a_target_that_differs_is_not_opened(after, worlds):
    """Whoever changes the target behind the move's back is found out, and the source still has all."""
    left, reached = worlds.filled("sqlite"), worlds.new(after)

    class Tampering:
        def __call__(self, what, total):
            if what.startswith("Comparing") and str(left) in what:
                tamper("UPDATE session SET name = 'forged' WHERE session_id = 's3'")
            return self

        def __enter__(self):
            return lambda _: None

        def __exit__(self, *_):
            return None

    def tamper(statement):
        if after == "sqlite":
            with closing(apsw.Connection(str(reached))) as connection:
                connection.execute(statement)
        else:
            execute(reached, statement)

    with (
        closing(place(left)) as source,
        closing(place(reached)) as target,
        pytest.raises(StoreCorrupted, match="table session is not the same"),
    ):
        migrating.migrate(source, target, Tampering())

    async def closed(store):
        with pytest.raises(StoreMoved, match="being filled from"):
            await store.submit(create("s8"))

    run(reached, closed)


@pytest.mark.parametrize("before", ["sqlite", "postgres"])
def test_a_move_that_has_not_arrived_can_be_given_up(before, worlds):
    left, reached = worlds.filled(before), worlds.new("sqlite")
    with closing(place(left)) as source, closing(place(reached)) as target:
        with pytest.raises(ConflictError, match="No move"):
            migrating.abandon(source)
        mark = Mark("m", Stage.LEAVING, target.name)
        source.leave(mark)
        with pytest.raises(StoreMoved, match="being moved"):
            migrating.migrate(source, worlds.place(worlds.new("sqlite")))
        target.receive(Mark("m", Stage.ARRIVING, source.name))
        migrating.abandon(source)
        with pytest.raises(StoreBusy, match="given up"):
            source.advance("m", Stage.LEFT)
    run(left, lambda store: store.submit(create("s8")))
    move(left, reached)
    with closing(place(left)) as source, pytest.raises(ConflictError):
        migrating.abandon(source)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_somebody_else_s_rows_are_never_mixed_in(kind, worlds):
    target = worlds.place(worlds.new(kind))
    target.receive(Mark("one", Stage.ARRIVING, "x"))
    with pytest.raises(StoreBusy):
        target.insert("two", TABLES[0], [])


@pytest.mark.parametrize(("before", "after"), PAIRS[:2])
@pytest.mark.parametrize("seed", range(2 * LONG))
def test_a_move_that_is_killed_goes_on(before, after, seed, worlds):
    """``kill -9`` before a step or right behind it: neither side takes changes by halves, and all arrives."""
    left, reached = worlds.filled(before), worlds.new(after)
    was, chosen = seen(left), Random(seed)
    command = ["migrate", "--from", str(left), "--to", str(reached), "--json"]
    kills = 0
    for step in (chosen.randint(1, 12), chosen.randint(3, 24), chosen.randint(3, 80)):
        kills += dies(command, step)
        with closing(place(left)) as source, closing(place(reached)) as target:
            stages = [mark and mark.stage for mark in (source.mark(), target.mark())]
        is_left_open, is_reached_open = stages[0] is None, stages[1] is Stage.ARRIVED
        assert not (is_left_open and is_reached_open)
    again = move(left, reached)
    assert (again is None) == is_reached_open
    assert kills >= 2
    assert seen(reached) == was
    assert move(left, reached) is None, "the same again has nothing left to do"
    assert check(worlds.place(reached)).is_clean
