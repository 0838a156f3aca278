"""Callers that leave, at any moment and in any way: what they were given is paid, and nothing is held."""

import asyncio
import gc
from contextlib import aclosing, suppress
from datetime import timedelta

import pytest

from paying.desk import asks
from paying.leaving import cancelled_at, listened
from paying.models import END, PER_BYTE, Pause, Scripted
from prepaid.errors import HoldResolved, ProviderError, StoreBusy, StoreFull
from prepaid.models.offline import OfflineModel
from prepaid.records import Message, Role, ToolCall
from prepaid.store.operations import Hold, Release, Settle
from prepaid.turns import Answer

pytest_plugins = ["paying.fixtures"]

AWAITS_MAX = 40


class Suspending(Scripted):
    """Gives control to the loop before each piece, so that there is an await to be cancelled at."""

    async def stream(self, request):
        async with aclosing(super().stream(request)) as events:
            async for event in events:
                await asyncio.sleep(0)
                yield event


def delivered_cost(heard):
    """What our own count makes of what was heard: three tokens in, each piece one token out."""
    return 3 + 2 * len(heard) if heard else 0


@pytest.mark.parametrize("key", [None, "k"])
async def test_cancelled_at_every_await(desk, key):
    """Spec D1: cancelled there and, at the second round, at each await after it too, as anyio's scopes do."""
    for again in (0, AWAITS_MAX):
        for number in range(AWAITS_MAX):
            payer = await desk.payer(1_000)
            heard = []
            question = asks(payer, Suspending(("a", " b", " c", 50)), key=key)
            awaits = range(number, number + again + 1)
            left = asyncio.create_task(
                asyncio.wait_for(cancelled_at(listened(desk, question, heard), *awaits), None)
            )
            with suppress(asyncio.CancelledError):
                await left
            account = desk.check(payer)
            if heard and isinstance(heard[-1], Answer):
                assert account.spent == heard[-1].cost == 103
            else:
                assert left.cancelled()
                assert account.spent in (
                    {delivered_cost(heard), 103} if len(heard) == 3 else {delivered_cost(heard)}
                )
            assert not desk.meter.running
    assert isinstance(heard[-1], Answer), "there are more awaits than were tried"


async def test_leaving_while_the_hold_is_queued(desk):
    payer = await desk.payer(1_000)
    model = Scripted(("hi", 1))
    asking = asyncio.create_task(desk.turns.answer(asks(payer, model)))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert model.requests == []
    desk.check(payer, spent=0)


async def test_leaving_while_the_refusal_is_queued(desk):
    payer = await desk.payer(1)
    asking = asyncio.create_task(desk.turns.answer(asks(payer, Scripted(("hi", 1)))))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    desk.check(payer, spent=0)


async def test_leaving_takes_nothing_from_another_request_with_the_key(desk):
    """Spec D3: else asking twice and leaving once would make any answer free."""
    payer = await desk.payer(1_000)
    pause = Pause()
    question = asks(payer, Scripted(("one", pause, " two", END)), key="k")
    first = asyncio.create_task(desk.turns.answer(question))
    await pause.reached.wait()
    second = asyncio.create_task(desk.turns.answer(question))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    pause.go.set()
    assert (await first).cost == 7
    desk.check(payer, spent=7)


async def test_leaving_before_anything_came_costs_nothing(desk):
    payer = await desk.payer(1_000)
    pause = Pause()
    model = Scripted((pause, "late", END))
    asking = asyncio.create_task(desk.turns.answer(asks(payer, model)))
    await pause.reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (model.running, desk.lines(payer)) == (0, [])
    desk.check(payer, spent=0)


async def test_leaving_a_stream_pays_what_was_delivered(desk):
    """No usage was told, so it is counted: never zero, never the whole hold."""
    payer = await desk.payer(1_000)
    async with aclosing(desk.turns.stream(asks(payer, OfflineModel()))) as events:
        assert [(await anext(events)).text for _ in range(2)] == ["1", " 2"]
    assert desk.lines(payer) == ["capture 7 offline"]
    desk.check(payer, spent=7)


async def test_leaving_a_stream_of_bytes_pays_them_exactly(desk):
    payer = await desk.payer(1_000)
    async with aclosing(desk.turns.stream(asks(payer, Scripted(("é", "x", END), price=PER_BYTE)))) as events:
        await anext(events)
    desk.check(payer, spent=10 + 4)


async def test_leaving_after_a_tool_call_pays_for_it(desk):
    payer = await desk.payer(1_000)
    model = Scripted((ToolCall("1", "add", '{"a":2}'), "x", END))
    async with aclosing(desk.turns.stream(asks(payer, model))) as events:
        await anext(events)
    desk.check(payer, spent=3 + 2 * 8)


