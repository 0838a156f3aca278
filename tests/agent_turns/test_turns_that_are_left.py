"""A caller who leaves pays for what was delivered, and never leaves half of a tool's use behind."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from itertools import count

import pytest

from managers import Clock
from prepaid.errors import ConflictError, HoldResolved
from prepaid.models.offline import OfflineModel
from prepaid.records import Message, Role, TextDelta, ToolCall
from prepaid.store.operations import ClearMessages, PlaceTaken

from .desk import Desk, add
from .test_conversion import assert_whole

USES_ADD = ToolCall("a", "add", '{"a":2,"b":3}')


async def leave_after(agent, question, deltas):
    async with aclosing(agent.stream(question)) as events:
        async for event in events:
            deltas -= isinstance(event, TextDelta)
            if not deltas:
                break


async def test_leaving_in_the_text_pays_and_keeps_what_was_delivered(desk):
    await leave_after(desk.agent(), desk.question("count to 50"), 3)
    assert desk.messages == (Message(Role.USER, "count to 50"), Message(Role.ASSISTANT, "1 2 3"))
    (line,) = [line for line in desk.store.reads.transfers("ses_1") if line.kind == "capture"]
    assert (line.input_units, line.output_units) == (3, 3)


async def test_leaving_in_the_answer_to_a_tool_keeps_the_tools_use_whole(desk):
    await leave_after(desk.agent(tools=[add]), desk.question("use add with 2 and 3"), 2)
    assert [message.role.value for message in desk.messages] == ["user", "assistant", "tool", "assistant"]
    assert desk.messages[-1].text == "Offline model"
    assert len(desk.captures) == 2
    assert desk.chat.turn_count == 1


async def test_leaving_at_a_tool_call_pays_for_it_and_keeps_nothing(desk):
    async with aclosing(desk.agent(tools=[add]).stream(desk.question("use add with 2 and 3"))) as events:
        assert isinstance(await anext(events), ToolCall)
    assert len(desk.captures) == 1
    assert (desk.messages, desk.chat.open_turn, desk.chat.turn_count) == ((), None, 0)


async def test_leaving_before_anything_came_costs_nothing(desk):
    stream = desk.agent().stream(desk.question("count to 50", OfflineModel(delay_seconds=60)))
    asking = asyncio.create_task(anext(stream))
    await desk.until_held()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await desk.until_released()
    assert (desk.spent, desk.chat.open_turn) == (0, None)


@pytest.mark.parametrize("word", ["", "Let me see."])
async def test_leaving_while_a_tool_works(desk, word):
    """The call is paid; its text is kept, the call without a result is not."""
    working = asyncio.Event()

    async def slow() -> str:
        """Slow."""
        working.set()
        await asyncio.sleep(60)
        return "never"

    parts = (word, ToolCall("s", "slow", "{}")) if word else ToolCall("s", "slow", "{}")

    async def asked():
        return await desk.ask(desk.agent(tools=[slow]), "go", OfflineModel(script=[parts]))

    asking = asyncio.create_task(asked())
    await working.wait()
    assert desk.account.held > 0
    (running,) = desk.meter.running
    assert running.usage.output_tokens > 0
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert desk.account.held == 0
    assert len(desk.captures) == 1
    kept = (Message(Role.USER, "go"), Message(Role.ASSISTANT, word)) if word else ()
    assert desk.messages == kept


async def test_a_stream_that_was_never_begun_costs_nothing(desk):
    async with aclosing(desk.agent().stream(desk.question("count to 50"))):
        pass
    assert desk.spent == 0


async def test_the_chats_place_stays_reserved_while_tools_work(desk):
    """Between two calls of one turn nobody else gets the place (spec C5)."""
    states = []

    def look() -> str:
        """Look."""
        states.append(desk.chat.open_turn)
        return "seen"

    script = [ToolCall(str(n), "look", "{}") for n in range(3)]
    await desk.ask(desk.agent(tools=[look]), "go", OfflineModel(script=script))
    assert len(set(states)) == 3
    assert None not in states
    assert desk.waits == []


async def test_turns_sent_at_once_are_answered_one_after_the_other(desk):
    """Spec C5: whole turns, each with its own question, tools and answer."""
    agent = desk.agent(tools=[add])
    await asyncio.gather(*(desk.ask(agent, f"use add with {n} and 1") for n in range(6)))
    assert desk.chat.turn_count == 6
    assert desk.waits
    turns = [desk.messages[at : at + 4] for at in range(0, 24, 4)]
    for question, call, result, answer in turns:
        number = int(question.text.split()[3])
        assert call.tool_calls[0].id == result.tool_call_id
        assert result.text == str(number + 1)
        assert answer.text == f"Offline model: add says: {number + 1}"


async def test_a_place_lost_between_two_calls_is_waited_for(desk):
    """Only where a batch ends between them; the turn is saved behind the one that came between."""
    reserve, asked = desk.turns.reserve, []

    async def losing(question):
        asked.append(question.place)
        if len(asked) == 2:
            return PlaceTaken(None, None)
        return await reserve(question)

    desk.turns.reserve = losing
    answer = await desk.ask(desk.agent(tools=[add]), "use add with 2 and 3")
    assert answer.text == "Offline model: add says: 5"
    assert [place.messages for place in asked] == [2, 4, 4]
    assert len(desk.waits) == 1
    assert len(desk.messages) == 4


async def test_two_processes_on_one_chat(tmp_path):
    """Spec C5: a turn with tools holds the place against another process's turns."""
    one = await Desk(tmp_path / "ledger.db").open()
    other = Desk(tmp_path / "ledger.db")
    texts = [f"use add with {n} and 1" for n in range(8)]
    desks = [one, other] * 4
    await asyncio.gather(
        *(desk.ask(desk.agent(tools=[add]), text) for desk, text in zip(desks, texts, strict=True))
    )
    assert one.chat.turn_count == 8
    assert [message.role.value for message in one.messages] == ["user", "assistant", "tool", "assistant"] * 8
    assert one.account.held == 0
    await other.meter.aclose()
    await other.store.aclose()
    await one.aclose()


