"""Spec C10: sessions with ``auto_save`` are saved in the background after they changed, and at shutdown."""

from __future__ import annotations

import asyncio
import logging

import pytest

from prepaid import SessionManager
from prepaid.sessions import saver as saver_module


class Recording:
    """An adapter that remembers what it was given, and fails or dawdles as it is told."""

    def __init__(self):
        self.saves = []
        self.latest = {}
        self.failures_left = 0
        self.seconds = 0.0
        self.at_once = 0
        self.at_once_max = 0

    async def save(self, session_id, data):
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if self.failures_left:
            self.failures_left -= 1
            raise ConnectionError("no route to the adapter")
        self.saves.append(session_id)
        self.latest[session_id] = data

    async def load(self, session_id):
        return self.latest[session_id]

    async def delete(self, session_id):
        self.latest.pop(session_id, None)

    async def get_user_session_ids(self, user_id):
        return [each for each, data in self.latest.items() if data["user_id"] == user_id]


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(saver_module, "_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(saver_module, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(saver_module, "_REST_PER_WORK", 0)


@pytest.fixture
def adapter():
    return Recording()


@pytest.fixture
async def manager(tmp_path, adapter):
    async with SessionManager(tmp_path / "a.db", persistence_adapter=adapter, auto_cleanup=False) as manager:
        manager._workspace.saver.delay_seconds = 0.03
        yield manager


async def until(condition, seconds=120.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- the conditions have no event
            await asyncio.sleep(0.005)


def messages_in(data):
    return sum(len(chat["messages"]) for chat in data["chats"])


async def test_a_change_is_saved_by_itself(manager, adapter):
    """Spec C10: auto_save."""
    session = await manager.create_session("ann", "1 USD")
    await until(lambda: adapter.saves)
    await session.send_message("Hello")
    await until(lambda: messages_in(adapter.latest[session.session_id]) == 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.pause(),
        lambda session: session.fund("1 USD"),
        lambda session: session.create_new_chat(chat_name="New"),
        lambda session: session.close(),
    ],
    ids=["pause", "fund", "new chat", "close"],
)
async def test_whatever_changes_a_session_has_it_saved(manager, adapter, change):
    session = await manager.create_session("ann", "1 USD")
    await until(lambda: adapter.saves)
    await change(session)
    await until(lambda: len(adapter.saves) > 1)
    assert adapter.latest[session.session_id] == await session.serialize()


async def test_many_changes_are_saved_once(manager, adapter):
    """Not once for each turn: a snapshot costs as much as the session is long."""
    saver = manager._workspace.saver
    saver.delay_seconds = 3_600
    session = await manager.create_session("ann", "1 USD")
    chat = await session.create_new_chat()
    for number in range(20):
        await chat.send_message(f"Question {number}")
    assert len(saver._queue) == 1
    assert adapter.saves == []
    await manager.shutdown()
    assert adapter.saves == [session.session_id]
    assert messages_in(adapter.latest[session.session_id]) == 40


async def test_the_longer_a_save_takes_the_longer_the_next_one_waits(manager, adapter, monkeypatch):
    """Saving takes a twentieth of the time at most, however long the session is; here, next to none of it."""
    monkeypatch.setattr(saver_module, "_REST_PER_WORK", 20_000)
    manager._workspace.saver.delay_seconds = 0
    adapter.seconds = 0.05
    session = await manager.create_session("ann", "1 USD")
    chat = await session.create_new_chat()
    await until(lambda: adapter.saves)
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 0.5:
        await chat.send_message("Hello")
    assert len(adapter.saves) == 1


async def test_a_session_without_auto_save_is_not_saved(manager, adapter):
    session = await manager.create_session("ann", "1 USD", auto_save=False)
    other = await manager.create_session("ann", "1 USD")
    await until(lambda: adapter.saves)
    await manager.shutdown()
    assert set(adapter.saves) == {other.session_id}
    assert session.session_id not in adapter.latest


async def test_a_save_that_is_asked_for_is_done_at_once(manager, adapter):
    session = await manager.create_session("ann", "1 USD", auto_save=False)
    await session.save()
    assert adapter.latest[session.session_id] == await session.serialize()


async def test_deposits_are_not_sessions(manager, adapter):
    await manager.deposit("ann", "1 USD")
    await asyncio.sleep(0.1)
    assert adapter.saves == []


async def test_shutdown_saves_what_is_left(tmp_path, adapter):
    """Spec C10."""
    async with SessionManager(tmp_path / "a.db", persistence_adapter=adapter) as manager:
        manager._workspace.saver.delay_seconds = 3_600
        sessions = [await manager.create_session(f"user-{n}", "1 USD") for n in range(20)]
        await sessions[0].send_message("Hello")
        assert adapter.saves == []
    assert set(adapter.saves) == {session.session_id for session in sessions}
    assert messages_in(adapter.latest[sessions[0].session_id]) == 2
    await manager.shutdown()
    assert len(adapter.saves) == 20


async def test_an_adapter_that_fails_is_logged_and_tried_again(manager, adapter, caplog):
    """Spec C10: and disturbs nobody."""
    adapter.failures_left = 3
    with caplog.at_level(logging.ERROR, "prepaid"):
        session = await manager.create_session("ann", "1 USD")
        assert (await session.send_message("Hello")).text
        await until(lambda: adapter.saves)
    assert adapter.failures_left == 0
    failures = [record for record in caplog.records if "could not be saved" in record.message]
    assert len(failures) == 3
    assert all(session.session_id in record.message for record in failures)
    assert "no route to the adapter" in caplog.text
    assert messages_in(adapter.latest[session.session_id]) == 2


async def test_an_adapter_that_hangs_holds_up_nobody(manager, adapter, monkeypatch, caplog):
    monkeypatch.setattr(saver_module, "SAVE_SECONDS_MAX", 0.05)
    adapter.seconds = 3600
    session = await manager.create_session("ann", "1 USD")
    assert (await session.send_message("Hello")).text
    await until(lambda: "could not be saved" in caplog.text)
    await asyncio.wait_for(manager.shutdown(), 120)
    assert "could not be saved at shutdown" in caplog.text


async def test_a_failing_adapter_tells_who_asked_to_save(manager, adapter):
    session = await manager.create_session("ann", "1 USD", auto_save=False)
    adapter.failures_left = 1
    with pytest.raises(ConnectionError):
        await session.save()


async def test_one_session_is_never_saved_twice_at_once(manager, adapter):
    adapter.seconds = 0.02
    manager._workspace.saver.delay_seconds = 0
    session = await manager.create_session("ann", "1 USD")
    chat = await session.create_new_chat()
    for _ in range(10):
        await asyncio.gather(chat.send_message("Hello"), session.save(), session.save())
    assert adapter.at_once_max == 1
    await until(lambda: messages_in(adapter.latest[session.session_id]) == 20)


async def test_several_sessions_are_saved_at_once_but_not_all(manager, adapter):
    adapter.seconds = 0.02
    sessions = [await manager.create_session(f"user-{n}", "1 USD") for n in range(20)]
    await until(lambda: len(set(adapter.saves)) == len(sessions))
    assert 1 < adapter.at_once_max <= 4


async def test_a_change_during_a_save_is_saved_too(manager, adapter):
    adapter.seconds = 0.1
    session = await manager.create_session("ann", "1 USD")
    await until(lambda: adapter.at_once)
    await session.send_message("Hello")
    adapter.seconds = 0
    await until(lambda: len(adapter.saves) > 1)
    assert messages_in(adapter.latest[session.session_id]) == 2


async def test_what_a_crash_leaves_is_what_was_saved_last(tmp_path, adapter):
    """Spec C10: the database is lost, the adapter is not."""
    first = SessionManager(tmp_path / "lost.db", persistence_adapter=adapter)
    first._workspace.saver.delay_seconds = 0.01
    session = await first.create_session("ann", "1 USD")
    await session.send_message("Hello")
    await until(lambda: adapter.saves and messages_in(adapter.latest[session.session_id]) == 2)
    async with SessionManager(tmp_path / "new.db", persistence_adapter=adapter) as second:
        (restored,) = (await second.recover_user_sessions("ann")).sessions
        assert restored.available == 0
        assert len(await restored.current_chat.get_history()) == 2
    await first.shutdown()
