"""SQLite plans each of our statements once: what they cost is their work, not their parsing."""

from __future__ import annotations

import apsw
import pytest

from managers import opened


@pytest.fixture
def planned(monkeypatch):
    """The statements that were planned, on any connection opened from now on."""
    found = []

    def watch(connection):
        is_planning = [False]

        def plans(*_):
            is_planning[0] = True
            return apsw.SQLITE_OK

        def ran(event):
            if is_planning[0]:
                found.append(event["sql"])
            is_planning[0] = False

        connection.authorizer = plans  # asked about each thing that a plan touches, and at no other time
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, ran)

    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, watch])
    return found


async def test_once_each_whatever_values_they_are_given(planned, tmp_path):
    """A partial index might be for one value and not for another, and SQLite asks that at each, unless told not to."""
    async with opened(tmp_path / "app.db") as manager:
        await used(manager, "ann")
        assert planned
        planned.clear()
        await used(manager, "bob")
        await used(manager, "cleo")
        assert planned == []


async def used(manager, user):
    """What a session sees in its life."""
    session = await manager.create_session(user, fund="1 USD", tags=[user])
    issued = await manager.create_api_key(session_id=session.session_id, cap="0.5 USD")
    assert (await manager.authenticate(session.api_key)).session_id == session.session_id
    assert (await manager.identify(issued.api_key)).cap == 500_000
    chat = await session.create_new_chat(chat_name=user)
    await chat.send_message(f"Hello from {user}")
    assert len(await chat.get_history()) == 2
    assert await manager.get_user_sessions(user, tag=user, status="active")
    await session.add_to_pool()
    lease = await manager.get_from_pool(user)
    await lease.give_back()
    await manager.cleanup_old_sessions()
    await session.close()
