"""Spec D9: the OpenAI Agents SDK's ``Session`` protocol on our store. One suite for its own SQLiteSession and ours."""

from __future__ import annotations

import asyncio
import sys

import pytest
from agents.memory import Session as SessionProtocol
from agents.memory import SessionSettings, SQLiteSession
from hypothesis import given, settings
from hypothesis import strategies as st

from prepaid import SessionManager
from prepaid.audit import audit
from prepaid.errors import ChatNotFound, NotJson, SessionAlreadyClosed, SessionNotFound, ValueTooLarge
from prepaid.integrations.openai_agents import PrepaidAgentsSession

RICH = [
    {"role": "user", "content": 'Grüße \U0001f680 \n\t"quoted" \\ \x00'},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
    },
    {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"q": "ü"}', "id": "fc_1"},
    {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "found"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" * 5_000},
    {"role": "user", "content": "half a pair: \ud83d"},
    {"anything": {"nested": [1, 2.5, None, True, {}]}},
]


@pytest.fixture
async def manager(where):
    async with SessionManager(where, auto_cleanup=False) as manager:
        yield manager


@pytest.fixture
async def funded(manager):
    return await manager.create_session("ann", "1 USD")


@pytest.fixture
def ours(funded):
    return PrepaidAgentsSession(funded)


@pytest.fixture(params=["theirs", "ours"])
def history(request, funded, tmp_path):
    if request.param == "ours":
        yield PrepaidAgentsSession(funded)
        return
    theirs = SQLiteSession("talk", tmp_path / "theirs.db")
    yield theirs
    theirs.close()


def said(text):
    return {"role": "user", "content": str(text)}


def texts(items):
    return [item["content"] for item in items]


@pytest.mark.parametrize(
    ("history", "database"),
    [("theirs", "sqlite"), ("ours", "sqlite"), ("ours", "postgres")],
    indirect=["history"],
)
class TestLikeTheirOwn:
    """What its own session does, ours does too."""

    async def test_it_is_a_session(self, history):
        """Spec D9."""
        assert isinstance(history, SessionProtocol)
        assert isinstance(history.session_id, str)
        assert isinstance(history.session_settings, SessionSettings)

    async def test_it_begins_empty(self, history):
        assert await history.get_items() == []
        assert await history.get_items(5) == []
        assert await history.pop_item() is None
        await history.clear_session()
        await history.add_items([])
        assert await history.get_items() == []

    async def test_what_was_added_is_there_as_it_was(self, history):
        await history.add_items(RICH)
        assert await history.get_items() == RICH

    async def test_items_stand_in_the_order_they_were_added_in(self, history):
        for start in range(0, 30, 3):
            await history.add_items([said(start), said(start + 1), said(start + 2)])
        assert texts(await history.get_items()) == [str(number) for number in range(30)]

    @pytest.mark.parametrize(
        ("limit", "last"), [(None, 10), (3, 3), (1, 1), (0, 0), (10, 10), (99, 10), (-1, 10)]
    )
    async def test_the_last_items_are_given_oldest_first(self, history, limit, last):
        await history.add_items([said(number) for number in range(10)])
        assert texts(await history.get_items(limit)) == [str(number) for number in range(10 - last, 10)]

    async def test_the_settings_limit_counts_where_no_other_is_given(self, history):
        await history.add_items([said(number) for number in range(10)])
        history.session_settings = SessionSettings(limit=2)
        assert texts(await history.get_items()) == ["8", "9"]
        assert texts(await history.get_items(4)) == ["6", "7", "8", "9"]

    async def test_the_last_item_is_popped(self, history):
        await history.add_items([said(1), said(2)])
        assert await history.pop_item() == said(2)
        assert await history.get_items() == [said(1)]
        await history.add_items([said(3)])
        assert texts(await history.get_items()) == ["1", "3"]
        assert [await history.pop_item() for _ in range(3)] == [said(3), said(1), None]
        await history.add_items([said(4)])
        assert await history.get_items() == [said(4)]

    async def test_a_cleared_history_begins_anew(self, history):
        await history.add_items([said(1), said(2)])
        await history.clear_session()
        assert await history.get_items() == []
        assert await history.pop_item() is None
        await history.add_items([said(3)])
        assert await history.get_items() == [said(3)]

    async def test_changing_what_was_given_changes_nothing_stored(self, history):
        item = said("a")
        await history.add_items([item])
        item["content"] = "changed"
        loaded = await history.get_items()
        assert loaded == [said("a")]
        loaded[0]["content"] = "changed"
        assert await history.get_items() == [said("a")]

    async def test_64_tasks_lose_nothing(self, history):
        """Spec D9: each call's items stay together and in order."""
        await asyncio.gather(
            *(history.add_items([said(f"{task}.{step}") for step in range(4)]) for task in range(64))
        )
        items = texts(await history.get_items())
        assert len(items) == 256
        calls = [items[start : start + 4] for start in range(0, 256, 4)]
        assert sorted(calls) == sorted([f"{task}.{step}" for step in range(4)] for task in range(64))

    async def test_every_item_is_popped_by_one(self, history):
        await history.add_items([said(number) for number in range(40)])
        popped = await asyncio.gather(*(history.pop_item() for _ in range(64)))
        found = [item for item in popped if item is not None]
        assert sorted(int(item["content"]) for item in found) == list(range(40))
        assert await history.get_items() == []

    async def test_who_cancels_finds_the_items_there_or_not(self, history):
        adding = asyncio.ensure_future(history.add_items([said("a"), said("b")]))
        await asyncio.sleep(0)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        first = await history.get_items()
        await asyncio.sleep(0.05)
        assert await history.get_items() == first
        assert first in ([], [said("a"), said("b")])

    async def test_one_bad_item_keeps_all_out(self, history):
        with pytest.raises((TypeError, NotJson)):
            await history.add_items([said("a"), {"content": object()}])
        assert await history.get_items() == []


