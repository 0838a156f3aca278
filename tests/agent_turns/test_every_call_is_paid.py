"""Spec C16, D1, as a property: whatever the models say, what was spent is what the calls cost."""

import asyncio
import itertools
import tempfile
from contextlib import aclosing
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_ai import ModelRetry

from prepaid import pricing
from prepaid.errors import InsufficientFunds, LimitReached, ProviderError, ProviderStreamBroken
from prepaid.models.offline import OfflineModel
from prepaid.records import Finish, Message, Role, TextDelta, ToolCall, Unit, Usage

from .desk import Desk, add, priced
from .test_conversion import assert_whole

call_ids = itertools.count()


def picky(word: str) -> str:
    """Says what it wants."""
    if word != "please":
        raise ModelRetry("Say please.")
    return "thanks"


def breaks() -> str:
    """Breaks."""
    raise ZeroDivisionError


calls = st.sampled_from(
    [
        ("add", '{"a":2,"b":3}'),
        ("add", '{"a":'),
        ("picky", '{"word":"please"}'),
        ("picky", '{"word":"now"}'),
        ("unknown", "{}"),
        ("breaks", "{}"),
        ("add", '{"a":1,"b":1}'),
    ]
).map(lambda named: ToolCall(f"c{next(call_ids)}", *named))
texts = st.sampled_from(["Yes.", "Let me see, this takes a while.", "…", "x " * 40])
ends = st.sampled_from(
    [
        ProviderError("down"),
        ProviderStreamBroken("gone"),
        Finish("stop", None),
        Finish("length", None),
        Usage(3, 2),
        Usage(500, 90, 200, 100),
        Usage(10_000_000, 0),
    ]
)
replies = st.tuples(st.lists(texts, max_size=2), st.lists(calls, max_size=2), st.lists(ends, max_size=1)).map(
    lambda parts: (*parts[0], *parts[1], *parts[2])
)
models = st.builds(
    lambda script, rates, unit, per_request: OfflineModel(
        price=priced(*rates, unit), script=script, name=f"m{per_request}"
    ),
    st.lists(replies, max_size=5),
    st.sampled_from([(1_000_000, 2_000_000), (0, 1), (3_333_333, 7), (0, 0)]),
    st.sampled_from(list(Unit)),
    st.integers(0, 1),
)
turns = st.tuples(st.lists(models, min_size=1, max_size=2), st.sampled_from([None, None, 1, 3, 8]))


async def one_turn(desk, agent, asked, leave_after):
    answer = None
    async with aclosing(agent.stream(desk.question("use picky with 'please'", *asked))) as events:
        async for event in events:
            answer = event
            if leave_after is not None and isinstance(event, TextDelta):
                leave_after -= 1
                if not leave_after:
                    break
    return answer


async def story(amount, told):
    with tempfile.TemporaryDirectory() as directory:
        desk = await Desk(Path(directory) / "ledger.db").open(amount)
        agent = desk.agent(tools=[add, picky, breaks], model_calls_max=6)
        for asked, leave_after in told:
            before, spent = len(desk.captures), desk.spent
            try:
                answer = await one_turn(desk, agent, asked, leave_after)
            except (InsufficientFunds, LimitReached, ProviderError, ZeroDivisionError):
                pass
            else:
                if getattr(answer, "model_calls", 0):
                    assert answer.cost == desk.spent - spent
                    assert len(desk.captures) - before <= answer.model_calls <= 6
                    assert answer.available == desk.account.available
        check(desk, amount)
        await desk.aclose()


def check(desk, amount):
    lines = [line for line in desk.store.reads.transfers("ses_1") if line.kind == "capture"]
    account = desk.account
    assert account.spent == sum(line.amount for line in lines) == desk.chat.spent
    assert (account.held, account.available) == (0, amount - account.spent)
    assert desk.chat.open_turn is None
    assert not list(desk.meter.running)
    messages = desk.messages
    assert_whole(messages)
    questions = [message for message in messages if message.role is Role.USER]
    assert len(questions) == desk.chat.turn_count
    if messages:
        assert messages[0].role is Role.USER
        assert messages[-1].role is Role.ASSISTANT
        assert not messages[-1].tool_calls


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([50, 700, 5_000, 10_000_000]), st.lists(turns, min_size=1, max_size=3))
def test_what_was_spent_is_what_the_calls_cost(amount, told):
    asyncio.run(story(amount, told))


async def test_each_line_is_the_price_of_its_call(desk):
    """By the price pinned in the quote, tier and all, from the usage that the model told."""
    used = [Usage(100, 7, 20, 10), Usage(250, 90)]
    model = OfflineModel(
        price=priced(3_333_333, 7_777_777),
        script=[(ToolCall("a", "add", '{"a":1,"b":1}'), used[0]), ("Two.", used[1])],
    )
    answer = await desk.ask(desk.agent(tools=[add]), "go", model)
    assert desk.captures == [pricing.cost(model.info.price, usage) for usage in used]
    assert answer.usage.input_tokens == 350
    assert answer.usage.cache_read_tokens == 20
    assert desk.messages[-1] == Message(Role.ASSISTANT, "Two.")
