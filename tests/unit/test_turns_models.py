"""Models that break their contract: each its typed error, nothing lost, nothing paid for nothing."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from paying.desk import asks
from paying.models import END, PER_BYTE, Scripted
from prepaid.errors import (
    ApiNotSupported,
    ProviderError,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUsageInvalid,
)
from prepaid.models.offline import count_tokens
from prepaid.models.retrying import RetryingModel
from prepaid.records import Finish, TextDelta, ToolCall, Usage

pytest_plugins = ["paying.fixtures"]


@pytest.fixture
async def payer(desk):
    return await desk.payer(100_000)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ((), ProviderStreamBroken),
        (("half an",), ProviderStreamBroken),
        ((ProviderTimeout("late"),), ProviderTimeout),
        (("half", ProviderTimeout("late")), ProviderTimeout),
        ((KeyError("choices"),), ProviderError),
        (("half", OSError("broken pipe")), ProviderError),
        ((TimeoutError(),), ProviderError),
        ((StopAsyncIteration(),), ProviderError),
        ((None,), ProviderResponseInvalid),
        (("half", {"role": "assistant"}), ProviderResponseInvalid),
        ((TextDelta(None),), ProviderResponseInvalid),
        ((TextDelta(b"bytes"),), ProviderResponseInvalid),
        ((ToolCall(None, "add", "{}"),), ProviderResponseInvalid),
        ((ToolCall("1", "add", {"a": 1}),), ProviderResponseInvalid),
        (("half", Finish("stop", {"input_tokens": 1})), ProviderResponseInvalid),
        ((Finish(None, None),), ProviderResponseInvalid),
        (("half", Finish("stop", Usage(3, -1))), ProviderUsageInvalid),
        ((Finish("stop", Usage(-1, 0)),), ProviderUsageInvalid),
        ((Finish("stop", Usage(3, 10**30)),), ProviderUsageInvalid),
        ((Finish("stop", Usage(3, 1.5)),), ProviderUsageInvalid),
        ((Finish("stop", Usage(3, None)),), ProviderUsageInvalid),
        ((Finish("stop", Usage(3, True)),), ProviderUsageInvalid),
        ((Finish("stop", Usage(3, 1, cache_read_tokens=-1)),), ProviderUsageInvalid),
    ],
)
async def test_a_fault_has_its_error_and_costs_nothing(desk, payer, script, error):
    """Spec C12."""
    model = Scripted(script)
    with pytest.raises(error) as raised:
        await desk.turns.answer(asks(payer, model))
    assert raised.type is error
    assert desk.lines(payer) == (
        ["exposure 5 scripted"]
        if "half" in script
        else ["exposure 7 scripted"]
        if script == ("half an",)
        else []
    )
    desk.check(payer, spent=0)
    assert model.running == 0


async def test_a_refusal_by_the_provider_is_no_loss_of_ours(desk, payer):
    """Nothing was delivered, so nothing is expected on its bill, not even what it asks per request."""
    model = Scripted((ProviderError("no"),), price=replace(PER_BYTE, per_request=7))
    with pytest.raises(ProviderError):
        await desk.turns.answer(asks(payer, model))
    assert desk.lines(payer) == []
    desk.check(payer, spent=0)


async def test_our_loss_is_at_the_price_of_the_model_that_spoke(desk, payer):
    first = Scripted((ProviderError("no"),), price=PER_BYTE)
    second = Scripted(("a b", ProviderError("gone")), name="second")
    with pytest.raises(ProviderError, match="gone"):
        await desk.turns.answer(asks(payer, first, second))
    assert desk.lines(payer) == ["exposure 7 second"]
    desk.check(payer, spent=0)


@pytest.mark.parametrize(
    "script", [(), (ValueError("?"),), (None,), (Finish("stop", Usage(-1, 0)),), (ProviderTimeout("late"),)]
)
async def test_a_fallback_answers_for_any_fault(desk, payer, script):
    """Spec C12."""
    answer = await desk.turns.answer(asks(payer, Scripted(script), Scripted(("hi", 1), name="second")))
    assert (answer.model, answer.cost) == ("second", 5)
    desk.check(payer, spent=5)


async def test_a_fault_that_is_no_providers_says_what_it_was(desk, payer):
    with pytest.raises(ProviderError, match=r"scripted.*KeyError\. ") as raised:
        await desk.turns.answer(asks(payer, Scripted((KeyError("choices"),))))
    assert raised.value.detail == "KeyError: 'choices'"
    assert isinstance(raised.value.__cause__, KeyError)


async def test_our_own_errors_pass_unchanged(desk, payer):
    """A model that finds the request wrong is not a provider that failed: no fallback is asked."""
    lacking = ApiNotSupported("scripted", "seeing", ())
    second = Scripted(("hi", 1), name="second")
    with pytest.raises(ApiNotSupported) as raised:
        await desk.turns.answer(asks(payer, Scripted((lacking,)), second))
    assert raised.value is lacking
    assert second.requests == []
    desk.check(payer, spent=0)


async def test_a_retried_model_that_says_nothing_at_all(desk, payer):
    with pytest.raises(ProviderError):
        await desk.turns.answer(asks(payer, RetryingModel(Scripted(()), 0)))
    desk.check(payer, spent=0)


async def test_nothing_is_heard_after_the_end(desk, payer):
    model = Scripted(("hi", 1, " and more", Finish("stop", Usage(3, 60)), ValueError("never reached")))
    answer = await desk.turns.answer(asks(payer, model))
    assert (answer.text, answer.cost) == ("hi", 5)
    assert model.running == 0
    desk.check(payer, spent=5)


async def test_half_a_surrogate_pair_is_replaced_and_kept(desk, payer):
    """Spec D3: what is answered can be stored, and is the same again."""
    call = ToolCall("1\ud83d", "add\udc00", '{"a":"\ud83d"}')
    question = asks(payer, Scripted(("smile \ud83d", call, END)), key="k")
    answer = await desk.turns.answer(question)
    assert answer.text == "smile \ufffd"
    assert answer.tool_calls == (ToolCall("1\ufffd", "add\ufffd", '{"a":"\ufffd"}'),)
    again = await desk.turns.answer(question)
    assert (again.text, again.tool_calls, again.replayed) == (answer.text, answer.tool_calls, True)


# --- providers that bill what they like ----------------------------------------------------------


async def test_a_bill_above_the_hold_is_captured_at_the_hold(desk, payer):
    """Spec D1: what is above is our loss, and booked."""
    answer = await desk.turns.answer(asks(payer, Scripted(("hi", 500)), limit=10))
    assert (answer.held, answer.cost, answer.shortfall) == (23, 23, 1_003 - 23)
    assert sorted(desk.lines(payer)) == ["capture 23 scripted", "shortfall 980 scripted"]
    desk.check(payer, spent=23)


async def test_a_bill_that_no_ledger_can_hold(desk, payer):
    dear = Scripted(("hi", 10**12), price=PER_BYTE)
    assert (await desk.turns.answer(asks(payer, dear))).shortfall == 0  # bytes are counted by us
    huge = Scripted(("hi", 10**12))
    answer = await desk.turns.answer(asks(payer, huge, limit=1))
    assert (answer.cost, answer.shortfall) == (5, 2 * 10**12 - 2)
    desk.check(payer)


async def test_no_usage_told_is_counted_by_us(desk, payer):
    answer = await desk.turns.answer(asks(payer, Scripted(("one two three", END))))
    assert answer.usage == Usage(3, 3, input_bytes=10, output_bytes=13)
    desk.check(payer, spent=9)


async def test_our_count_never_exceeds_what_is_held(desk, payer):
    answer = await desk.turns.answer(asks(payer, Scripted(("a b c d e f g h", END)), limit=3))
    assert (answer.usage.output_tokens, answer.cost, answer.shortfall) == (3, 9, 0)
    assert answer.text == "a b c d e f g h"  # within what no tokenizer can be sure of
    desk.check(payer, spent=9)


@pytest.mark.parametrize(("piece", "tokens"), [("word ", 20), ("x y ", 20), ("z" * 1_000_000, 18)])
async def test_a_provider_that_ignores_the_limit_is_cut(desk, payer, piece, tokens):
    """Spec D1: after eight characters a token and 128 more, which are 18 of the model's longest tokens."""
    model = Scripted((*[piece] * 1_000, END))
    answer = await desk.turns.answer(asks(payer, model, limit=20))
    assert (answer.finish_reason, answer.usage.output_tokens) == ("length", tokens)
    assert len(answer.text) == 20 * 8 + 128
    assert model.running == 0
    desk.check(payer, spent=3 + 2 * tokens)