steps = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 4)),
    st.tuples(st.just("pop"), st.just(0)),
    st.tuples(st.just("get"), st.integers(-1, 6)),
    st.tuples(st.just("clear"), st.just(0)),
)


async def take(history, step, number):
    """One step, and what it gives."""
    kind, count = step
    match kind:
        case "add":
            return await history.add_items([said(f"{number}.{each}") for each in range(count)])
        case "pop":
            return await history.pop_item()
        case "get":
            return await history.get_items(count)
        case _:
            return await history.clear_session()


@given(st.lists(steps, max_size=20))
@settings(max_examples=25, deadline=None)
def test_whatever_is_done_ours_gives_what_theirs_gives(tmp_path_factory, done):
    """Spec D9."""

    async def compare():
        folder = tmp_path_factory.mktemp("compared")
        theirs = SQLiteSession("talk")
        async with SessionManager(folder / "a.db", auto_cleanup=False) as manager:
            ours = PrepaidAgentsSession(await manager.create_session("ann", "1 USD"))
            for number, step in enumerate(done):
                assert await take(ours, step, number) == await take(theirs, step, number), step
            assert await ours.get_items() == await theirs.get_items()
            assert manager._workspace.store.reads.row("SELECT count(*) FROM agent_item")[0] == len(
                await ours.get_items()
            )
        theirs.close()

    asyncio.run(compare())


# --- what only ours promises ---------------------------------------------------------------------


async def test_histories_are_apart(manager, funded):
    """Spec D9: owned; a session's, its chats', and those of other sessions."""
    one, two = await funded.create_new_chat(), await funded.create_new_chat()
    other = await manager.create_session("bob", "1 USD")
    histories = [
        PrepaidAgentsSession(funded),
        PrepaidAgentsSession(funded, one),
        PrepaidAgentsSession(funded, two.chat_id),
        PrepaidAgentsSession(other),
    ]
    assert [each.session_id for each in histories] == [
        funded.session_id,
        one.chat_id,
        two.chat_id,
        other.session_id,
    ]
    for number, history in enumerate(histories):
        await history.add_items([said(number), said(number)])
    assert [texts(await each.get_items()) for each in histories] == [
        ["0"] * 2,
        ["1"] * 2,
        ["2"] * 2,
        ["3"] * 2,
    ]
    assert [len(await each.get_items(2**40)) for each in histories] == [2, 2, 2, 2]
    await histories[1].clear_session()
    assert [len(await each.get_items()) for each in histories] == [2, 0, 2, 2]
    assert texts(await PrepaidAgentsSession(funded, 2).get_items()) == ["2", "2"]


