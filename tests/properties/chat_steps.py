"""Steps of the session machine: questions that are answered, fail, are left, come again or at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)
from session_model import (
    Chat,
    affordable,
    counted,
    input_tokens,
)
from session_steps import COUNTS, MANAGER, MANAGERS, WHICH, SessionSteps

from prepaid import (
    Answer,
    ProviderError,
    ProviderStreamBroken,
)


class ChatSteps(SessionSteps):
    """Questions in chats, and what must come of them."""

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
        self.model.script.append(("1", failure) if is_late else failure)
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
