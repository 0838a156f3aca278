"""Sessions, chats, the pool and the ledger, driven at random through several managers on one file.

After every step an audit finds no contradiction, and every manager says what a plain Python model says.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from session_model import (
    CONTEXT_MESSAGES,
    OUTPUT_TOKENS,
    Book,
    Chat,
    Lease,
    affordable,
    counted,
    input_tokens,
)

from managers import Clock, store_of
from prepaid import (
    Answer,
    OfflineModel,
    PrepaidError,
    ProviderError,
    ProviderStreamBroken,
    SessionManager,
)
from prepaid.audit import audit
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


class SessionMachine(RuleBasedStateMachine):
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

    # --- chats -------------------------------------------------------------------------------------

    @rule(which=WHICH, manager=MANAGER)
    def new_chat(self, which, manager):
        book, session = self.chosen(which, manager)
        chat = self.refused(session.create_new_chat(), book.refusal(self.clock()))
        if chat is not None:
            book.chats.append(Chat())
            assert chat.chat_no == len(book.chats)

    def asked(self, book, chat, question, count, lease=None):
        """What must come of a question: an error's name, or how many tokens are answered."""
        if lease is not None and (lease.is_over or lease.expires_ms <= self.clock()):
            return "LeaseNotFound"
        left = None if lease is None or lease.cap is None else lease.cap - lease.spent
        if left is not None and left < input_tokens(chat, question) + 2:
            return "LeaseCapReached"
        refusal = book.refusal_to_spend(self.clock())
        if refusal is not None:
            return refusal
        tokens = affordable(
            chat, question, count, book.available if left is None else min(left, book.available)
        )
        return "InsufficientFunds" if tokens is None else tokens

    def answered(self, book, chat, question, tokens, lease=None):
        """A turn was paid and saved."""
        cost = input_tokens(chat, question) + 2 * tokens
        book.available -= cost
        book.spent += cost
        book.requests += 1
        chat.texts += [question, counted(tokens)]
        if lease is not None:
            lease.spent += cost
        return cost

    @rule(which=WHICH, number=WHICH, manager=MANAGER, count=COUNTS)
    def ask(self, which, number, manager, count):
        book, chat, handle = self.some_chat(which, number, manager)
        question = f"count to {count}"
        expected = self.asked(book, chat, question, count)
        answer = self.refused(handle.send_message(question), expected if isinstance(expected, str) else None)
        if answer is not None:
            assert answer.text == counted(expected)
            assert answer.cost == self.answered(book, chat, question, expected)
            assert answer.available == book.available

    @rule(which=WHICH, number=WHICH, manager=MANAGER, is_late=st.booleans())
    def ask_a_failing_model(self, which, number, manager, is_late):
        """Spec C12."""
        book, chat, handle = self.some_chat(which, number, manager)
        expected = self.asked(book, chat, "Hello", 1)
        failure = ProviderStreamBroken("gone") if is_late else ProviderError("down")
        self.model.script.append(("1 2", failure) if is_late else failure)
        self.refused(
            handle.send_message("Hello"), expected if isinstance(expected, str) else type(failure).__name__
        )
        self.model.script.clear()

    @rule(which=WHICH, number=WHICH, manager=MANAGER, count=COUNTS, heard=st.integers(1, 10))
    def ask_and_vanish(self, which, number, manager, count, heard):
        book, chat, handle = self.some_chat(which, number, manager)
        question = f"count to {count}"
        expected = self.asked(book, chat, question, count)

        async def vanish():
            async with aclosing(handle.stream_message(question)) as events:
                for _ in range(heard):
                    if isinstance(await anext(events), Answer):
                        break

        self.refused(vanish(), expected if isinstance(expected, str) else None)
        if isinstance(expected, int):
            self.answered(book, chat, question, min(heard, expected))

    @rule(which=WHICH, number=WHICH, manager=MANAGER, count=COUNTS)
    def ask_under_a_key(self, which, number, manager, count):
        book, chat, handle = self.some_chat(which, number, manager)
        question, key = f"count to {count}", f"key-{len(self.keys)}"
        expected = self.asked(book, chat, question, count)
        answer = self.refused(
            handle.send_message(question, key=key), expected if isinstance(expected, str) else None
        )
        self.keys[key] = handle.chat_id, question, answer or expected
        if answer is not None:
            self.answered(book, chat, question, expected)

    @precondition(lambda self: self.keys)
    @rule(which=WHICH, manager=MANAGER, is_changed=st.booleans())
    def ask_again(self, which, manager, is_changed):
        """Spec D3: the same answer or the same refusal, in every manager; other words conflict."""
        key = sorted(self.keys)[which % len(self.keys)]
        chat_id, question, before = self.keys[key]
        handle = self.managers[manager].get_session(chat_id.split(".")[0]).get_chat(chat_id)
        if is_changed:
            self.refused(handle.send_message(question + "!", key=key), "IdempotencyConflict")
            return
        again = self.refused(
            handle.send_message(question, key=key), before if isinstance(before, str) else None
        )
        if again is not None:
            assert (again.text, again.cost, again.replayed) == (before.text, before.cost, True)

    @rule(which=WHICH, number=WHICH, counts=st.lists(st.integers(1, 9), min_size=2, max_size=6, unique=True))
    def ask_at_once(self, which, number, counts):
        """Spec C5: through all managers at once; one by one in the end, in each manager's order."""
        book, chat, _ = self.some_chat(which, number, 0)
        handles = [self.some_chat(which, number, index % MANAGERS)[2] for index in range(len(counts))]
        if book.refusal_to_spend(self.clock()) or book.available < 2_000:
            funded = self.refused(self.chosen_of(book, 0).fund(2_000), book.refusal(self.clock()))
            if funded is None:
                return
            book.funded += 2_000
            book.available += 2_000
        if book.refusal_to_spend(self.clock()):
            return

        async def at_once():
            asking = [handle.send_message(f"count to {n}") for handle, n in zip(handles, counts, strict=True)]
            await asyncio.gather(*asking)

        self.do(at_once())
        history = self.do(handles[0].get_history(limit=2 * len(counts)))
        order = [int(stored.message.text.removeprefix("count to ")) for stored in history[::2]]
        assert sorted(order) == sorted(counts)
        for index in range(MANAGERS):
            own = counts[index::MANAGERS]
            assert [n for n in order if n in own] == own
        for n in order:
            self.answered(book, chat, f"count to {n}", n)

    def some_chat(self, which, number, manager):
        with_chats = {session_id: book for session_id, book in self.books.items() if book.chats}
        session_id = self.mostly_live(which, with_chats)
        book = with_chats[session_id]
        own = [index for index, chat in enumerate(book.chats, start=1) if chat.taker is None] or [1]
        chat_no = own[number % len(own)]
        handle = self.managers[manager].get_session(session_id, book.owner).get_chat(chat_no)
        return book, book.chats[chat_no - 1], handle

    def chosen_of(self, book, manager):
        session_id = next(key for key, value in self.books.items() if value is book)
        return self.managers[manager].get_session(session_id)

    # --- the pool ----------------------------------------------------------------------------------

    @rule(which=WHICH, manager=MANAGER, cap=st.none() | st.integers(1, 200))
    def share(self, which, manager, cap):
        """Spec B7."""
        book, session = self.chosen(which, manager)
        expected = book.refusal(self.clock()) or ("TransitionRefused" if book.state == "paused" else None)
        if expected is None and book.is_pooled:
            expected = "AlreadyPooled"
        if expected is None and sum(each.is_pooled for each in self.books.values()) >= POOL_SIZE:
            expected = "PoolFull"
        self.refused(session.add_to_pool(cap=cap), expected)
        if expected is None:
            book.is_pooled, book.cap = True, cap

    @rule(which=WHICH, manager=MANAGER)
    def stop_sharing(self, which, manager):
        book, session = self.chosen(which, manager)
        expected = book.refusal(self.clock()) or (None if book.is_pooled else "TransitionRefused")
        self.refused(session.remove_from_pool(), expected)
        if expected is None:
            book.is_pooled = False

    @rule(manager=MANAGER, taker=OWNERS, lasts=st.integers(1, 60))
    def take(self, manager, taker, lasts):
        """Spec B8."""
        now = self.clock()
        for book in self.books.values():
            for lease in book.leases:
                lease.is_over = lease.is_over or lease.expires_ms <= now
        free = {
            session_id: book
            for session_id, book in self.books.items()
            if book.is_pooled and book.state_at(now) == "active" and not self.is_lent(book)
        }
        leased = self.refused(
            self.managers[manager].get_from_pool(taker, lasts=lasts), None if free else "PoolEmpty"
        )
        if leased is not None:
            book = free[leased.session_id]
            book.leases.append(Lease(leased, taker, book.cap, now + lasts * 1_000))

    def is_lent(self, book):
        """Whether the pool's own entry is on lease; a lease from an earlier sharing does not count."""
        lent = store_of(self.managers[0]).reads.row(
            "SELECT lease_id FROM pool WHERE session_id = ?", (self.id_of(book),)
        )
        running = {lease.handle.lease.lease_id for lease in book.leases if not lease.is_over}
        return lent is not None and lent[0] in running

    def id_of(self, book):
        return next(key for key, value in self.books.items() if value is book)

    def lent(self):
        return [(book, lease) for book in self.books.values() for lease in book.leases]

    @precondition(lambda self: self.lent())
    @rule(which=WHICH, count=COUNTS)
    def taker_asks(self, which, count):
        book, lease = self.lent()[which % len(self.lent())]
        chats = self.do(lease.handle.get_chats())
        own = [chat for chat in book.chats if chat.taker == lease.taker]
        assert [chat.chat_no for chat in chats] == [
            number for number, chat in enumerate(book.chats, start=1) if chat.taker == lease.taker
        ]
        if not own:
            is_over = lease.is_over or lease.expires_ms <= self.clock()
            expected = "LeaseNotFound" if is_over else book.refusal(self.clock())
            if self.refused(lease.handle.create_new_chat(), expected) is not None:
                book.chats.append(Chat(lease.taker))
            return
        question = f"count to {count}"
        self.do(lease.handle.switch_to_chat(chats[-1].chat_id))
        expected = self.asked(book, own[-1], question, count, lease)
        answer = self.refused(
            lease.handle.send_message(question), expected if isinstance(expected, str) else None
        )
        if answer is not None:
            assert answer.cost == self.answered(book, own[-1], question, expected, lease)

    @precondition(lambda self: self.lent())
    @rule(which=WHICH)
    def give_back(self, which):
        _, lease = self.lent()[which % len(self.lent())]
        # One that is overdue, but that nobody took over yet, may still be given back.
        self.refused(lease.handle.give_back(), "LeaseNotFound" if lease.is_over else None)
        lease.is_over = True

    # --- what must hold after every step -----------------------------------------------------------

    @invariant()
    def the_books_agree(self):
        """Guarantees 1 to 4."""
        report = audit(store_of(self.managers[0]).reads)
        assert report.is_clean, str(report)

    @invariant()
    def every_manager_says_what_the_model_says(self):
        now = self.clock()
        self.tried = (self.tried + 1) % MANAGERS
        reads = store_of(self.managers[self.tried]).reads
        for session_id, book in self.books.items():
            session = self.managers[self.tried].get_session(session_id, book.owner)
            account = session.account
            assert (account.funded, account.available, account.held, account.spent, account.refunded) == (
                book.funded,
                book.available,
                0,
                book.spent,
                book.refunded,
            )
            assert session.state.label == {"due": "expired"}.get(book.state_at(now), book.state_at(now))
            assert account.request_count == book.requests
            for record, chat in zip(reads.chats(session_id), book.chats, strict=True):
                assert [each.message.text for each in reads.messages(record, limit=1_000)] == chat.texts
            for lease in book.leases:
                assert lease.handle.spent == lease.spent
                assert lease.cap is None or lease.spent <= lease.cap
        for owner, left in self.deposits.items():
            account = reads.account(f"deposit:{owner}")
            assert (account.available if account else 0) == left

    @invariant()
    def a_page_has_what_it_should(self):
        """Spec C7."""
        manager, now = self.managers[self.tried], self.clock()
        for owner in self.deposits:
            own = {key: book.state_at(now) for key, book in self.books.items() if book.owner == owner}
            for status in ("active", "paused", "closed", "expired"):
                page = self.do(manager.get_user_sessions(owner, status=status))
                expected = sorted((key for key, state in own.items() if state == status), reverse=True)
                assert [session.session_id for session in page] == expected


def limits(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def test_the_machine():
    run_state_machine_as_test(SessionMachine, settings=limits(15, 30))


@pytest.mark.slow
def test_the_machine_for_longer():
    run_state_machine_as_test(SessionMachine, settings=limits(150, 60))
