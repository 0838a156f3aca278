"""Chats: turns in their order, messages in their chat, and places that one turn has at a time."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import (
    ChatLimitReached,
    ChatNotFound,
    LeaseNotFound,
    MessageLimitReached,
    SessionAlreadyClosed,
    SessionNotFound,
    SessionPaused,
)
from prepaid.records import Message, Role, SessionState, ToolCall
from prepaid.store.operations import (
    AddToPool,
    ClearMessages,
    CurrentChat,
    Held,
    Limits,
    Place,
    PlaceTaken,
    PopMessage,
    SetState,
    SwitchChat,
    TakeFromPool,
    Turn,
    UpdateChat,
)

from .books import (
    DEADLINE_MS,
    SESSION,
    START_MS,
    append,
    chat,
    close,
    create,
    hold,
    reconcile,
    release,
    settle,
)


def asked(text):
    return Message(Role.USER, text)


def answered(text):
    return Message(Role.ASSISTANT, text)


def turn(question="q", answer="a", ms=5):
    return Turn((asked(question), answered(answer)), ms)


def texts(store, chat_no=1, session_id=SESSION, **page):
    return [kept.message.text for kept in store.reads.messages(store.reads.chat(session_id, chat_no), **page)]


@pytest.fixture
async def chatting(session):
    await session.submit(chat(name="first"))
    return session


class TestMaking:
    async def test_what_was_said_is_kept(self, session):
        """Spec C3."""
        number = await session.submit(chat(name="work", metadata='{"a":1}', tags=("x",), message_max=8))
        record = session.reads.chat(SESSION, number)
        assert (record.chat_no, record.name, record.metadata) == (1, "work", '{"a":1}')
        assert (record.tags, record.message_max, record.created_ms) == (("x",), 8, START_MS)
        assert session.reads.chat(SESSION, 2) is None

    async def test_they_are_numbered_and_the_newest_is_current(self, session):
        assert [await session.submit(chat()) for _ in range(3)] == [1, 2, 3]
        assert [made.name for made in session.reads.chats(SESSION)] == ["Chat 1", "Chat 2", "Chat 3"]
        record = session.reads.session(SESSION)
        assert (record.current_chat, record.chat_count) == (3, 3)

    async def test_only_so_many(self, session):
        limits = Limits(chats_max=2)
        results = await asyncio.gather(
            *(session.submit(chat(limits=limits)) for _ in range(5)), return_exceptions=True
        )
        assert results[:2] == [1, 2]
        assert all(isinstance(result, ChatLimitReached) for result in results[2:])
        assert (results[2].limit_name, results[2].limit) == ("max_chats_per_session", 2)

    async def test_in_ones_own_live_session(self, session):
        with pytest.raises(SessionNotFound):
            await session.submit(chat(owner="eve"))
        await session.submit(close())
        with pytest.raises(SessionAlreadyClosed):
            await session.submit(chat())


class TestCurrent:
    async def test_the_first_question_opens_one_chat_however_many_ask(self, session):
        first = CurrentChat(SESSION, "ann", '{"model": "m"}')
        assert await asyncio.gather(*(session.submit(first) for _ in range(5))) == [1] * 5
        assert [made.config for made in session.reads.chats(SESSION)] == ['{"model": "m"}']

    async def test_it_is_the_one_switched_to(self, chatting):
        await chatting.submit(chat())
        await chatting.submit(SwitchChat(SESSION, "ann", 1))
        assert await chatting.submit(CurrentChat(SESSION, "ann", "{}")) == 1

    async def test_within_the_limit_and_for_the_owner(self, session):
        with pytest.raises(ChatLimitReached):
            await session.submit(CurrentChat(SESSION, "ann", "{}", Limits(chats_max=0)))
        with pytest.raises(SessionNotFound):
            await session.submit(CurrentChat(SESSION, "eve", "{}"))


class TestTakers:
    """Who has the session on lease has chats in it too; what is current for its owner stays."""

    @pytest.fixture
    async def lent(self, chatting):
        await chatting.submit(AddToPool(SESSION, "ann", None, Limits()))
        await chatting.submit(TakeFromPool("", "bob", "lease", DEADLINE_MS))
        return chatting

    async def test_with_the_lease(self, lent):
        assert await lent.submit(chat(owner="bob", lease_id="lease")) == 2
        assert lent.reads.session(SESSION).current_chat == 1
        await lent.submit(UpdateChat(SESSION, "bob", 2, '{"model": "m"}', "lease"))
        await lent.submit(append(asked("x"), chat_no=2))
        await lent.submit(ClearMessages(SESSION, "bob", 2, "lease"))
        assert texts(lent, 2) == []

    async def test_not_without_it(self, lent, clock):
        works = [
            lambda taker, lease: chat(owner=taker, lease_id=lease),
            lambda taker, lease: UpdateChat(SESSION, taker, 1, "{}", lease),
            lambda taker, lease: ClearMessages(SESSION, taker, 1, lease),
        ]
        for work in works:
            for taker, lease in (("eve", "lease"), ("bob", "none")):
                with pytest.raises(LeaseNotFound):
                    await lent.submit(work(taker, lease))
        clock.advance(DEADLINE_MS)
        for work in works:
            with pytest.raises(LeaseNotFound):
                await lent.submit(work("bob", "lease"))


async def test_all_messages_of_a_session(chatting):
    assert chatting.reads.message_total(SESSION) == 0
    await chatting.submit(chat())
    for number in (1, 2):
        await chatting.submit(append(asked("1"), asked("2"), chat_no=number))
    assert chatting.reads.message_total(SESSION) == 4


class TestTurns:
    """Spec C5: no answer is separated from its question."""

    async def test_a_turn_is_saved_with_its_capture(self, chatting):
        assert await chatting.submit(hold(10, "k", place=Place(1, 0, 2))) == Held("k", 10)
        assert chatting.reads.chat(SESSION, 1).open_turn == "k"
        assert texts(chatting) == []
        await chatting.submit(settle(4, "k", turn=turn("hello", "hi", ms=7)))
        record = chatting.reads.chat(SESSION, 1)
        assert (record.message_count, record.turn_count, record.spent) == (2, 1, 4)
        assert (record.answering_ms, record.open_turn, record.last_ms) == (7, None, START_MS)
        assert texts(chatting) == ["hello", "hi"]
        assert chatting.reads.transfers(SESSION)[-1].chat_no == 1

    async def test_a_place_is_taken_by_one(self, chatting):
        await chatting.submit(hold(10, "k", place=Place(1, 0, 2)))
        taken = await chatting.submit(hold(10, "k2", place=Place(1, 0, 2)))
        assert taken == PlaceTaken("k", START_MS + DEADLINE_MS)
        assert chatting.reads.held(SESSION) == 10

    async def test_a_place_in_the_past_is_taken(self, chatting):
        await chatting.submit(hold(10, "k", place=Place(1, 0, 2)))
        await chatting.submit(settle(4, "k", turn=turn()))
        assert await chatting.submit(hold(10, "k2", place=Place(1, 0, 2))) == PlaceTaken(None, None)
        assert (await chatting.submit(hold(10, "k2", place=Place(1, 1, 2)))).amount == 10

    async def test_a_taken_place_is_no_answer_to_keep(self, chatting):
        await chatting.submit(hold(10, "k", place=Place(1, 0, 2)))
        await chatting.submit(hold(10, "k2", place=Place(1, 0, 2)))
        await chatting.submit(release("k"))
        assert (await chatting.submit(hold(10, "k2", place=Place(1, 0, 2)))).replayed is False

    async def test_a_failed_turn_leaves_nothing(self, chatting):
        await chatting.submit(hold(10, "k", place=Place(1, 0, 2)))
        await chatting.submit(release("k"))
        record = chatting.reads.chat(SESSION, 1)
        assert (record.open_turn, record.turn_count, record.message_count) == (None, 0, 0)

    async def test_an_interrupted_turn_leaves_no_question(self, chatting, clock):
        await chatting.submit(hold(10, "k", place=Place(1, 0, 2), sent=True))
        clock.advance(DEADLINE_MS)
        await chatting.submit(reconcile("k"))
        assert texts(chatting) == []
        assert chatting.reads.chat(SESSION, 1).open_turn is None

    async def test_a_step_of_a_longer_turn_costs_and_says_nothing(self, chatting):
        await chatting.submit(hold(10, "k", place=Place(1, 0, 2)))
        await chatting.submit(settle(4, "k"))
        record = chatting.reads.chat(SESSION, 1)
        assert (record.spent, record.turn_count, record.open_turn) == (4, 0, None)

    async def test_turns_of_two_chats_do_not_meet(self, chatting):
        await chatting.submit(chat(name="second"))
        for number in (1, 2):
            await chatting.submit(hold(10, f"k{number}", place=Place(number, 0, 2)))
        for number in (2, 1):
            await chatting.submit(settle(4, f"k{number}", turn=turn(f"q{number}", f"a{number}")))
        assert (texts(chatting, 1), texts(chatting, 2)) == (["q1", "a1"], ["q2", "a2"])

    async def test_a_turn_replays(self, chatting):
        place = Place(1, 0, 2)
        await chatting.submit(hold(10, "k", place=place))
        await chatting.submit(settle(4, "k", turn=turn(), response="said"))
        assert (await chatting.submit(hold(10, "k", place=place))).response == "said"
        await chatting.submit(settle(4, "k", turn=turn()))
        assert texts(chatting) == ["q", "a"]

    async def test_only_so_many_messages(self, session):
        """Spec C3."""
        await session.submit(chat(message_max=3))
        await session.submit(hold(10, "k", place=Place(1, 0, 2)))
        await session.submit(settle(4, "k", turn=turn()))
        with pytest.raises(MessageLimitReached) as refused:
            await session.submit(hold(10, "k2", place=Place(1, 1, 2)))
        assert refused.value.limit == 3
        await session.submit(ClearMessages(SESSION, "ann", 1))
        with pytest.raises(MessageLimitReached):
            await session.submit(hold(10, "k2", place=Place(1, 1, 2)))
        assert (await session.submit(hold(10, "k3", place=Place(1, 1, 2)))).amount == 10

    async def test_no_such_chat(self, chatting):
        with pytest.raises(ChatNotFound) as refused:
            await chatting.submit(hold(10, "k", place=Place(9, 0, 2)))
        assert refused.value.chat_id == f"{SESSION}.9"


class TestPlacesAndStrangers:
    """Who may not spend a session learns nothing of its chats (spec A5)."""

    @pytest.fixture
    async def busy(self, chatting):
        await chatting.submit(hold(10, "k", place=Place(1, 0, 2)))
        return chatting

    @pytest.mark.parametrize("place", [Place(1, 0, 2), Place(1, 5, 2), Place(9, 0, 2)])
    async def test_strangers(self, place, busy):
        with pytest.raises(SessionNotFound):
            await busy.submit(hold(10, "k2", place=place, owner="eve"))
        with pytest.raises(LeaseNotFound):
            await busy.submit(hold(10, "k3", place=place, owner="eve", lease_id="made up"))

    async def test_takers_with_a_lease_may(self, busy):
        await busy.submit(AddToPool(SESSION, "ann", None, Limits()))
        await busy.submit(TakeFromPool("", "bob", "lease", DEADLINE_MS))
        bobs = {"owner": "bob", "lease_id": "lease", "place": Place(1, 0, 2)}
        assert isinstance(await busy.submit(hold(10, "k2", **bobs)), PlaceTaken)

    async def test_who_cannot_spend_need_not_wait_for_the_place(self, busy):
        await busy.submit(SetState(SESSION, "ann", SessionState.PAUSED))
        with pytest.raises(SessionPaused):
            await busy.submit(hold(10, "k2", place=Place(1, 0, 2)))


class TestMessages:
    async def test_all_that_a_message_has_comes_back(self, chatting):
        messages = (
            Message(Role.SYSTEM, "be brief"),
            asked("Ωmega 🙂 \x00\n"),
            Message(Role.ASSISTANT, "", (ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "sub", "{}"))),
            Message(Role.TOOL, "2", tool_call_id="c1"),
            Message(Role.ASSISTANT, ""),
        )
        assert await chatting.submit(append(*messages)) == 5
        kept = chatting.reads.messages(chatting.reads.chat(SESSION, 1))
        assert tuple(found.message for found in kept) == messages
        assert [(found.seq, found.turn, found.at_ms) for found in kept][::4] == [
            (1, 0, START_MS),
            (5, 0, START_MS),
        ]

    async def test_pages_from_the_end(self, chatting):
        await chatting.submit(append(*(asked(str(n)) for n in range(1, 11))))
        assert texts(chatting, limit=3) == ["8", "9", "10"]
        assert texts(chatting, limit=3, before=8) == ["5", "6", "7"]
        assert texts(chatting, limit=3, before=2) == ["1"]
        assert texts(chatting, limit=3, before=1) == []
        assert texts(chatting, limit=3, before=99) == ["8", "9", "10"]

    async def test_all_or_none(self, session):
        await session.submit(chat(message_max=2))
        with pytest.raises(MessageLimitReached):
            await session.submit(append(asked("1"), asked("2"), asked("3")))
        assert texts(session) == []
        assert await session.submit(append(asked("1"), asked("2"))) == 2

    async def test_taking_the_last_off(self, chatting):
        await chatting.submit(append(asked("1"), asked("2")))
        pop = PopMessage(SESSION, "ann", 1)
        assert await chatting.submit(pop) == asked("2")
        assert await chatting.submit(pop) == asked("1")
        assert await chatting.submit(pop) is None
        await chatting.submit(append(asked("3")))
        assert texts(chatting) == ["3"]

    async def test_emptying(self, chatting):
        await chatting.submit(chat())
        for number in (1, 2):
            await chatting.submit(append(asked("1"), asked("2"), chat_no=number))
        await chatting.submit(ClearMessages(SESSION, "ann", 1))
        assert (texts(chatting, 1), texts(chatting, 2)) == ([], ["1", "2"])

    async def test_chats_of_many_sessions_lie_apart(self, chatting):
        await chatting.submit(create("ses_2"))
        await chatting.submit(chat("ses_2"))
        await chatting.submit(append(asked("theirs"), session_id="ses_2"))
        await chatting.submit(append(asked("ours")))
        assert texts(chatting) == ["ours"]
        assert texts(chatting, session_id="ses_2") == ["theirs"]


@pytest.mark.parametrize(
    "work",
    [
        lambda owner, number: SwitchChat(SESSION, owner, number),
        lambda owner, number: UpdateChat(SESSION, owner, number, '{"model": "m"}'),
        lambda owner, number: append(asked("x"), owner=owner, chat_no=number),
        lambda owner, number: PopMessage(SESSION, owner, number),
        lambda owner, number: ClearMessages(SESSION, owner, number),
    ],
)
class TestWhoMay:
    async def test_the_owner(self, work, chatting):
        await chatting.submit(work("ann", 1))

    async def test_no_stranger(self, work, chatting):
        with pytest.raises(SessionNotFound):
            await chatting.submit(work("eve", 1))

    async def test_no_chat(self, work, chatting):
        with pytest.raises(ChatNotFound):
            await chatting.submit(work("ann", 2))

    async def test_nobody_after_the_end(self, work, chatting):
        await chatting.submit(close())
        with pytest.raises(SessionAlreadyClosed):
            await chatting.submit(work("ann", 1))


async def test_switching_and_configuring(chatting):
    """Spec C4."""
    await chatting.submit(chat())
    await chatting.submit(SwitchChat(SESSION, "ann", 1))
    assert chatting.reads.session(SESSION).current_chat == 1
    await chatting.submit(UpdateChat(SESSION, "ann", 1, '{"model": "m"}'))
    assert [made.config for made in chatting.reads.chats(SESSION)] == ['{"model": "m"}', "{}"]