async def test_leaving_after_the_answer_changes_nothing(desk):
    """What was settled as the provider said stays so, whatever our own count."""
    payer = await desk.payer(1_000)
    async with aclosing(desk.turns.stream(asks(payer, Scripted(("a", 50)), key="k"))) as events:
        assert isinstance([await anext(events), await anext(events)][1], Answer)
    assert desk.lines(payer) == ["capture 103 scripted"]
    desk.check(payer, spent=103)


@pytest.mark.parametrize("leaves_early", [False, True])
async def test_a_turn_is_two_operations_however_it_ends(desk, monkeypatch, leaves_early):
    """One to hold, one to settle: nothing is settled again when its generator is closed."""
    payer = await desk.payer(1_000)
    submit, kinds = desk.store.submit, []

    def submitted(operation):
        kinds.append(type(operation))
        return submit(operation)

    monkeypatch.setattr(desk.store, "submit", submitted)
    async with aclosing(desk.turns.stream(asks(payer, Scripted(("a", 50))))) as events:
        async for event in events:
            if leaves_early or isinstance(event, Answer):
                break
    assert kinds == [Hold, Settle]


class Innumerate(Scripted):
    """Cannot count what it says."""

    def estimate_tokens(self, text):
        raise ZeroDivisionError(text)


async def test_a_model_that_cannot_count_holds_nothing_for_long(desk):
    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
    payer = await desk.payer(1_000)
    with pytest.raises(ZeroDivisionError):
        await desk.turns.answer(asks(payer, Innumerate(("a", END))))
    desk.check(payer, spent=0)
    async with aclosing(desk.turns.stream(asks(payer, Innumerate(("a", "b", END))))) as events:
        await anext(events)
    assert desk.account(payer).held == 131
    desk.clock.advance(31)
    await desk.ledger.reconcile()
    desk.check(payer, spent=0)
    assert [type(error) for error in seen] == [ZeroDivisionError]


async def test_a_fallback_that_is_left_is_paid_at_its_own_price(desk):
    payer = await desk.payer(10_000)
    first = Scripted((ProviderError("down"),), price=PER_BYTE)
    async with aclosing(
        desk.turns.stream(asks(payer, first, Scripted(("a", "b", END), name="second")))
    ) as events:
        await anext(events)
    assert desk.lines(payer) == ["capture 5 second"]


async def test_a_dropped_generator_is_settled(desk):
    payer = await desk.payer(1_000)
    events = desk.turns.stream(asks(payer, Scripted(("a", "b", END))))
    await anext(events)
    del events
    gc.collect()
    await asyncio.sleep(0)  # the loop closes it in a task of its own
    await asyncio.sleep(0)
    assert not desk.meter.running
    await desk.ledger.fund(payer.session_id, payer.owner, 1)  # queued behind what that did
    desk.check(payer, spent=5)


async def test_a_call_that_is_dropped_before_it_began_runs_out(open_desk):
    """Nobody is left to settle it, so nothing keeps it alive either; the sweep gives it back."""
    desk = open_desk()
    payer = await desk.payer(1_000)
    question = asks(payer, Scripted(("a", END)))
    events = desk.turns.run(question, await desk.turns.reserve(question))
    assert len(desk.meter.running) == 1
    await events.aclose()
    del events
    gc.collect()
    assert len(desk.meter.running) == 0
    desk.clock.advance(31)
    await desk.ledger.reconcile()
    desk.check(payer, spent=0)


async def test_leaving_a_chat_saves_what_was_said(desk):
    payer = await desk.payer(1_000)
    await desk.chat(payer)
    asked = Message(Role.USER, "count to 5")
    question = asks(payer, OfflineModel(), place=desk.place(payer), asked=(asked,))
    async with aclosing(desk.turns.run(question, await desk.turns.reserve(question))) as events:
        await anext(events)
        await anext(events)
    assert desk.said(payer) == ["user: count to 5", "assistant: 1 2"]
    desk.check(payer, spent=7)


async def test_leaving_a_chat_before_anything_came_leaves_no_question(desk):
    payer = await desk.payer(1_000)
    await desk.chat(payer)
    pause = Pause()
    question = asks(payer, Scripted((pause, END)), place=desk.place(payer), asked=(Message(Role.USER, "?"),))
    reserved = await desk.turns.reserve(question)
    asking = asyncio.create_task(anext(desk.turns.run(question, reserved)))
    await pause.reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert desk.said(payer) == []
    assert desk.store.reads.chat(payer.session_id, 1).open_turn is None
    desk.check(payer, spent=0)


# --- a store that fails at the end ---------------------------------------------------------------


