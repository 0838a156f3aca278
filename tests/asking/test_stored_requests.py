"""Requests that are kept: fetched at any time, tried again when they failed, never stuck (spec A14, A17)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from managers import Clock, opened, store_of
from paying.models import Pause, Scripted
from prepaid import AIRequest
from prepaid.errors import (
    ConcurrencyLimitReached,
    ConsensusTimeout,
    IdempotencyConflict,
    InsufficientFunds,
    ProviderError,
    RequestInProgress,
    RequestNotFound,
    SessionAlreadyClosed,
)
from prepaid.records import RequestState
from prepaid.sessions.events import SessionCreated
from prepaid.sessions.fetching import BACKGROUND_MAX
from prepaid.store.operations import EndRequest, Settle

ANSWER = ("Yes.", 2)
DOWN = (ProviderError("It is down."),)
ASKED = AIRequest("Is it?", key="k")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def model():
    """In place of the offline one; what it says, each test sets."""
    return Scripted(ANSWER, name="offline")


@pytest.fixture
async def manager(tmp_path, clock, model):
    async with opened(tmp_path / "a.db", clock=clock, models=[model]) as managing:
        yield managing


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", "1 USD")


async def until_ended(manager, session, request_id):
    await asyncio.gather(*manager._asking)
    return manager.fetch_response(session, request_id)


async def test_before_during_and_after(manager, session, model):
    pause = Pause()
    model.scripts[0] = (pause, *ANSWER)
    begun = await manager.start_request(session, ASKED)
    assert (begun.status, begun.response, begun.ended_at) == (RequestState.PENDING, None, None)
    with pytest.raises(RequestInProgress):
        await manager.submit_request(session, ASKED)
    assert (await manager.start_request(session, ASKED)).request_id == begun.request_id
    pause.go.set()
    found = await until_ended(manager, session, begun.request_id)
    assert (found.status, found.message, found.error) == (RequestState.SUCCESS, "Yes.", None)
    assert found.response.cost == session.account.spent
    assert await manager.submit_request(session, ASKED) == found
    assert manager.get_requests(session) == [found]
    with pytest.raises(IdempotencyConflict):
        await manager.submit_request(session, AIRequest("Another?", key="k"))


async def test_what_failed_says_why_costs_nothing_and_is_tried_again(manager, session, model):
    model.scripts[0] = DOWN
    with pytest.raises(ProviderError):
        await manager.submit_request(session, ASKED)
    (failed,) = manager.get_requests(session)
    assert (failed.status, failed.error) == (RequestState.FAILED, "provider_error")
    assert "down" in failed.message
    assert session.account.spent == 0
    model.scripts[0] = ANSWER
    again = await manager.submit_request(session, ASKED)
    assert (again.request_id, again.status) == (failed.request_id, RequestState.SUCCESS)


async def test_too_late_is_a_timeout(manager, session, model):
    """Spec A17."""
    model.scripts[0] = (Pause(),)
    with pytest.raises(ConsensusTimeout):
        await manager.submit_request(session, AIRequest("Is it?", timeout_seconds=0.01))
    (late,) = manager.get_requests(session)
    assert late.status is RequestState.TIMEOUT
    assert (session.account.held, session.account.spent) == (0, 0)


async def test_a_shutdown_leaves_none_pending(tmp_path, model):
    pause = Pause()
    model.scripts[0] = (pause,)
    async with opened(tmp_path / "a.db", models=[model]) as manager:
        session = await manager.create_session("ann", "1 USD")
        begun = await manager.start_request(session, ASKED)
        await pause.reached.wait()
    async with opened(tmp_path / "a.db", models=[model]) as manager:
        session = manager.get_session(begun.session_id, "ann")
        found = manager.fetch_response(session, begun.request_id)
        assert (found.status, found.error) == (RequestState.FAILED, "interrupted")
        assert (session.account.held, session.account.spent) == (0, 0)


async def test_a_crash_is_a_timeout_and_the_key_can_be_used_again(manager, session, clock):
    """Nobody ends a request whose process died: its deadline does."""
    begun, is_new = await manager._begin(session, ASKED)
    assert is_new
    with pytest.raises(RequestInProgress):
        await manager.submit_request(session, ASKED)
    clock.advance(60 + 30)
    found = manager.fetch_response(session, begun.request_id)
    assert (found.status, found.error) == (RequestState.TIMEOUT, "interrupted")
    again = await manager.submit_request(session, ASKED)
    assert (again.request_id, again.status) == (begun.request_id, RequestState.SUCCESS)


async def test_of_several_who_try_again_one_does(manager, session, model):
    model.scripts[0] = DOWN
    with pytest.raises(ProviderError):
        await manager.submit_request(session, ASKED)
    model.scripts[0] = ANSWER
    tries = await asyncio.gather(
        *(manager.submit_request(session, ASKED) for _ in range(5)), return_exceptions=True
    )
    assert {type(each).__name__ for each in tries} <= {"StoredRequest", "RequestInProgress"}
    assert store_of(manager).reads.account(session.session_id).request_count == 1


async def test_only_of_its_own_session(manager, session):
    """Spec A5."""
    found = await manager.submit_request(session, ASKED)
    other = await manager.create_session("bob", "1 USD")
    for request_id in (found.request_id, "req_x", "", None, "\n"):
        with pytest.raises(RequestNotFound):
            manager.fetch_response(other, request_id)
    assert manager.get_requests(other) == []


async def test_a_closed_session_asks_nothing_and_still_tells(manager, session):
    found = await manager.submit_request(session, ASKED)
    await session.close()
    with pytest.raises(SessionAlreadyClosed):
        await manager.submit_request(session, AIRequest("And now?"))
    told = manager.fetch_response(session, found.request_id)
    assert told == replace(found, response=replace(found.response, available=0))


async def test_an_answer_is_kept_no_later_than_it_is_paid(manager, session):
    """Spec D3: a crash in between leaves nothing that was paid and cannot be found by a retry."""
    batches = []
    store_of(manager).listen(batches.append)
    await manager.submit_request(session, ASKED)
    await manager.make_ai_request("ann", "Is it?", session_id=session.session_id, key="k2")
    done = [each for batch in batches for each in batch]
    ends = [at for at, each in enumerate(done) if isinstance(each, EndRequest)]
    kept = [at for at, each in enumerate(done) if isinstance(each, Settle) and each.response is not None]
    paid = [at for at, each in enumerate(done) if isinstance(each, Settle) and each.cost]
    assert len(ends) == len(kept) == 1
    assert (ends[0] < paid[0], kept[0] < paid[1]) == (True, True)


class TestAUsersKey:
    """Spec D3: a key of a user's request is the user's, whichever session is chosen to pay."""

    async def asked(self, manager, **fields):
        wanted = AIRequest("Is it?", key="order-1", **fields)
        return await manager.submit_request(await manager.paying_session("ann", asked=wanted), wanted)

    async def test_the_session_that_paid_is_closed_and_another_is_there(self, manager, session, model):
        first = await self.asked(manager)
        await session.close()
        newer = await manager.create_session("ann", "1 USD")
        assert (await self.asked(manager)).request_id == first.request_id
        assert newer.account.spent == 0
        assert len(model.requests) == 1

    async def test_a_newer_session_changes_nothing(self, manager, session):
        first = await self.asked(manager)
        newer = await manager.create_session("ann", "1 USD")
        assert (await self.asked(manager)).request_id == first.request_id
        assert newer.account.spent == 0
        with pytest.raises(IdempotencyConflict):
            await manager.paying_session("ann", asked=AIRequest("Another?", key="order-1"))
        assert (await manager.paying_session("ann")).session_id == newer.session_id

    async def test_eight_at_once_are_paid_once(self, manager, session, model):
        answers = await asyncio.gather(*(self.asked(manager) for _ in range(8)), return_exceptions=True)
        assert {type(each).__name__ for each in answers} <= {"StoredRequest", "RequestInProgress"}
        assert (len(model.requests), session.account.request_count) == (
            1,
            2,
        )  # choosing it counts as use, too

    async def test_what_failed_is_tried_again_in_the_same_session(self, manager, session, model):
        model.scripts[0] = DOWN
        with pytest.raises(ProviderError):
            await self.asked(manager)
        newer = await manager.create_session("ann", "1 USD")
        model.scripts[0] = ANSWER
        assert (await self.asked(manager)).session_id == session.session_id
        assert newer.account.spent == 0

    async def test_who_has_no_money_binds_nothing(self, manager):
        with pytest.raises(InsufficientFunds):
            await self.asked(manager)
        funded = await manager.create_session("ann", "1 USD")
        assert (await self.asked(manager)).session_id == funded.session_id

    async def test_a_session_opened_for_it_is_opened_once(self, manager):
        await manager.deposit("ann", "1 USD")
        opened_for = []
        manager.on(SessionCreated, lambda event: opened_for.append(event.session_id))
        for _ in range(2):
            answer = await manager.make_ai_request("ann", "Is it?", session_id=0, key="order-2")
            assert answer.session_id == opened_for[0]
        assert len(opened_for) == 1
        assert manager.get_deposit("ann").available == 0

    async def test_a_key_of_another_operation_is_no_key_of_a_request(self, manager, session):
        await manager.create_session("ann", "1 USD", key="order-1")
        with pytest.raises(IdempotencyConflict):
            await self.asked(manager)

    async def test_in_python_without_a_session(self, manager, session, model):
        first = await manager.make_ai_request("ann", "Is it?", key="order-1")
        newer = await manager.create_session("ann", "1 USD")
        again = await manager.make_ai_request("ann", "Is it?", key="order-1")
        assert (again.request_id, again.replayed) == (first.request_id, True)
        assert (newer.account.spent, len(model.requests)) == (0, 1)
        with pytest.raises(IdempotencyConflict):
            await manager.make_ai_request("ann", "Was it?", key="order-1")


async def test_not_more_at_once_than_one_process_can_ask(manager, session, model):
    pause = Pause()
    model.scripts[0] = (pause, *ANSWER)
    second = await manager.create_session("ann", "1 USD")
    begun = await asyncio.gather(
        *(
            manager.start_request(whose, AIRequest("Is it?"))
            for whose in (session, second)
            for _ in range(BACKGROUND_MAX)
        ),
        return_exceptions=True,
    )
    refused = [each for each in begun if isinstance(each, ConcurrencyLimitReached)]
    assert len(refused) == BACKGROUND_MAX, "of an owner's sessions together, also of those that begin at once"
    with pytest.raises(ConcurrencyLimitReached):
        await manager.start_request(session, AIRequest("Is it?"))
    other = await manager.create_session("bob", "1 USD")
    await manager.start_request(other, AIRequest("Is it?"))
    pause.go.set()
    await asyncio.gather(*manager._asking)
    await manager.start_request(session, AIRequest("Is it?"))