async def test_tool_calls_beyond_the_limit_are_cut_too(desk, payer):
    call = ToolCall("1", "add", '{"a": [' + "1," * 100 + "1]}")
    answer = await desk.turns.answer(asks(payer, Scripted((*[call] * 50, END)), limit=10))
    assert (answer.finish_reason, answer.tool_calls) == ("length", ())
    answer = await desk.turns.answer(asks(payer, Scripted(("a", *[call] * 50, END)), limit=100))
    assert answer.finish_reason == "length"
    assert 0 < len(answer.tool_calls) < 5
    desk.check(payer)


async def test_long_tokens_are_not_cut(desk, payer):
    """A provider that keeps to the limit is believed, however long its tokens are."""
    words = [f" {'w' * 16}" for _ in range(50)]
    assert count_tokens("".join(words)) == 50
    model = Scripted((*words, ToolCall("1", "a" * 16, "{"), 60))
    answer = await desk.turns.answer(asks(payer, model, limit=60))
    assert (answer.text, len(answer.tool_calls), answer.finish_reason) == ("".join(words), 1, "stop")
    desk.check(payer, spent=3 + 120)


async def test_a_long_answer_is_counted_in_little_time(desk, payer):
    """Thirty thousand deltas, each told to the heartbeat: what is measured stays linear."""

    class Counting(Scripted):
        measured = 0

        def estimate_tokens(self, text):
            self.measured += len(text)
            return super().estimate_tokens(text)

    model = Counting((*["x "] * 30_000, END))
    answer = await desk.turns.answer(asks(payer, model, limit=30_000))
    assert len(answer.text) == 60_000
    assert model.measured < 12 * 60_000
    desk.check(payer)


async def test_a_model_is_closed_wherever_its_reader_stops(desk, payer):
    model = Scripted(("a", "b", "c", 3))
    async with aclosing(desk.turns.stream(asks(payer, model))) as events:
        await anext(events)
        assert model.running == 1
    assert model.running == 0
    await asyncio.sleep(0)
    desk.check(payer, spent=5)
