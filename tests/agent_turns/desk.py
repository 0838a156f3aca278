"""One funded session with one chat, and what the ledger says of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

from prepaid.agents import AgentAnswer, AgentQuestion, ChatAgent, Opening
from prepaid.audit import audit
from prepaid.ledger import Ledger, fingerprint
from prepaid.meter import Meter, Payer
from prepaid.models.offline import OfflineModel
from prepaid.records import Price, Unit
from prepaid.store.operations import CreateChat, CreateSession, Place
from prepaid.store.sqlite.store import SqliteStore
from prepaid.turns import Turns

OWNER = "ann"
SESSION = "ses_1"
FUNDED = 1_000_000


class Desk:
    """Where a test asks, and reads what it cost."""

    def __init__(self, path, *, hold_seconds=30, clock=None):
        self.store = SqliteStore(path, **({} if clock is None else {"clock": clock}))
        self.ledger = Ledger(self.store)
        self.meter = Meter(self.ledger, timedelta(seconds=hold_seconds))
        self.turns = Turns(self.meter, default_output_tokens=1_000)
        self.payer = Payer(SESSION, OWNER, "USD")
        self.waits = []

    async def open(self, amount=FUNDED, message_max=None):
        content = fingerprint("create", amount)
        await self.store.submit(CreateSession(SESSION, OWNER, "USD", "create", content, amount))
        await self.store.submit(CreateChat(SESSION, OWNER, "chat", "{}", message_max=message_max))
        return self

    async def aclose(self):
        await self.meter.aclose()
        report = await self.store.report(audit)
        await self.store.aclose()
        assert report.is_clean, str(report)

    @property
    def account(self):
        return self.ledger.account(SESSION, OWNER)

    @property
    def spent(self):
        return self.account.spent

    @property
    def chat(self):
        return self.store.reads.chat(SESSION, 1)

    @property
    def messages(self):
        return tuple(stored.message for stored in self.store.reads.messages(self.chat, limit=1_000))

    @property
    def captures(self):
        lines = self.store.reads.transfers(SESSION)
        return [line.amount for line in lines if line.kind == "capture"]

    def opening(self):
        return Opening(self.messages, Place(1, self.chat.turn_count, messages=2))

    async def reopen(self, taken):
        self.waits.append(taken)
        while self.chat.open_turn is not None:  # noqa: ASYNC110 -- another process would poll too
            await asyncio.sleep(0.001)
        return self.opening()

    async def until_held(self):
        while self.account.held == 0:  # noqa: ASYNC110 -- the ledger tells nobody
            await asyncio.sleep(0.001)

    async def until_released(self):
        while self.account.held:  # noqa: ASYNC110 -- a hold cancelled on its way is given back behind it
            await asyncio.sleep(0.001)

    def question(self, text, *models, **fields):
        fields.setdefault("opening", self.opening())
        return AgentQuestion(self.payer, text, models or (OfflineModel(),), reopen=self.reopen, **fields)

    async def ask(self, agent, text, *models, **fields):
        return (await self.events(agent, text, *models, **fields))[-1]

    async def events(self, agent, text, *models, **fields):
        async with aclosing(agent.stream(self.question(text, *models, **fields))) as events:
            found = [event async for event in events]
        assert isinstance(found[-1], AgentAnswer)
        return found

    def agent(self, **fields):
        return ChatAgent(self.turns, **fields)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def priced(input_per_million, output_per_million, unit=Unit.TOKEN):
    return Price.flat("USD", unit, input_per_million, output_per_million)
