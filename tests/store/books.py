"""What the tests of the books share: a clock to turn, operations with what they need and no more, an audit."""

from __future__ import annotations

from prepaid.audit import audit
from prepaid.ledger import fingerprint
from prepaid.store.operations import (
    AppendMessages,
    Close,
    CloseIfDue,
    CreateChat,
    CreateSession,
    Deposit,
    Fund,
    Hold,
    Progress,
    Reconcile,
    Release,
    Settle,
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