async def test_a_chats_own_messages_are_another_matter(funded):
    chat = await funded.create_new_chat()
    await chat.send_message("Hello")
    history = PrepaidAgentsSession(funded, chat)
    await history.add_items([said("a")])
    assert await history.get_items() == [said("a")]
    await history.clear_session()
    assert len(await chat.get_history()) == 2


async def test_what_is_not_there_opens_nothing(manager, funded):
    other = await manager.create_session("bob", "1 USD")
    for chat in (7, f"{funded.session_id}.9", await other.create_new_chat()):
        with pytest.raises(ChatNotFound):
            PrepaidAgentsSession(funded, chat)
    foreign = type(funded)(manager._workspace, type(funded._payer)(funded.session_id, "bob", "USD"))
    with pytest.raises(SessionNotFound):
        PrepaidAgentsSession(foreign)


async def test_items_survive_a_restart(tmp_path):
    """Spec D9: persisted."""
    async with SessionManager(tmp_path / "a.db") as manager:
        session = await manager.create_session("ann", "1 USD")
        await PrepaidAgentsSession(session).add_items(RICH)
    async with SessionManager(tmp_path / "a.db") as manager:
        history = PrepaidAgentsSession(manager.get_session(session.session_id, "ann"))
        assert await history.get_items() == RICH


async def test_items_are_saved_and_restored_with_their_session(funded, ours, tmp_path):
    """Spec C10, D9."""
    chat = await funded.create_new_chat()
    await ours.add_items(RICH)
    await PrepaidAgentsSession(funded, chat).add_items([said("a")])
    data = await funded.serialize()
    async with SessionManager(tmp_path / "new.db") as elsewhere:
        restored = await elsewhere.deserialize_session("ann", data)
        assert await PrepaidAgentsSession(restored).get_items() == RICH
        again = PrepaidAgentsSession(restored, 1)
        await again.add_items([said("b")])
        assert texts(await again.get_items()) == ["a", "b"]


async def test_a_session_that_has_ended_takes_no_more(funded, ours):
    await ours.add_items([said("a")])
    await funded.close()
    for call in (ours.add_items([said("b")]), ours.pop_item(), ours.clear_session()):
        with pytest.raises(SessionAlreadyClosed):
            await call
    assert await ours.get_items() == [said("a")]


async def test_an_item_too_long_is_refused(ours, monkeypatch):
    monkeypatch.setattr("prepaid.integrations.parts.BODY_BYTES_MAX", 1_000)
    with pytest.raises(ValueTooLarge, match="1000"):
        await ours.add_items([said("a"), said("x" * 1_001)])
    with pytest.raises(NotJson):
        await ours.add_items([{"n": float("nan")}])
    assert await ours.get_items() == []


async def test_many_items_are_read_beside_the_loop(ours):
    await ours.add_items([said(number) for number in range(1_000)])
    assert texts(await ours.get_items()) == [str(number) for number in range(1_000)]
    assert texts(await ours.get_items(2)) == ["998", "999"]


async def test_two_processes_lose_nothing(tmp_path):
    """Spec D9, in several processes at once."""
    path = tmp_path / "a.db"
    async with SessionManager(path) as manager:
        session = await manager.create_session("ann", "1 USD")
        workers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", WORKER, str(path), session.session_id, name
            )
            for name in ("left", "right")
        ]
        for number in range(20):
            await PrepaidAgentsSession(session).add_items([said(f"here {number}")])
        assert [await worker.wait() for worker in workers] == [0, 0]
        items = texts(await PrepaidAgentsSession(session).get_items())
        for name in ("here", "left", "right"):
            assert [item for item in items if item.startswith(name)] == [
                f"{name} {number}" for number in range(20)
            ]
        assert (await manager._workspace.store.report(audit)).is_clean


WORKER = """
import asyncio, sys
from prepaid import SessionManager
from prepaid.integrations.openai_agents import PrepaidAgentsSession

async def main(path, session_id, name):
    async with SessionManager(path, auto_cleanup=False) as manager:
        history = PrepaidAgentsSession(manager.get_session(session_id, "ann"))
        for number in range(20):
            await history.add_items([{"role": "user", "content": f"{name} {number}"}])

asyncio.run(main(*sys.argv[1:]))
"""
