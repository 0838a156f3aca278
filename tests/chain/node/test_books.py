"""Whatever owners, blocks, endpoints and crashes do in whatever order: the chain's books and the node's agree."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chain.node.desk import FUND, Desk, deliveries, ended, made, until
from chain.world import ALICE, BOB, MODEL, NODE, OPERATOR, POLL_SECONDS, QUICK, USDT, question
from prepaid.audit import audit
from prepaid.chain.ai import AiContract
from prepaid.chain.connection import Chain
from prepaid.chain.node.journal import Journal, State
from prepaid.chain.values import DtnRequest, ResponseStatus, encode_prompt
from prepaid.errors import SessionAlreadyClosed
from prepaid.store.sqlite.store import SqliteStore
from providers.fake_openai import FakeOpenAI

EXAMPLES = 100 if "PREPAID_TEST_NODE_LONG" in os.environ else 2
"""Each takes about four seconds."""

CONFIRMATIONS = 3
WORDS = "What is the weather like?"
COST = len(WORDS.split()) + 2 * len(["Hello", "from", "the", "fake", "provider."])
"""Of one model call, in base units of the ledger."""

owners = st.sampled_from(["alice", "bob"])
pauses = st.sampled_from([0.0, 0.1, 0.4])
steps = st.one_of(
    st.tuples(st.just("ask"), owners, pauses),
    st.tuples(st.just("ask what cannot be read"), owners, pauses),
    st.tuples(st.just("close"), owners, pauses),
    st.tuples(st.just("reorganise"), st.integers(1, CONFIRMATIONS - 1), pauses),
    st.tuples(st.just("mine"), st.integers(1, 4), pauses),
    st.tuples(st.just("drop"), st.none(), pauses),
    st.tuples(st.just("crash"), st.none(), pauses),
    st.tuples(st.just("pass the deadline"), st.none(), pauses),
)


@pytest.mark.slow
def test_whatever_happens_the_books_agree(started):
    """Spec A10, A17, D1: one end for each request, one payment for each answer, nothing left over."""
    anvil, world = started

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],  # to shrink takes minutes; what failed is printed
    )
    @given(st.lists(steps, min_size=6, max_size=14))
    def agree(chosen):
        before = anvil.rpc("evm_snapshot")
        try:
            with FakeOpenAI() as fake, tempfile.TemporaryDirectory() as folder:
                asyncio.run(play(chosen, anvil, world, fake, Path(folder)))
        finally:
            anvil.rpc("evm_revert", before)

    agree()


async def play(chosen, anvil, world, fake, folder):
    desk = await Desk.make(folder, fake)
    async with await Chain.connect(world.url, poll_seconds=POLL_SECONDS) as chain:
        people = {"alice": ALICE, "bob": BOB, "operator": OPERATOR}
        contracts = {name: await AiContract.at(chain, world.ai, who, QUICK) for name, who in people.items()}
        game = Game(anvil, desk, world, contracts)
        await game.begin()
        try:
            for what, how, pause in chosen:
                await game.step(what, how)
                await asyncio.sleep(pause)
            await game.come_to_rest()
        finally:
            game.process.terminate()
        assert await ended(game.process) == 0
        await game.check()


class Game:
    """Owners, a chain, and a node in a process of its own."""

    def __init__(self, anvil, desk, world, contracts):
        self.anvil = anvil
        self.desk = desk
        self.ai = contracts["operator"]
        self.contracts = contracts
        self.sessions = {}
        chain = {"confirmations": CONFIRMATIONS}
        self.environment = desk.environment(world, chain=chain, node={"expires_others": True})

    async def begin(self):
        for name in ("alice", "bob"):
            self.sessions[name] = await self.contracts[name].start_user_session(10 * USDT)
        self.anvil.rpc("anvil_mine", hex(CONFIRMATIONS))  # no reorganisation takes the sessions back
        self.earned = await self.ai.earned(NODE)
        self.process = self.desk.start(self.environment)

    async def step(self, what, how):
        if what.startswith("ask"):
            asked = question(WORDS)
            if what != "ask":
                asked = DtnRequest(encode_prompt("{0:uint8}"), 10, 20, 10_000)
            await self.may_fail(self.contracts[how].request(self.sessions[how], MODEL, [NODE], asked))
        elif what == "close":
            await self.may_fail(self.contracts[how].close_user_session(self.sessions[how]))
        elif what == "reorganise":
            self.anvil.rpc("anvil_mine", hex(how))
            self.anvil.rpc("anvil_reorg", how + 1, [])
        elif what == "mine":
            self.anvil.rpc("anvil_mine", hex(how))
        elif what == "drop":
            self.anvil.rpc("anvil_dropAllTransactions")
        elif what == "pass the deadline":
            self.anvil.later(3_601)
        else:
            self.process.kill()
            await ended(self.process)
            self.process = self.desk.start(self.environment)

    async def may_fail(self, asking):
        """A session that is closed takes no more requests, and is not closed twice."""
        with suppress(SessionAlreadyClosed):
            await asking

    async def come_to_rest(self):
        """Blocks go on until every request has its end, and the node, which has begun at least, knows it."""

        async def is_following():
            return self.process.pid in {line["process"] for line in self.desk.lines("following")}

        async def is_over():
            self.anvil.rpc("evm_mine")
            told = {line["request_id"]: line["state"] for line in self.desk.lines("ended")}
            requests = {each.request_id for each in await made(self.ai)}
            over = {*await deliveries(self.ai), *await deliveries(self.ai, "RequestExpired")}
            return requests <= over and all(told.get(each, "gone") != "gone" for each in requests)

        await until(is_following, 120)
        await until(is_over, 120)

    async def check(self):
        requests = {each.request_id: each for each in await made(self.ai)}
        answered = Counter(await deliveries(self.ai))
        assert set(answered) <= set(requests)
        assert set(answered.values()) <= {1}
        cost = await self.cost_of(requests)
        assert await self.ai.earned(NODE) - self.earned == cost
        entries = await self.entries(requests)
        for request_id, entry in entries.items():
            assert (entry.state is State.CONFIRMED) == (request_id in answered), (request_id, entry.state)
        spent, available = await self.desk.account()
        assert spent + available == FUND
        assert spent % COST == 0
        spoken = sum(
            entry.answer is not None and entry.answer.status is ResponseStatus.SUCCESS
            for entry in entries.values()
        )
        asked = {line["request_id"] for line in self.desk.lines("answered")} | set(requests)
        assert spoken <= spent // COST <= len(asked)
        assert self.desk.fake.served >= spent // COST
        await self.check_totals()

    async def cost_of(self, requests):
        settled = [await self.ai.settled(each, timeout_seconds=120) for each in requests.values()]
        return sum(each.cost for each in settled)

    async def entries(self, requests):
        journal = Journal(self.desk.folder / "node.db")
        try:
            page = journal.page(self.ai.contract.chain.chain_id, self.ai.address)
            return {request_id: await page.entry(request_id) for request_id in requests}
        finally:
            journal.close()

    async def check_totals(self):
        """What the contract holds is what it owes; the ledger's book is whole."""
        books = [await self.contracts[name].session_of(each) for name, each in self.sessions.items()]
        assert all(each.held == 0 for each in books)
        owed = sum(each.available for each in books) + await self.ai.earned(NODE)
        assert await self.ai.token.balance_of(self.ai.address) == owed
        store = SqliteStore(self.desk.folder / "ledger.db")
        try:
            assert audit(store.reads).is_clean
        finally:
            await store.aclose()
