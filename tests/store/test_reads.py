"""Questions to the books: pages, tags, usage, and snapshots beside a writer."""

from __future__ import annotations

import pytest

from prepaid.errors import SessionNotFound
from prepaid.records import SessionState, UsageLine
from prepaid.statements import build_statement, verify_statement
from prepaid.store.operations import Place, SetState

from .books import SESSION, chat, close, create, deposit, fund, hold, reconcile, settle

DAY_MS = 86_400_000


@pytest.fixture
async def crowd(store, clock):
    """s00 … s09 of ann and bob in turn; s02 paused, s03 closed, s04 expired, s06 and s08 tagged."""
    for number in range(10):
        tags = ("red", "big") if number in {6, 8} else ()
        expires = clock() + 5 if number == 4 else None
        owner = "bob" if number % 2 else "ann"
        await store.submit(create(f"s{number:02}", owner=owner, tags=tags, expires_ms=expires))
    await store.submit(deposit(50, "d"))
    await store.submit(SetState("s02", "ann", SessionState.PAUSED))
    await store.submit(close("s03", owner="bob"))
    clock.advance(5)
    await store.submit(close("s04"))
    return store


def ids(records):
    return [record.session_id for record in records]


class TestPages:
    """Spec C7."""

    async def test_newest_first_without_deposits(self, crowd):
        assert ids(crowd.reads.sessions()) == [f"s{number:02}" for number in reversed(range(10))]

    async def test_page_after_page(self, crowd):
        first = crowd.reads.sessions(limit=4)
        second = crowd.reads.sessions(limit=4, before=first[-1].session_id)
        assert ids(first + second) == [f"s{number:02}" for number in range(9, 1, -1)]

    async def test_of_one_owner(self, crowd):
        assert ids(crowd.reads.sessions(owner="bob")) == ["s09", "s07", "s05", "s03", "s01"]
        assert ids(crowd.reads.sessions(owner="bob", limit=2, before="s07")) == ["s05", "s03"]
        assert crowd.reads.sessions(owner="nobody") == []

    async def test_in_some_states(self, crowd):
        assert ids(crowd.reads.sessions(states=(SessionState.PAUSED, SessionState.CLOSED))) == ["s03", "s02"]
        assert ids(crowd.reads.sessions(states=(SessionState.EXPIRED,), owner="ann")) == ["s04"]
        assert crowd.reads.sessions(states=()) == []
        repeated = (SessionState.PAUSED,) * 4
        assert ids(crowd.reads.sessions(states=repeated)) == ["s02"]

    async def test_with_a_tag(self, crowd):
        assert ids(crowd.reads.sessions(tag="red")) == ["s08", "s06"]
        assert ids(crowd.reads.sessions(tag="big", owner="ann", before="s08")) == ["s06"]
        assert crowd.reads.sessions(tag="red", owner="bob") == []

    async def test_without_those_that_expired_and_wait_for_the_clean_up(self, crowd, clock):
        await crowd.submit(create("s10", tags=("red",), expires_ms=clock() + 5))
        live = {"states": (SessionState.ACTIVE,), "owner": "ann"}
        for tag, found in ((None, ["s10", "s08", "s06", "s00"]), ("red", ["s10", "s08", "s06"])):
            assert ids(crowd.reads.sessions(**live, tag=tag, live_at_ms=clock())) == found
            assert ids(crowd.reads.sessions(**live, tag=tag, live_at_ms=clock() + 5)) == found[1:]

    async def test_all_accounts(self, crowd):
        found = crowd.reads.accounts("", 100)
        assert [account.session_id for account in found] == ["deposit:ann", *(f"s{n:02}" for n in range(10))]
        assert [account.session_id for account in crowd.reads.accounts("s07", 1)] == ["s08"]

    async def test_what_is_not_there(self, crowd):
        assert crowd.reads.account("none") is None
        assert crowd.reads.session("none") is None
        assert crowd.reads.session("deposit:ann") is None
        assert crowd.reads.transfers("none") == []
        assert crowd.reads.chats("none") == []


async def test_usage_by_day_chat_model_and_actor(session, clock):
    """Spec A7."""
    await session.submit(chat())
    for number, (model, chat_no) in enumerate([("m", 1), ("m", 1), ("n", 0)]):
        place = Place(1, 0, 2) if chat_no else None
        await session.submit(hold(10, f"k{number}", place=place))
        await session.submit(settle(number + 1, f"k{number}", model=model, input_units=5, output_units=2))
    clock.advance(DAY_MS)
    await session.submit(hold(10, "k9"))
    await session.submit(settle(7, "k9", model="m"))
    await session.submit(fund(5, "f"))
    assert session.reads.usage(SESSION) == [
        UsageLine("2027-01-15", 0, "n", "ann", 1, 5, 2, 3),
        UsageLine("2027-01-15", 1, "m", "ann", 2, 10, 4, 3),
        UsageLine("2027-01-16", 0, "m", "ann", 1, 0, 0, 7),
    ]
    assert sum(line.spent for line in session.reads.usage(SESSION)) == session.reads.account(SESSION).spent


async def test_a_reader_sees_what_was_acknowledged(session, open_store):
    other = open_store()
    await session.submit(fund(5, "f"))
    assert other.reads.account(SESSION).available == 1_005


async def test_a_snapshot_stands_still(session):
    with session.reads.snapshot():
        before = session.reads.account(SESSION)
        await session.submit(fund(5, "f"))
        assert session.reads.account(SESSION) == before
    assert session.reads.account(SESSION).available == 1_005


async def test_a_report_is_answered_beside(session):
    assert await session.report(lambda reads: reads.account(SESSION).available) == 1_000
    with pytest.raises(ZeroDivisionError):
        await session.report(lambda reads: 1 / 0)


class TestStatements:
    """Spec D4."""

    async def test_a_statement_adds_up(self, session, clock):
        await session.submit(hold(100, "k"))
        await session.submit(settle(130, "k", model="m"))
        await session.submit(hold(200, "k2", sent=True))
        await session.submit(hold(50, "k3", sent=True))
        document = build_statement(session.reads, SESSION)
        summary = verify_statement(document)
        assert (summary.funded, summary.spent, summary.refunded) == (1_000, 100, 0)
        assert (summary.available, summary.held, summary.shortfall) == (650, 250, 30)
        await session.submit(close())
        await session.submit(settle(200, "k2"))
        clock.advance(10**6)
        await session.submit(reconcile("k3"))
        summary = verify_statement(build_statement(session.reads, SESSION))
        assert (summary.state, summary.funded, summary.spent, summary.refunded) == ("closed", 1_000, 300, 700)
        assert (summary.available, summary.held, summary.exposure) == (0, 0, 50)

    async def test_a_deposits_too(self, store):
        await store.submit(deposit(500, "d"))
        await store.submit(create(amount=200, from_deposit=True))
        summary = verify_statement(build_statement(store.reads, "deposit:ann"))
        assert (summary.funded, summary.refunded, summary.available) == (500, 200, 300)
        assert verify_statement(build_statement(store.reads, SESSION)).funded == 200

    async def test_none(self, store):
        with pytest.raises(SessionNotFound):
            build_statement(store.reads, "none")
