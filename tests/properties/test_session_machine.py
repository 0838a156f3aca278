"""Sessions, chats, the pool and the ledger, driven at random through several managers on one file.

After every step an audit finds no contradiction, and every manager says what a plain Python model says.
"""

from __future__ import annotations

from chat_steps import ChatSteps
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from session_model import (
    Chat,
    Lease,
)
from session_steps import COUNTS, MANAGER, MANAGERS, OWNERS, POOL_SIZE, WHICH

from managers import store_of
from prepaid.audit import audit


class SessionMachine(ChatSteps):
    """All steps, and what must hold after each."""

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
    run_state_machine_as_test(SessionMachine, settings=limits(25, 50))
