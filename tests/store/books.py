"""What the tests of the books share: a clock to turn, operations with what they need and no more, an audit."""

from __future__ import annotations

import pytest

from prepaid.audit import audit
from prepaid.errors import InsufficientFunds
from prepaid.ledger import fingerprint
from prepaid.records import Message, Role
from prepaid.store.operations import (
    AddToPool,
    AppendMessages,
    Close,
    CloseIfDue,
    CreateChat,
    CreateSession,
    Deposit,
    Fund,
    Hold,
    IssueKey,
    Limits,
    Place,
    Progress,
    Reconcile,
    Release,
    Settle,
    TakeFromPool,
    Turn,
    Withdraw,
)

OWNER = "ann"
SESSION = "ses_1"
DEADLINE_MS = 30_000
START_MS = 1_800_000_000_000


class Clock:
    """Database time, turned by hand."""

    def __init__(self) -> None:
        self.now = START_MS

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms


def create(session_id=SESSION, amount=1_000, *, owner=OWNER, asset="USD", key=None, **fields):
    content = fingerprint("create", amount, *fields.items())
    return CreateSession(session_id, owner, asset, key or f"create-{session_id}", content, amount, **fields)


def fund(amount, key, session_id=SESSION, *, owner=OWNER, **fields):
    return Fund(session_id, owner, key, fingerprint("fund", amount), amount, **fields)


def deposit(amount, key, *, owner=OWNER, asset="USD"):
    return Deposit(f"deposit:{owner}", owner, asset, key, fingerprint("deposit", asset, amount), amount)


def withdraw(amount, key, *, owner=OWNER, **fields):
    return Withdraw(f"deposit:{owner}", owner, key, fingerprint("withdraw", amount), amount, **fields)


def hold(amount, key, session_id=SESSION, *, owner=OWNER, minimum=None, content=None, at=START_MS, **fields):
    least = amount if minimum is None else minimum
    found = content or fingerprint("hold", amount, least)
    fields.setdefault("expires_ms", at + DEADLINE_MS)
    return Hold(session_id, owner, key, found, amount, least, **fields)


def settle(cost, key, session_id=SESSION, **fields):
    return Settle(session_id, key, cost, **fields)


def release(key, session_id=SESSION, *, loss=0):
    return Release(session_id, key, loss)


def progress(delivered, key, session_id=SESSION, *, until=START_MS + DEADLINE_MS):
    return Progress(session_id, key, delivered, until)


def reconcile(key, session_id=SESSION):
    return Reconcile(session_id, key)


def close(session_id=SESSION, *, owner=OWNER, key=""):
    return Close(session_id, owner, key)


def close_if_due(session_id=SESSION, idle_ms=None):
    return CloseIfDue(session_id, idle_ms)


def chat(session_id=SESSION, *, owner=OWNER, name="", **fields):
    return CreateChat(session_id, owner, name, "{}", **fields)


def append(*messages, session_id=SESSION, owner=OWNER, chat_no=1):
    return AppendMessages(session_id, owner, chat_no, messages)


def balance(store, session_id=SESSION):
    """``(available, held, spent, refunded)``."""
    account = store.reads.account(session_id)
    return account.available, account.held, account.spent, account.refunded


def kinds(store, session_id=SESSION):
    """``kind amount`` of each line, in order."""
    return [f"{line.kind} {line.amount}" for line in store.reads.transfers(session_id)]


async def assert_sound(store):
    """Guarantees 1 to 4 hold over the whole database."""
    report = audit(store.reads)  # on a connection that is there
    assert report.is_clean, str(report)


async def something_of_everything(say):
    """Submits what makes books with a row of every kind that money can be in, open holds included."""
    await say(deposit(500, "d"))
    await say(create("s1", 200, from_deposit=True, tags=("red", "red", "big")))
    await say(withdraw(100, "w"))
    await say(create("s2"))
    await say(close("s2"))
    await say(chat("s1"))
    await say(append(*(Message(Role.USER, text) for text in ("one", "two", "three")), session_id="s1"))
    await say(hold(20, "done", "s1", place=Place(1, 0, 2)))
    await say(settle(10, "done", "s1", turn=Turn((Message(Role.USER, "q"), Message(Role.ASSISTANT, "a")), 1)))
    await say(hold(20, "open", "s1", place=Place(1, 1, 2)))
    with pytest.raises(InsufficientFunds):
        await say(hold(900, "refused", "s1"))
    await say(AddToPool("s1", "ann", 100, Limits()))
    await say(TakeFromPool("", "bob", "lease", 10_000))
    await say(hold(20, "lent", "s1", owner="bob", lease_id="lease"))
    await say(settle(10, "lent", "s1"))
    await say(hold(20, "lent open", "s1", owner="bob", lease_id="lease"))
    await say(create("s3"))
    await say(IssueKey("s3", "ann", b"digest", 10, cap=100))
    await say(hold(20, "capped", "s3", key_no=1))
    await say(settle(10, "capped", "s3"))
    await say(hold(20, "capped open", "s3", key_no=1))
