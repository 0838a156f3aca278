"""The state diagram: every line of the table in docs/sessions.md, proved (spec C6, A9)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from managers import Clock, opened
from pages import read, rows
from prepaid import PrepaidError, SessionState, TransitionRefused, errors

COLUMNS = ("active", "paused", "closed", "past its expiry", "expired")
TABLE = {row[0].strip("`"): row[1:] for row in rows(read("docs/sessions.md"), "## States")}

ACTIONS = {
    "send_message": lambda manager, session: session.send_message("Hello"),
    "create_new_chat": lambda manager, session: session.create_new_chat(),
    "switch_to_chat": lambda manager, session: session.switch_to_chat(1),
    "fund": lambda manager, session: session.fund(5),
    "pause": lambda manager, session: session.pause(),
    "resume": lambda manager, session: session.resume(),
    "close": lambda manager, session: session.close(),
    "add_to_pool": lambda manager, session: session.add_to_pool(),
    "remove_from_pool": lambda manager, session: session.remove_from_pool(),
    "create_api_key": lambda manager, session: manager.create_api_key(session_id=session.session_id),
    "restart_session": lambda manager, session: manager.restart_session(session.session_id, "ann"),
}
PAIRS = [(state, action) for state in COLUMNS for action in ACTIONS]


@pytest.fixture
async def at(tmp_path):
    """A manager, and a session in the state asked for."""
    clock = Clock()
    async with opened(tmp_path / "a.db", clock=clock) as manager:

        async def reach(state, action):
            session = await manager.create_session("ann", 1_000, expires_at=timedelta(hours=1))
            await session.create_new_chat()
            await session.create_new_chat()
            if action == "remove_from_pool":
                await session.add_to_pool()
            match state:
                case "paused":
                    await session.pause()
                case "closed":
                    await session.close()
                case "past its expiry":
                    clock.advance(3_600)
                case "expired":
                    clock.advance(3_600)
                    await manager.cleanup_old_sessions()
            return manager, session

        yield reach


def test_the_table_is_complete():
    assert list(TABLE) == list(ACTIONS)
    assert all(len(cells) == len(COLUMNS) for cells in TABLE.values())


@pytest.mark.parametrize(
    ("state", "action"), PAIRS, ids=[f"{action} when {state}" for state, action in PAIRS]
)
async def test_what_a_state_lets_one_do(state, action, at):
    manager, session = await at(state, action)
    before, statement = session.account, await session.get_statement()
    cell = TABLE[action][COLUMNS.index(state)]
    if cell == "yes":
        await ACTIONS[action](manager, session)
        return
    with pytest.raises(getattr(errors, cell.strip("`"))) as refused:
        await ACTIONS[action](manager, session)
    assert type(refused.value) is getattr(errors, cell.strip("`"))
    assert session.account == before, "what is refused changes nothing"
    assert await session.get_statement() == statement


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_a_stranger_may_do(action, at):
    """Spec A5: nothing, and it is not told that the session exists."""
    manager, session = await at("active", action)
    with pytest.raises(PrepaidError) as refused:
        manager.get_session(session.session_id, "eve")
    assert type(refused.value) is errors.SessionNotFound
    with pytest.raises(errors.SessionNotFound):
        await manager.restart_session(session.session_id, "eve")


@pytest.mark.parametrize("state", COLUMNS)
async def test_a_session_says_where_it_stands(state, at):
    _, session = await at(state, "send_message")
    expected = "expired" if state == "past its expiry" else state
    stats = await session.get_stats()
    assert (session.state.label, stats.state) == (expected, expected)
    assert (stats.is_active, stats.is_paused) == (expected == "active", expected == "paused")
    assert f"{expected}, 0.00 USD available" in repr(session) or "0.001 USD available" in repr(session)


class TestSteps:
    async def test_pausing_and_resuming(self, at):
        """Spec C6."""
        _, session = await at("active", "pause")
        await session.pause()
        assert session.state is SessionState.PAUSED
        await session.resume()
        assert (await session.send_message("Hello")).cost > 0

    async def test_a_session_closed_past_its_expiry_is_expired_and_refunded(self, at):
        _, session = await at("past its expiry", "close")
        closed = await session.close()
        assert (closed.refunded, closed.expired) == (1_000, True)
        assert session.state is SessionState.EXPIRED

    async def test_a_session_that_is_not_pooled_does_not_leave_the_pool(self, at):
        _, session = await at("active", "pause")
        with pytest.raises(TransitionRefused):
            await session.remove_from_pool()

    async def test_a_resumed_session_counts_again(self, tmp_path):
        """Spec C1."""
        async with opened(tmp_path / "a.db", max_active_sessions=1) as manager:
            first = await manager.create_session("ann", 10)
            await first.pause()
            second = await manager.create_session("ann", 10)
            with pytest.raises(errors.SessionLimitReached):
                await first.resume()
            await second.close()
            await first.resume()


class TestAsyncWith:
    """Spec C6: ``async with`` cleans up."""

    async def test_it_closes(self, tmp_path):
        async with opened(tmp_path / "a.db") as manager:
            async with await manager.create_session("ann", 10) as session:
                pass
            assert session.state is SessionState.CLOSED
            assert session.account.refunded == 10

    @pytest.mark.parametrize("state", ["closed", "past its expiry", "expired"])
    async def test_it_does_not_mind_what_has_ended(self, state, at):
        _, session = await at(state, "close")
        async with session:
            pass
        assert session.account.available == 0

    async def test_an_error_inside_stays_what_it_was(self, tmp_path):
        async with opened(tmp_path / "a.db") as manager:
            for closes_first in (True, False):
                session = await manager.create_session("ann", 10)
                with pytest.raises(ZeroDivisionError):
                    await fail_inside(session, closes_first)
                assert session.state is SessionState.CLOSED


async def fail_inside(session, closes_first):
    async with session:
        if closes_first:
            await session.close()
        raise ZeroDivisionError
