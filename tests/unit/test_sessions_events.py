"""Events: every change once, after it is durable, whoever stopped waiting for it (spec B12)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from managers import opened, told
from prepaid import (
    AIResponseReceived,
    Event,
    InvalidRequestError,
    SessionClosed,
    SessionCreated,
    SessionManager,
    SessionPooled,
    SessionRenewed,
)
from prepaid.sessions.events import BACKLOG_MAX, EventBus


@pytest.fixture
async def manager(tmp_path):
    async with opened(tmp_path / "a.db") as manager:
        yield manager


async def test_all_kinds_in_order(manager):
    events = manager.events()
    closed = []
    manager.on(SessionClosed, closed.append)
    session = await manager.create_session("ann", 10)
    await session.fund(5)
    await session.add_to_pool()
    await session.send_message("count to 1")
    await session.close()
    kinds = [type(await anext(events)) for _ in range(5)]
    assert kinds == [SessionCreated, SessionRenewed, SessionPooled, AIResponseReceived, SessionClosed]
    assert [type(event) for event in closed] == [SessionClosed]


class TestCancelled:
    """Whoever stops waiting for a change does not undo it, and everybody else is told of it."""

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            (lambda manager, session: manager.create_session("bob", 5), SessionCreated),
            (lambda manager, session: session.fund(5), SessionRenewed),
            (lambda manager, session: session.add_to_pool(), SessionPooled),
            (lambda manager, session: session.close(), SessionClosed),
            (lambda manager, session: manager.restart_session(session.session_id, "ann"), SessionClosed),
        ],
        ids=["create", "fund", "pool", "close", "restart"],
    )
    async def test_it_is_told(self, change, kind, manager):
        session = await manager.create_session("ann", 10)
        async with manager.events() as events:
            task = asyncio.ensure_future(change(manager, session))
            await asyncio.sleep(0)  # queued
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            assert type(await asyncio.wait_for(anext(events), 120)) is kind

    async def test_what_is_refused_is_not(self, manager):
        session = await manager.create_session("ann", 10)
        await session.close()
        seen = told(manager)
        task = asyncio.ensure_future(session.fund(5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await manager.create_session("bob", 1)
        assert [type(event) for event in seen] == [SessionCreated]


class TestCallbacks:
    async def test_a_failing_one_disturbs_nobody(self, manager, caplog):
        heard = []

        def fails(event):
            raise ZeroDivisionError

        async def fails_later(event):
            raise ZeroDivisionError

        async def listens(event):
            await asyncio.sleep(0)
            heard.append(event)

        for callback in (fails, fails_later, listens):
            manager.on(Event, callback)
        await manager.create_session("ann", 1)
        await manager._workspace.events.aclose()
        assert len(heard) == 1
        assert caplog.text.count("event callback failed") == 2

    async def test_one_that_adds_another(self, manager):
        heard = []

        def adds(event):
            manager.on(Event, adds)
            heard.append(event)

        manager.on(Event, adds)
        await manager.create_session("ann", 1)
        assert len(heard) == 1

    async def test_one_that_shuts_down(self, tmp_path):
        manager = SessionManager(tmp_path / "a.db")
        done = asyncio.Event()

        async def shuts_down(event):
            await manager.shutdown()
            done.set()

        manager.on(SessionCreated, shuts_down)
        await manager.create_session("ann", 1)
        await asyncio.wait_for(done.wait(), 120)

    async def test_one_that_is_cancelled(self, tmp_path):
        manager = SessionManager(tmp_path / "a.db")

        async def cancels(event):
            raise asyncio.CancelledError

        manager.on(Event, cancels)
        await manager.create_session("ann", 1)
        await manager.shutdown()

    @pytest.mark.parametrize(("kind", "callback"), [(str, print), ("SessionClosed", print), (Event, None)])
    async def test_nonsense(self, kind, callback, manager):
        with pytest.raises(InvalidRequestError):
            manager.on(kind, callback)


class TestStreams:
    async def test_from_the_moment_of_the_call(self, manager):
        events = manager.events()
        await manager.create_session("ann", 1)
        assert (await anext(events)).user_id == "ann"

    async def test_they_end_with_the_manager(self, tmp_path):
        manager = SessionManager(tmp_path / "a.db")
        events = manager.events()
        reading = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0)
        await manager.shutdown()
        assert await reading is None
        assert [event async for event in manager.events()] == []

    async def test_what_was_kept_can_still_be_read(self, manager):
        events = manager.events()
        await manager.create_session("ann", 1)
        await events.aclose()
        assert len([event async for event in events]) == 1

    async def test_a_slow_reader_loses_the_oldest_and_it_is_said_once(self, caplog):
        bus = EventBus(logging.getLogger("prepaid"))
        stream, kept = bus.events(), []
        bus.on(Event, kept.append)
        for number in range(BACKLOG_MAX + 5):
            bus.emit(Event(f"ses_{number}", "ann"))
        assert (await anext(stream)).session_id == "ses_5"
        assert (stream.dropped, len(kept)) == (5, BACKLOG_MAX + 5)
        bus.emit(Event("last", "ann"))
        assert caplog.text.count("behind") == 1

    async def test_one_that_nobody_keeps_costs_nothing(self, manager):
        manager.events()
        assert len(manager._workspace.events._streams) == 0
