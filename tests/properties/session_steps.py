"""Steps of the session machine: opening, funding, pausing, ending; and how any step is taken."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)
from session_model import (
    CONTEXT_MESSAGES,
    OUTPUT_TOKENS,
    Book,
)

from managers import Clock
from prepaid import (
    OfflineModel,
    PrepaidError,
    SessionManager,
)
from prepaid.config import Settings
from prepaid.sessions import opening

MANAGERS = 3
POOL_SIZE = 2
LIVE_MAX = 4
OWNERS = st.sampled_from(["ann", "bob"])
AMOUNTS = st.integers(1, 150) | st.integers(1, 2_000)
COUNTS = st.integers(1, 50)
WHICH = st.integers(0, 1_000)
MANAGER = st.integers(0, MANAGERS - 1)


class SessionSteps(RuleBasedStateMachine):
    """Managers on one file, and the books that they must keep."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        numbers = itertools.count(1)  # ids of one millisecond are in no order, and a replay needs one
        self.patch.setattr(opening, "new_id", lambda prefix: f"{prefix}_{next(numbers):022d}")
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        chosen = Settings(
            database=str(Path(self.folder.name) / "a.db"),
            default_output_tokens=OUTPUT_TOKENS,
            context_messages=CONTEXT_MESSAGES,
            sessions={
                "auto_cleanup": False,
                "pool_size": POOL_SIZE,
                "max_sessions_per_user": LIVE_MAX,
                "session_timeout": timedelta(days=3_650),
            },
        )
        self.model = OfflineModel()
        self.managers = [
            SessionManager(settings=chosen, models=[self.model], clock=self.clock) for _ in range(MANAGERS)
        ]
        self.books = {}
        self.deposits = {"ann": 0, "bob": 0}
        self.keys = {}
        self.tried = 0

    def teardown(self):
        for manager in self.managers:
            self.do(manager.shutdown())
        self.patch.undo()
        self.loop.close()
        self.folder.cleanup()

    # --- how steps are taken -----------------------------------------------------------------------

    def do(self, work):
        async def within():
            return await work

        return self.loop.run_until_complete(within())

    def refused(self, work, name):
        """Do it; it must be refused with this error, or with none."""
        try:
            result = self.do(work)
        except PrepaidError as error:
            found, result = type(error).__name__, error
        else:
            found = None
        assert found == name, result
        return None if found else result

    def chosen(self, which, manager):
        session_id = self.mostly_live(which, self.books)
        book = self.books[session_id]
        return book, self.managers[manager].get_session(session_id, book.owner)

    def mostly_live(self, which, books):
        """One in five of those that have ended, if there are others."""
        live = [key for key, book in books.items() if not book.refusal(self.clock())]
        pool = live if live and which % 5 else [*books]
        return pool[which % len(pool)]

    def opened(self, session, owner, amount, expires_ms=None, book=None):
        self.books[session.session_id] = Book(owner, amount, amount, expires_ms)
        if book is not None:
            self.books[session.session_id].expires_ms = book.expires_ms

    def live_count(self, owner):
        return sum(book.owner == owner and book.state in ("active", "paused") for book in self.books.values())

    def due(self):
        return [book for book in self.books.values() if book.state_at(self.clock()) == "due"]

    def make_room(self, owner):
        """Where a limit is met, what is due is closed first."""
        if self.live_count(owner) >= LIVE_MAX:
            for book in self.due():
                book.end("expired")
        return "SessionLimitReached" if self.live_count(owner) >= LIVE_MAX else None

    @initialize(amount=AMOUNTS, lasts=st.none() | st.integers(60, 200))
    def two_shared_sessions_with_chats(self, amount, lasts):
        for owner in ("ann", "bob"):
            self.create(owner, amount, lasts, 0)
            for _ in range(2):
                self.new_chat(4, 0)
        self.share(0, 0, None)
        self.share(1, 0, 100)
        self.take(0, "bob", 60)

    # --- opening and ending ------------------------------------------------------------------------

    @rule(owner=OWNERS, amount=AMOUNTS, lasts=st.none() | st.integers(1, 100), manager=MANAGER)
    def create(self, owner, amount, lasts, manager):
        expiry = None if lasts is None else timedelta(seconds=lasts)
        expected = self.make_room(owner)
        session = self.refused(
            self.managers[manager].create_session(owner, amount, expires_at=expiry), expected
        )
        if session is not None:
            self.opened(session, owner, amount, None if lasts is None else self.clock() + lasts * 1_000)

    @rule(owner=OWNERS, amount=AMOUNTS, manager=MANAGER)
    def deposit(self, owner, amount, manager):
        self.do(self.managers[manager].deposit(owner, amount))
        self.deposits[owner] += amount

    @rule(owner=OWNERS, amount=st.none() | AMOUNTS, manager=MANAGER)
    def start(self, owner, amount, manager):
        """Spec A2."""
        left = self.deposits[owner]
        wanted = left if amount is None else amount
        expected = self.make_room(owner) or ("InsufficientFunds" if wanted > left or not left else None)
        session = self.refused(self.managers[manager].start_user_session(owner, amount), expected)
        if session is not None:
            self.deposits[owner] -= wanted
            self.opened(session, owner, wanted)

    @rule(owner=OWNERS, amount=AMOUNTS, manager=MANAGER)
    def get_or_create(self, owner, amount, manager):
        """Spec B2."""
        payable = [
            session_id
            for session_id, book in self.books.items()
            if book.owner == owner and book.state_at(self.clock()) == "active" and book.available
        ]
        self.make_room(owner)
        expected = None if payable else self.make_room(owner)
        session = self.refused(self.managers[manager].get_or_create_session(owner, amount), expected)
        if payable:
            assert session.session_id == max(payable)
            self.books[session.session_id].requests += 1
        elif session is not None:
            self.opened(session, owner, amount)

    @precondition(lambda self: self.tried == 0)
    @rule(which=WHICH, manager=MANAGER)
    def restart(self, which, manager):
        """Spec A8."""
        book, session = self.chosen(which, manager)
        self.make_room(book.owner)
        expected, left = book.refusal(self.clock()), book.available
        new = self.refused(self.managers[manager].restart_session(session.session_id, book.owner), expected)
        if new is not None:
            book.end("closed")
            self.opened(new, book.owner, left, book=book)

    @precondition(lambda self: self.tried == 0)
    @rule(which=WHICH, manager=MANAGER)
    def close(self, which, manager):
        book, session = self.chosen(which, manager)
        is_due = book.state_at(self.clock()) == "due"
        expected, left = None if is_due else book.refusal(self.clock()), book.available
        closed = self.refused(session.close(), expected)
        if closed is not None:
            assert (closed.refunded, closed.held, closed.expired) == (left, 0, is_due)
            book.end("expired" if is_due else "closed")

    @rule(which=WHICH, manager=MANAGER, wanted=st.sampled_from(["pause", "resume"]))
    def pause_or_resume(self, which, manager, wanted):
        book, session = self.chosen(which, manager)
        target = {"pause": "paused", "resume": "active"}[wanted]
        expected = book.refusal(self.clock()) or ("TransitionRefused" if book.state == target else None)
        self.refused(getattr(session, wanted)(), expected)
        if expected is None:
            book.state = target

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(manager=MANAGER)
    def clean_up(self, manager):
        due = self.due()
        closed = self.do(self.managers[manager].cleanup_old_sessions())
        assert sorted(each.refunded for each in closed) == sorted(book.available for book in due)
        for book in due:
            book.end("expired")

    @rule(which=WHICH, manager=MANAGER, amount=AMOUNTS)
    def fund(self, which, manager, amount):
        book, session = self.chosen(which, manager)
        funded = self.refused(session.fund(amount), book.refusal(self.clock()))
        if funded is not None:
            book.funded += amount
            book.available += amount
