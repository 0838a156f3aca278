"""What a node remembers, and what it makes of it after a restart."""

from __future__ import annotations

import pytest
from eth_utils import keccak

from chain.node.desk import deliveries, running
from chain.world import MODEL, NODE, question, success
from prepaid.chain.fees import GasPrice
from prepaid.chain.node.journal import Journal, State
from prepaid.chain.node.kept import Sent
from prepaid.chain.sending import Attempt
from prepaid.chain.values import decode_text
from prepaid.errors import StoreCorrupted, StoreReadOnly, StoreTooNew
from prepaid.store.sqlite.connection import open_writer


@pytest.fixture
async def asked(alice, session_id):
    return await alice.request(session_id, MODEL, [NODE], question())


@pytest.fixture
def sent(world, operator):
    """A transaction whose number another one has taken."""
    draft = {"to": world.ai, "data": "0x", "value": 0, "from": operator.contract.caller, "gas": 100_000}
    return Sent(draft, Attempt(f"0x{keccak(text='lost').hex()}", b"\x02", 0, GasPrice(10**9, 1)))


async def test_everything_is_there_again(asked, sent, tmp_path, world):
    """To the byte, after the file was closed."""
    path = tmp_path / "node.db"
    journal = Journal(path)
    page = journal.page(1, world.ai)
    assert await page.next_block() is None
    assert await page.read_on([asked], 12) == [(asked.request_id, State.SEEN)]
    await page.move(asked.request_id, State.ANSWERING)
    await page.keep_answer(asked.request_id, success("é"))
    await page.keep_sent(asked.request_id, sent)
    journal.close()
    journal = Journal(path)
    page = journal.page(1, world.ai)
    entry = await page.entry(asked.request_id)
    assert (entry.request, entry.state, entry.answer, entry.sent) == (
        asked,
        State.SENT,
        success("é"),
        sent,
    )
    assert await page.next_block() == 12
    assert await page.unfinished() == [(asked.request_id, State.SENT)]
    assert await page.counts() == {State.SENT: 1}
    assert await journal.page(2, world.ai).unfinished() == []
    journal.close()


async def test_an_event_twice_is_a_request_once(asked, tmp_path, world):
    journal = Journal(tmp_path / "node.db")
    page = journal.page(1, world.ai)
    assert await page.read_on([asked, asked], 12) == [(asked.request_id, State.SEEN)]
    for state in State:
        await page.move(asked.request_id, state)
        is_gone = state is State.GONE
        assert await page.gone() == ({asked.request_id} if is_gone else set())
        assert await page.read_on([asked], 12) == ([(asked.request_id, State.SEEN)] if is_gone else [])
    assert await page.forget(asked.block_number + 1) == 1
    assert await page.find(asked.request_id) is None
    journal.close()


async def test_what_was_gone_comes_back_with_its_answer(asked, sent, tmp_path, world):
    """It was paid for, so it is not bought again."""
    journal = Journal(tmp_path / "node.db")
    page = journal.page(1, world.ai)
    await page.read_on([asked], 12)
    await page.keep_answer(asked.request_id, success())
    await page.keep_sent(asked.request_id, sent)
    await page.move(asked.request_id, State.GONE)
    assert await page.read_on([asked], 13) == [(asked.request_id, State.ANSWERED)]
    entry = await page.entry(asked.request_id)
    assert (entry.state, entry.answer, entry.sent) == (State.ANSWERED, success(), None)
    journal.close()


async def test_a_transaction_that_was_replaced(desk, asked, sent, alice, operator, world, chain, monkeypatch):
    """The stored answer goes out in another; no model is asked."""
    before = await chain.w3.eth.get_transaction_count(operator.contract.caller)
    if not before:
        await operator.token.approve(world.ai, 1)
    journal = Journal(desk.folder / "node.db")
    page = journal.page(chain.chain_id, world.ai)
    await page.read_on([asked], asked.block_number + 1)
    await page.keep_answer(asked.request_id, success("From before."))
    await page.keep_sent(asked.request_id, sent)
    journal.close()
    async with running(desk.environment(world), monkeypatch):
        settled = await alice.settled(asked, timeout_seconds=120)
    assert decode_text(settled.response.response) == "From before."
    assert await deliveries(alice) == [asked.request_id]
    assert desk.fake.served == 0


def test_files_that_are_no_journal(tmp_path):
    (tmp_path / "text").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreCorrupted):
        Journal(tmp_path / "text")
    with pytest.raises(StoreReadOnly):
        Journal(tmp_path / "no" / "folder")
    open_writer(tmp_path / "ledger.db").close()
    with pytest.raises(StoreCorrupted, match=r"node\.journal"):
        Journal(tmp_path / "ledger.db")


def test_a_journal_of_a_newer_version(tmp_path):
    path = tmp_path / "node.db"
    journal = Journal(path)
    journal._thread.submit(journal._connection.execute, "PRAGMA user_version = 99").result()
    journal.close()
    with pytest.raises(StoreTooNew):
        Journal(path)
