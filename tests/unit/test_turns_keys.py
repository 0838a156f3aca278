"""Idempotency keys: the same answer once, whatever happened to the tries before (spec D3)."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from paying.desk import asks
from paying.models import END, PER_BYTE, Pause, Scripted
from prepaid.errors import (
    ConflictError,
    IdempotencyConflict,
    InsufficientFunds,
    InvalidRequestError,
    ProviderError,
    RequestInProgress,
    ValueTooLarge,
)
from prepaid.meter import REQUEST_KEY_LENGTH_MAX, Payer, meter
from prepaid.models.offline import OfflineModel
from prepaid.records import Message, Price, Role, TextDelta, Tool, ToolCall
from prepaid.store.operations import AddToPool, Fund, Limits, Place, TakeFromPool
from prepaid.turns import Answer

pytest_plugins = ["paying.fixtures"]


@pytest.fixture
async def payer(desk):
    return await desk.payer(100_000)


async def test_the_same_answer_once(desk, payer):
    """Spec D3: the model is asked once, and paid once."""
    model = Scripted(("one", " two", 2), ("something else", END))
    question = asks(payer, model, key="k")
    first = await desk.turns.answer(question)
    again = await desk.turns.answer(question)
    assert (first.replayed, again) == (False, replace(first, replayed=True))
    assert len(model.requests) == 1
    desk.check(payer, spent=7)


async def test_a_replay_says_what_is_available_now(desk, payer):
    question = asks(payer, OfflineModel(), key="k")
    await desk.turns.answer(question)
    await desk.turns.answer(asks(payer, OfflineModel()))
    assert (await desk.turns.answer(question)).available == 100_000 - 26


async def test_a_stream_is_replayed_as_a_stream(desk, payer):
    call = ToolCall("1", "add", "{}")
    question = asks(payer, Scripted(("a", " b", call, END)), key="k")
    await desk.turns.answer(question)
    seen = [event async for event in desk.turns.stream(question)]
    assert seen[:2] == [TextDelta("a b"), call]
    assert isinstance(seen[2], Answer)
    silent = asks(payer, Scripted((END,)), key="silent")
    await desk.turns.answer(silent)
    assert len([event async for event in desk.turns.stream(silent)]) == 1


async def test_keys_are_each_sessions_own(desk, payer):
    other = await desk.payer(1_000)
    await desk.turns.answer(asks(payer, OfflineModel(), key="k"))
    assert not (await desk.turns.answer(asks(other, OfflineModel(), key="k"))).replayed


async def test_a_failed_try_is_tried_anew(desk, payer):
    """Spec C12, D3: it cost nothing, so it may succeed later."""
    model = Scripted((ProviderError("down"),), ("half", ProviderError("down")), ("hi", 1))
    question = asks(payer, model, key="k")
    for _ in range(2):
        with pytest.raises(ProviderError):
            await desk.turns.answer(question)
    answer = await desk.turns.answer(question)
    assert (answer.text, answer.replayed) == ("hi", False)
    assert (await desk.turns.answer(question)).replayed
    assert len(model.requests) == 3
    desk.check(payer, spent=5)


async def test_failing_for_ever_has_an_end(desk, payer, monkeypatch):
    monkeypatch.setattr(meter, "ATTEMPTS_MAX", 3)
    question = asks(payer, Scripted((ProviderError("down"),)), key="k")
    for _ in range(3):
        with pytest.raises(ProviderError):
            await desk.turns.answer(question)
    with pytest.raises(ConflictError, match="'k' has failed 3 times"):
        await desk.turns.answer(question)
    desk.check(payer, spent=0)


async def test_a_request_in_progress(desk, payer):
    pause = Pause()
    model = Scripted((pause, "hi", 1))
    question = asks(payer, model, key="k")
    first = asyncio.create_task(desk.turns.answer(question))
    await pause.reached.wait()
    with pytest.raises(RequestInProgress) as refused:
        await desk.turns.answer(question)
    assert refused.value.retryable
    pause.go.set()
    assert (await first).text == "hi"
    assert (await desk.turns.answer(question)).replayed
    desk.check(payer, spent=5)


async def test_the_same_request_fifty_times_at_once(desk, payer):
    model = Scripted(("hi", 1))
    asked = [desk.turns.answer(asks(payer, model, key="k")) for _ in range(50)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    answers = [result for result in results if isinstance(result, Answer)]
    assert all(isinstance(result, Answer | RequestInProgress) for result in results)
    assert [answer.replayed for answer in answers].count(False) == 1
    assert len(model.requests) == 1
    desk.check(payer, spent=5)


async def test_a_try_that_a_crash_left_is_taken_over_at_its_deadline(open_desk):
    """Nobody works on it: the next try settles it for what was delivered, and asks anew."""
    crashed, desk = open_desk(), open_desk()
    payer = await crashed.payer(1_000)
    question = asks(payer, OfflineModel(), key="k")
    call = await crashed.turns.reserve(question)
    await crashed.ledger.progress(payer.session_id, call.key, 5, crashed.meter._hold_lasts)
    with pytest.raises(RequestInProgress):
        await desk.turns.answer(question)
    desk.clock.advance(31)
    answer = await desk.turns.answer(question)
    assert (answer.replayed, answer.cost) == (False, 13)
    assert desk.lines(payer) == [
        "capture 5 interrupted",
        f"exposure {131 - 5} interrupted",
        "capture 13 offline",
    ]
    desk.check(payer, spent=18)


async def test_a_try_that_its_caller_left_is_tried_anew(desk, payer):
    """What was delivered then is paid; the whole answer is another one."""
    question = asks(payer, OfflineModel(), key="k")
    async with aclosing(desk.turns.stream(question)) as events:
        await anext(events)
    answer = await desk.turns.answer(question)
    assert (answer.text, answer.replayed) == ("1 2 3 4 5", False)
    desk.check(payer, spent=5 + 13)


async def test_an_answer_that_its_caller_did_not_wait_for_is_there_for_the_next_try(desk, payer):
    question = asks(payer, Scripted(("hi", 1)), key="k")
    async with aclosing(desk.turns.stream(question)) as events:
        await anext(events)
        await anext(events)
    assert (await desk.turns.answer(question)).replayed
    desk.check(payer, spent=5)


TOOL = Tool("add", "Adds.", {"type": "object", "title": "add"})


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "count to 6"},
        {"limit": 11},
        {"extra": {"seed": 1, "logit_bias": {"c": 2, "e": 3}}},
        {"extra": {}},
        {"tools": ()},
        {"tools": (Tool("add", "Adds.", {"type": "object"}),)},
        {"price": Price.flat("USD", PER_BYTE.unit, 2_000_000, 2_000_000)},
    ],
)
async def test_a_changed_body_is_a_conflict(desk, payer, changed):
    """Spec D3, guarantee 5."""
    body = {"limit": 10, "extra": {"seed": 1, "logit_bias": {"c": 2, "d": 3}}, "tools": (TOOL,)}
    model = Scripted(("hi", 1))
    await desk.turns.answer(asks(payer, model, key="k", **body))
    with pytest.raises(IdempotencyConflict):
        await desk.turns.answer(asks(payer, model, key="k", **body | changed))
    assert len(model.requests) == 1


async def test_another_model_is_a_conflict(desk, payer):
    await desk.turns.answer(asks(payer, OfflineModel(), key="k"))
    with pytest.raises(IdempotencyConflict):
        await desk.turns.answer(asks(payer, OfflineModel(name="other"), key="k"))


async def test_the_order_of_fields_is_no_change(desk, payer):
    model = Scripted(("hi", 1))
    one = {"extra": {"seed": 1, "logit_bias": {"c": 2, "d": 3}}, "tools": (TOOL,)}
    other = {
        "extra": {"logit_bias": {"d": 3, "c": 2}, "seed": 1},
        "tools": (Tool("add", "Adds.", {"title": "add", "type": "object"}),),
    }
    await desk.turns.answer(asks(payer, model, key="k", **one))
    assert (await desk.turns.answer(asks(payer, model, key="k", **other))).replayed


async def test_a_refusal_is_kept(desk):
    """Guarantee 5: the same key gets the same refusal, though there is money by now."""
    payer = await desk.payer(4)
    question = asks(payer, Scripted(("hi", 1)), key="k")
    for _ in range(2):
        with pytest.raises(InsufficientFunds, match="4 available"):
            await desk.turns.answer(question)
        await desk.store.submit(Fund(payer.session_id, payer.owner, "more", b"more", 1_000))
    assert (await desk.turns.answer(replace(question, key="k2"))).cost == 5


async def test_what_is_wrong_with_the_request_is_not_kept(desk, payer):
    with pytest.raises(InvalidRequestError):
        await desk.turns.answer(asks(payer, OfflineModel(), limit=0, key="k"))
    assert not (await desk.turns.answer(asks(payer, OfflineModel(), key="k"))).replayed


@pytest.mark.parametrize("key", ["", "a b", "é", "\n"])
async def test_a_key_that_is_none(desk, payer, key):
    with pytest.raises(InvalidRequestError, match="not a key"):
        await desk.turns.answer(asks(payer, Scripted(("hi", 1)), key=key))


async def test_a_key_that_is_too_long(desk, payer):
    longest = "k" * REQUEST_KEY_LENGTH_MAX
    assert (await desk.turns.answer(asks(payer, Scripted(("hi", 1)), key=longest))).cost == 5
    with pytest.raises(ValueTooLarge):
        await desk.turns.answer(asks(payer, Scripted(("hi", 1)), key=longest + "k"))


async def test_in_a_chat_the_question_counts_and_not_the_history(desk, payer):
    """A retry finds a longer history than the first try did, for its own answer is in it."""
    await desk.chat(payer)
    asked = Message(Role.USER, "count to 2")

    async def ask(*history, chat_no=1, text=asked):
        question = asks(
            payer,
            OfflineModel(),
            messages=(*history, text),
            key="k",
            place=Place(chat_no, len(history) // 2, 2),
            asked=(text,),
        )
        reserved = await desk.turns.reserve(question)
        return [event async for event in desk.turns.run(question, reserved)][-1]

    first = await ask()
    again = await ask(asked, Message(Role.ASSISTANT, "1 2"))
    assert (again.text, again.replayed) == (first.text, True)
    assert desk.said(payer) == ["user: count to 2", "assistant: 1 2"]
    with pytest.raises(IdempotencyConflict):
        await ask(text=Message(Role.USER, "count to 3"))
    await desk.chat(payer)
    with pytest.raises(IdempotencyConflict):
        await ask(chat_no=2)


async def test_the_taker_of_a_lease_gets_a_replay_and_no_other_takers(desk, payer):
    await desk.store.submit(AddToPool(payer.session_id, payer.owner, None, Limits()))
    lease = await desk.store.submit(TakeFromPool("", "bob", "lease_1", 60_000))
    bob = Payer(payer.session_id, "bob", "USD", lease.lease_id)
    question = asks(bob, OfflineModel(), key="k")
    first = await desk.turns.answer(question)
    assert (await desk.turns.answer(question)) == replace(first, replayed=True)
    # The owner's key of the same name is another one, and meets nothing of the taker's (spec M1).
    assert not (await desk.turns.answer(replace(question, payer=payer))).replayed
    desk.check(payer, spent=2 * 13)