class Failing:
    """A store's ``submit`` that fails for operations of these kinds, at once or through the future."""

    def __init__(self, store, error, *kinds, at_once=False) -> None:
        self._submit = store.submit
        self._error, self._kinds, self._at_once = error, kinds, at_once

    def __call__(self, operation):
        if not isinstance(operation, self._kinds):
            return self._submit(operation)
        if self._at_once:
            raise self._error
        future = asyncio.get_running_loop().create_future()
        future.set_exception(self._error)
        return future


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_settlement_that_fails_gives_the_hold_back(desk, monkeypatch, at_once):
    """The request failed, so it costs nothing; what the provider may bill is booked."""
    payer = await desk.payer(1_000)
    monkeypatch.setattr(desk.store, "submit", Failing(desk.store, StoreFull("full"), Settle, at_once=at_once))
    with pytest.raises(StoreFull):
        await desk.turns.answer(asks(payer, Scripted(("a", END))))
    assert desk.lines(payer) == ["exposure 5 scripted"]
    desk.check(payer, spent=0)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_store_that_fails_altogether_leaves_the_hold_to_the_sweep(desk, monkeypatch, at_once):
    payer = await desk.payer(1_000)
    with monkeypatch.context() as failing:
        failing.setattr(
            desk.store, "submit", Failing(desk.store, StoreBusy("busy"), Settle, Release, at_once=at_once)
        )
        with pytest.raises(StoreBusy) as raised:
            await desk.turns.answer(asks(payer, Scripted(("a", END))))
    assert raised.value.__notes__ == ["Its hold is left to the sweep: StoreBusy('busy Retry in a moment.')"]
    assert desk.account(payer).held == 131
    desk.clock.advance(31)
    await desk.ledger.reconcile()
    desk.check(payer, spent=0)


async def test_a_failure_is_told_though_its_hold_could_not_be_released(desk, monkeypatch):
    payer = await desk.payer(1_000)
    with monkeypatch.context() as failing:
        failing.setattr(desk.store, "submit", Failing(desk.store, StoreBusy("busy"), Release))
        with pytest.raises(ProviderError, match="down") as raised:
            await desk.turns.answer(asks(payer, Scripted((ProviderError("down"),))))
    assert "left to the sweep" in raised.value.__notes__[0]
    desk.clock.advance(31)
    await desk.ledger.reconcile()
    desk.check(payer, spent=0)


async def test_a_cancellation_stays_one_though_nothing_could_be_settled(desk, monkeypatch):
    payer = await desk.payer(1_000)
    pause = Pause()
    asking = asyncio.create_task(desk.turns.answer(asks(payer, Scripted(("a", pause, END)))))
    await pause.reached.wait()
    with monkeypatch.context() as failing:
        failing.setattr(desk.store, "submit", Failing(desk.store, StoreBusy("busy"), Settle, Release))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    desk.clock.advance(31)
    await desk.ledger.reconcile()
    desk.check(payer, spent=0)


async def test_a_sweep_that_came_first(desk):
    """This process stood still for longer than its hold lasts: what the sweep did stays done."""
    payer = await desk.payer(1_000)
    pause = Pause()
    asking = asyncio.create_task(desk.turns.answer(asks(payer, Scripted(("a", pause, END)))))
    await pause.reached.wait()
    desk.clock.advance(timedelta(seconds=31).total_seconds())
    await desk.ledger.reconcile()
    pause.go.set()
    with pytest.raises(HoldResolved):
        await asking
    desk.check(payer, spent=0)


async def test_a_sweep_that_came_before_leaving(desk):
    payer = await desk.payer(1_000)
    async with aclosing(desk.turns.stream(asks(payer, Scripted(("a", "b", END))))) as events:
        await anext(events)
        desk.clock.advance(31)
        await desk.ledger.reconcile()
    desk.check(payer, spent=0)


@pytest.mark.parametrize("thrown", [KeyboardInterrupt, ValueError])
async def test_throwing_into_a_stream_is_leaving_it(desk, thrown):
    payer = await desk.payer(1_000)
    events = desk.turns.stream(asks(payer, Scripted(("a", "b", END))))
    await anext(events)
    with pytest.raises(thrown):
        await events.athrow(thrown())
    assert desk.lines(payer) == ["capture 5 scripted"]
    desk.check(payer, spent=5)


async def test_an_interrupt_inside_the_model_is_leaving_too(desk):
    payer = await desk.payer(1_000)
    with pytest.raises(KeyboardInterrupt):
        await anext(desk.turns.run(*await reserved(desk, asks(payer, Scripted((KeyboardInterrupt(),))))))
    desk.check(payer, spent=0)
    events = desk.turns.run(*await reserved(desk, asks(payer, Scripted(("a", KeyboardInterrupt())))))
    await anext(events)
    with pytest.raises(KeyboardInterrupt):
        await anext(events)
    desk.check(payer, spent=5)


async def reserved(desk, question):
    return question, await desk.turns.reserve(question)
