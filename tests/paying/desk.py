"""A desk that sells answers: a real SQLite file, its ledger, a meter, turns, and sessions to pay from."""

from __future__ import annotations

import itertools
from datetime import timedelta

from prepaid.audit import audit
from prepaid.ledger import Ledger, fingerprint
from prepaid.meter import Meter, Payer
from prepaid.records import ChatRequest, Message, Role
from prepaid.store.operations import CreateChat, CreateSession, Place
from prepaid.store.sqlite.store import SqliteStore, now_ms
from prepaid.turns import Question, Turns

OWNER = "ann"


class Clock:
    """Database time, turned by hand."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return now_ms() + self.ahead_ms

    def advance(self, seconds: float) -> None:
        self.ahead_ms += int(seconds * 1000)


class Desk:
    def __init__(self, path, *, hold_seconds=30.0, default_output_tokens=64, vfs=None, **options) -> None:
        self.clock = Clock()
        self.store = SqliteStore(path, clock=self.clock, vfs=vfs)
        self.ledger = Ledger(self.store)
        self.meter = Meter(self.ledger, timedelta(seconds=hold_seconds))
        self.turns = Turns(self.meter, default_output_tokens, **options)
        self._numbers = itertools.count(1)

    async def aclose(self) -> None:
        await self.meter.aclose()
        await self.store.aclose()

    async def payer(self, amount, *, asset="USD", owner=OWNER) -> Payer:
        """A new session with so much in it."""
        session_id = f"ses_{next(self._numbers)}"
        content = fingerprint("create", amount)
        await self.store.submit(CreateSession(session_id, owner, asset, session_id, content, amount))
        return Payer(session_id, owner, asset)

    async def chat(self, payer) -> int:
        return await self.store.submit(CreateChat(payer.session_id, payer.owner, "", "{}"))

    def place(self, payer, chat_no=1) -> Place:
        record = self.store.reads.chat(payer.session_id, chat_no)
        return Place(chat_no, record.turn_count, messages=2)

    def said(self, payer, chat_no=1):
        """A chat's messages as ``role: text``."""
        record = self.store.reads.chat(payer.session_id, chat_no)
        stored = self.store.reads.messages(record, limit=100)
        return [f"{each.message.role}: {each.message.text}" for each in stored]

    def account(self, payer):
        return self.store.reads.account(payer.session_id)

    def lines(self, payer):
        """``kind amount model`` of each line after the first, which funds."""
        lines = self.store.reads.transfers(payer.session_id)[1:]
        return [f"{line.kind} {line.amount} {line.model}".strip() for line in lines]

    def open_holds(self):
        return self.store.reads.overdue_holds(2**62, 1000)

    def check(self, payer, *, spent=None):
        """Nothing is held, nothing is lost; returns the account."""
        account = self.account(payer)
        assert account.funded == account.available + account.held + account.spent + account.refunded
        assert account.held == 0
        assert not [key for session, key in self.open_holds() if session == payer.session_id]
        assert spent is None or account.spent == spent, self.lines(payer)
        return account

    async def audit(self) -> None:
        """Guarantees 1 to 4 hold over the whole database."""
        report = await self.store.report(audit)
        assert report.is_clean, str(report)


def asks(payer, *models, text="count to 5", limit=None, extra=None, tools=(), messages=None, **fields):
    """A question to these models."""
    said = (Message(Role.USER, text),) if messages is None else messages
    request = ChatRequest(models[0].info.name, said, limit, tools, extra=extra or {})
    return Question(payer, request, models, **fields)