async def beat(desk):
    """Until the heart has told the ledger that the one call that runs is alive at this time."""
    (running,) = desk.meter.running
    while running.expires_ms < desk.store.clock() + 300:  # noqa: ASYNC110 -- the heart tells nobody else
        await asyncio.sleep(0.01)


async def test_a_tool_that_takes_longer_than_a_hold_keeps_its_place(tmp_path):
    """The heart goes on beating for a call that was answered and not settled yet."""
    clock = Clock()
    desk = await Desk(tmp_path / "ledger.db", hold_seconds=0.3, clock=clock).open()
    swept = []

    async def slow() -> str:
        """Slow: as long as four holds."""
        for _ in range(6):
            clock.advance(0.2)
            swept.extend(await desk.ledger.reconcile())
            await beat(desk)
        return "done"

    answer = await desk.ask(desk.agent(tools=[slow]), "use slow")
    assert (answer.text, swept) == ("Offline model: slow says: done", [])
    await desk.aclose()


async def test_a_crash_while_a_tool_works_charges_what_was_answered(tmp_path):
    """The ledger was told by the heartbeat; the sweep of another process settles it, the chat is free."""
    clock = Clock()
    desk = await Desk(tmp_path / "ledger.db", hold_seconds=0.3, clock=clock).open()
    told = asyncio.Event()

    async def slow() -> str:
        """Slow."""
        clock.advance(0.1)
        await beat(desk)
        desk.meter._heart.cancel()
        told.set()
        await asyncio.sleep(60)
        return "never"

    asking = asyncio.create_task(desk.ask(desk.agent(tools=[slow]), "use slow"))
    await told.wait()
    (running,) = desk.meter.running
    expected = running.delivered
    clock.advance(0.5)
    (settled,) = await desk.ledger.reconcile()
    assert settled.captured == expected == desk.spent > 0
    assert (desk.chat.open_turn, desk.messages) == (None, ())
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert desk.spent == expected
    await desk.aclose()


async def test_a_place_lost_with_nobody_to_reopen_it_is_a_conflict(desk):
    reserve, asked = desk.turns.reserve, []

    async def losing(question):
        asked.append(question)
        return PlaceTaken(None, None) if len(asked) == 2 else await reserve(question)

    desk.turns.reserve = losing
    question = replace(desk.question("use add with 2 and 3"), reopen=None)
    with pytest.raises(ConflictError):
        await leave_after(desk.agent(tools=[add]), question, 99)
    assert (len(desk.captures), desk.messages) == (1, ())


async def test_a_call_that_somebody_else_settled_leaves_no_hold_behind(desk):
    async def meddle() -> str:
        """Meddle."""
        (running,) = desk.meter.running
        await desk.ledger.capture("ses_1", running.key, 1)
        return "done"

    with pytest.raises(HoldResolved):
        await desk.ask(desk.agent(tools=[meddle]), "use meddle")
    assert (desk.captures, desk.account.held, desk.chat.open_turn) == ([1], 0, None)


@pytest.mark.parametrize("keyed", [False, True])
async def test_leaving_at_any_moment_leaves_nothing_held(desk, keyed):
    """Every step of the loop is a moment; what was delivered by then is paid, and only that."""
    agent = desk.agent(tools=[add])
    for steps in count(0, 11):
        asking = asyncio.create_task(
            desk.ask(
                agent, "use add with 2 and 3", opening=desk.opening(), key=f"k{steps}" if keyed else None
            )
        )
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        assert (desk.account.held, desk.chat.open_turn, list(desk.meter.running)) == (0, None, []), steps
        assert_whole(desk.messages)
        assert desk.messages == () or desk.messages[-1].role is Role.ASSISTANT
        await desk.store.submit(ClearMessages("ses_1", "ann", 1))
        if not asking.cancelled():
            break
    assert (await asking).text == "Offline model: add says: 5"
