"""What batches are made of: arrays as text, ways through lanes, locks, and conflicts between processes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postgres_server import execute
from prepaid.audit import audit
from prepaid.errors import SessionLimitReached
from prepaid.ledger import fingerprint
from prepaid.store.operations import CloseIfDue, Created, GetOrCreate, Limits, Once, Operation, TakeFromPool
from prepaid.store.postgres.book.columns import LITERALS
from prepaid.store.postgres.connection import connect
from prepaid.store.postgres.locks import names_of, sessions_of
from prepaid.store.postgres.store import PostgresStore
from prepaid.store.postgres.ways import Ways
from store.books import close, create, deposit, fund, hold, settle

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
COLUMNS = {
    "text": TEXTS | st.none() | st.sampled_from(["NULL", "null", "", "{", '"', "\\", "a,b", " "]),
    "bigint": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "boolean": st.booleans(),
    "bytea": st.binary(max_size=20),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_an_array_arrives_as_it_was_sent(kind, url):
    with asyncio.Runner() as runner:
        connection = runner.run(connect(url))

        @given(st.lists(COLUMNS[kind], min_size=1, max_size=10))
        def check(values):
            sent = LITERALS[kind](values)
            assert runner.run(connection.fetchval(f"SELECT $1::text::{kind}[]", sent)) == values

        check()
        runner.run(connection.close())


class TestWays:
    """Operations on one thing that are under way are in one lane; otherwise they spread."""

    def test_sessions_spread(self):
        ways = Ways(4)
        taken = Counter(ways.enter(Operation(f"s{number}")) for number in range(1_000))
        assert len(taken) == 4
        assert min(taken.values()) > 150

    def test_what_follows_goes_after_it(self):
        ways = Ways(64)
        first = create("s1", owner="ann")
        lane = ways.enter(deposit(5, "d"))
        assert ways.enter(first) == lane, "the deposit pays for the session"
        assert ways.enter(hold(1, "k", "s1")) == lane
        assert ways.enter(create("s2", owner="ann")) == lane

    def test_what_is_done_holds_nobody(self):
        ways = Ways(64)
        works = [create(f"s{number}", owner="ann") for number in range(20)]
        assert len({ways.enter(work) for work in works}) == 1
        ways.leave(works)
        assert len({ways.enter(hold(1, "k", f"s{number}")) for number in range(20)}) > 5
        assert ways.enter(create("s99", owner="ann")) in range(64)


def test_a_batch_locks_in_one_order():
    """So that two batches never wait for each other."""
    works = [
        hold(1, "k", "s9"),
        create("s1", owner="bob", limits=Limits(active_max=3), replaces="s5"),
        Once("deposit:eve", "key", b"", close("s3")),
        TakeFromPool("", "bob", "l", 5),
        settle(1, "k", "s9"),
    ]
    assert sessions_of(works) == ["", "deposit:bob", "deposit:eve", "s1", "s3", "s5", "s9"]
    assert names_of(works) == ["active sessions", "deposit:bob", "once deposit:eve", "pool"]
    assert names_of([hold(1, "k", "s9"), settle(1, "k", "s9"), fund(1, "f", "s9")]) == []


@pytest.fixture
async def stores(url):
    """Three processes, as far as the database can tell."""
    made = [PostgresStore(url) for _ in range(3)]
    yield made
    report = await made[0].report(audit)
    assert report.is_clean, str(report)
    await asyncio.gather(*(store.aclose() for store in made))


async def everywhere(stores, works):
    """All of them at once, in every process."""
    asked = [store.submit(work) for store in stores for work in works]
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_one_key_is_one_payment(stores):
    """Guarantee 5."""
    await stores[0].submit(create("s", 5))
    answers = await everywhere(stores, [fund(3, f"f{number}", "s") for number in range(40)])
    assert sum(not answer.replayed for answer in answers) == 40
    assert stores[0].reads.account("s").available == 5 + 3 * 40


async def test_one_key_is_one_session(stores):
    answers = await everywhere(stores, [create(f"s{number}", 5, key=f"k{number}") for number in range(20)])
    assert {answer.session_id for answer in answers} == {f"s{number}" for number in range(20)}


async def test_one_session_however_many_ask_for_one(stores):
    """Spec B2."""
    wanted = [
        GetOrCreate(f"n{n}.{store}", "ann", "USD", f"key{n}.{store}", fingerprint(n), 500, keep_refusal=False)
        for n in range(20)
        for store in range(3)
    ]
    answers = await asyncio.gather(*(stores[n % 3].submit(work) for n, work in enumerate(wanted)))
    assert len({answer.session_id for answer in answers}) == 1


async def test_limits_while_sessions_come_and_go(stores):
    """Spec C11."""
    limits = Limits(active_max=8, per_user_max=3)

    async def live(store, owner, number):
        session_id = f"{owner}.{number}"
        try:
            opened = await store.submit(create(session_id, 5, owner=owner, limits=limits))
        except SessionLimitReached:
            return None
        assert store.reads.tally("") <= 8
        await store.submit(close(session_id, owner=owner))
        return opened

    rounds = [live(stores[n % 3], f"user{n % 5}", n) for n in range(150)]
    answers = await asyncio.gather(*rounds)
    assert sum(isinstance(answer, Created) for answer in answers) >= 8
    assert stores[0].reads.tally("") == 0


async def test_the_clean_up_runs_beside_requests(stores):
    """Expiry, pool and requests on the same sessions: whoever is late is told so, and the books stay sound."""
    names = [f"s{number}" for number in range(10)]
    for name in names:
        await stores[0].submit(create(name, 100))
    works = [
        work
        for name in names
        for work in (
            hold(10, "k", name, expires_ms=2**50),
            settle(4, "k", name),
            CloseIfDue(name, 0),
            hold(10, "late", name, expires_ms=2**50),
        )
    ]
    answers = await everywhere(stores, works)
    assert not [answer for answer in answers if isinstance(answer, AssertionError | TypeError)]
    assert all(stores[0].reads.account(name).spent in {0, 4} for name in names)


async def test_a_lane_whose_row_was_cleared_away_goes_on(url):
    """What killed processes left behind is deleted after a week; so is the row of one that slept so long."""
    store = PostgresStore(url)
    await store.submit(create("s", 5))
    await asyncio.to_thread(execute, url, "DELETE FROM lane")
    assert (await store.submit(fund(3, "f", "s"))).available == 8
    await asyncio.to_thread(execute, url, "UPDATE lane SET written_ms = 0")
    again = PostgresStore(url)
    assert again.reads.rows("SELECT 1 FROM lane") == []
    assert (await store.submit(fund(3, "g", "s"))).available == 11
    await store.aclose()
    assert again.reads.rows("SELECT 1 FROM lane") == [], "a lane that ends takes its row along"
    await again.aclose()


async def test_a_batch_takes_as_many_statements_as_one_operation(url):
    """Set-based: begin, lock, read, write, commit, whatever is in it."""
    store = PostgresStore(url, lanes=1)
    await asyncio.gather(*(store.submit(create(f"s{number}", 1_000)) for number in range(20)))
    asked = []
    store._lanes[0]._connection.add_query_logger(lambda record: asked.append(record.query))

    async def statements(works):
        asked.clear()
        await asyncio.gather(*map(store.submit, works))
        while asked[-1:] != ["COMMIT"]:  # noqa: ASYNC110 -- told in the loop's next round
            await asyncio.sleep(0)
        return len(asked)

    keys = [(f"k{number}", f"s{number % 20}") for number in range(200)]
    for work in (lambda *key: hold(10, *key, expires_ms=2**50), lambda *key: settle(4, *key)):
        await statements([work("first", "s0")])  # what is prepared is looked at once
        assert await statements([work("alone", "s0")]) == 5
        assert await statements([work(*key) for key in keys]) == 5
    assert (await store.report(audit)).is_clean
    await store.aclose()
