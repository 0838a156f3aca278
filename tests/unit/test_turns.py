"""One question, paid and answered: what is held, what is told to the model, what is captured, what is said."""

from contextlib import aclosing
from dataclasses import replace

import pytest

from paying.desk import asks
from paying.models import END, PER_BYTE, Scripted
from prepaid.errors import (
    ApiNotSupported,
    CurrencyMismatch,
    InsufficientFunds,
    InvalidRequestError,
    ProviderError,
    SessionNotFound,
    ValueTooLarge,
)
from prepaid.meter import PaidCall, Payer
from prepaid.models.offline import OfflineModel
from prepaid.records import Finish, Message, Price, Role, Tool, ToolCall, Unit, Usage
from prepaid.store.operations import Settled
from prepaid.turns import OUTPUT_TOKENS_MAX

pytest_plugins = ["paying.fixtures"]

ADD = Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})


async def events_of(desk, question):
    return [event async for event in desk.turns.stream(question)]


async def test_an_answer_costs_what_it_used(desk):
    """Spec D1: three tokens in at 1, five out at 2, of a hold for three in and 64 out."""
    payer = await desk.payer(1_000)
    answer = await desk.turns.answer(asks(payer, OfflineModel()))
    assert (answer.text, answer.finish_reason, answer.model) == ("1 2 3 4 5", "stop", "offline")
    assert (answer.held, answer.cost, answer.available, answer.shortfall) == (3 + 128, 13, 987, 0)
    assert (answer.output_limit, answer.is_lowered, answer.replayed) == (64, False, False)
    assert desk.lines(payer) == ["capture 13 offline"]
    desk.check(payer, spent=13)


async def test_a_stream_ends_with_its_answer_settled(desk):
    payer = await desk.payer(1_000)
    seen = []
    async for event in desk.turns.stream(asks(payer, OfflineModel())):
        seen.append(event)
        assert desk.account(payer).spent == (13 if len(seen) == 6 else 0)
    assert "".join(event.text for event in seen[:-1]) == seen[-1].text
    desk.check(payer, spent=13)


async def test_the_limit_asked_for_is_held_and_told(desk):
    payer = await desk.payer(1_000)
    model = Scripted(("one two", 2))
    answer = await desk.turns.answer(asks(payer, model, limit=10))
    assert model.requests[0].output_tokens_max == answer.output_limit == 10
    assert answer.held == 3 + 20
    assert answer.usage == Usage(3, 2, input_bytes=10, output_bytes=7)


async def test_a_limit_above_the_models_own_is_lowered_to_that(desk):
    payer = await desk.payer(1_000)
    model = Scripted(("hi", 1), output_max=7)
    answer = await desk.turns.answer(asks(payer, model, limit=OUTPUT_TOKENS_MAX))
    assert (model.requests[0].output_tokens_max, answer.held, answer.is_lowered) == (7, 17, False)


async def test_the_limit_is_lowered_to_what_the_balance_can_pay(desk):
    """Spec D1: 12 pay three tokens in and four out."""
    payer = await desk.payer(12)
    answer = await desk.turns.answer(asks(payer, OfflineModel(), text="count to 9"))
    assert (answer.text, answer.finish_reason) == ("1 2 3 4", "length")
    assert (answer.output_limit, answer.is_lowered, answer.held, answer.cost) == (4, True, 12, 11)
    desk.check(payer, spent=11)


async def test_what_cannot_pay_the_input_and_one_token_is_refused(desk):
    """Spec A9: with the numbers in it."""
    payer = await desk.payer(4)
    model = Scripted(("hi", 1))
    with pytest.raises(InsufficientFunds) as refused:
        await desk.turns.answer(asks(payer, model))
    assert (refused.value.needed, refused.value.available) == (5, 4)
    assert model.requests == []
    desk.check(payer, spent=0)


async def test_a_session_that_is_not_there(desk):
    model = Scripted(("hi", 1))
    with pytest.raises(SessionNotFound):
        await desk.turns.answer(asks(Payer("ses_none", "ann", "USD"), model))
    assert model.requests == []


async def test_a_free_model_needs_no_money(desk):
    payer = await desk.payer(1)
    model = OfflineModel(price=Price.flat("USD", Unit.TOKEN, 0, 0))
    answer = await desk.turns.answer(asks(payer, model))
    assert (answer.held, answer.cost, answer.is_lowered) == (0, 0, False)
    desk.check(payer, spent=0)


async def test_an_empty_answer_costs_its_input(desk):
    payer = await desk.payer(1_000)
    (answer,) = await events_of(desk, asks(payer, Scripted(("", 0))))
    assert (answer.text, answer.finish_reason, answer.cost) == ("", "stop", 3)
    desk.check(payer, spent=3)


async def test_tool_calls_are_passed_on_and_counted(desk):
    payer = await desk.payer(1_000)
    call = ToolCall("c1", "add", '{"a":2}')
    seen = await events_of(desk, asks(payer, Scripted((call, END)), tools=(ADD,)))
    assert seen[0] == call
    assert seen[1].tool_calls == (call,)
    # add { " a " : 2 } are eight tokens, and our own estimate of the input counts the tool's definition.
    assert seen[1].usage.output_tokens == 8
    assert seen[1].usage.output_bytes == len('add{"a":2}')
    desk.check(payer, spent=seen[1].cost)


async def test_a_conversation_with_tools_is_estimated_whole(desk):
    """The offline model knows its input exactly; an estimate for a provider that tells none gets the same."""
    payer = await desk.payer(10_000)
    call = ToolCall("c1", "add", '{"a":2}')
    messages = (
        Message(Role.SYSTEM, "Be kind."),
        Message(Role.USER, "add 2"),
        Message(Role.ASSISTANT, "", (call,)),
        Message(Role.TOOL, "4", tool_call_id="c1"),
    )
    told = await desk.turns.answer(asks(payer, OfflineModel(), messages=messages, tools=(ADD,)))
    silent = OfflineModel(script=[("Offline model: add says: 4", END)])
    counted = await desk.turns.answer(asks(payer, silent, messages=messages, tools=(ADD,)))
    assert (counted.text, counted.usage, counted.cost) == (told.text, told.usage, told.cost)


# --- what is refused before any money moves ------------------------------------------------------


@pytest.mark.parametrize("limit", [0, -1, -(10**30), OUTPUT_TOKENS_MAX + 1, 10**30, True, 1.5, "10"])
async def test_an_output_limit_that_cannot_be(desk, limit):
    payer = await desk.payer(1_000)
    model = Scripted(("hi", 1))
    with pytest.raises(InvalidRequestError, match=f"1 to {OUTPUT_TOKENS_MAX}"):
        await desk.turns.answer(asks(payer, model, limit=limit, key="k"))
    assert model.requests == []
    assert desk.check(payer, spent=0).line_count == 1


async def test_a_request_that_is_too_large(open_desk):
    desk = open_desk(request_bytes_max=100)
    payer = await desk.payer(10_000)
    await desk.turns.answer(asks(payer, OfflineModel(), text="é" * 50))
    with pytest.raises(ValueTooLarge) as refused:
        await desk.turns.answer(asks(payer, OfflineModel(), text="é" * 50 + "!"))
    assert (refused.value.size, refused.value.limit) == (101, 100)
    with pytest.raises(ValueTooLarge):
        await desk.turns.answer(asks(payer, OfflineModel(), extra={"grammar": "x" * 90}))
    desk.check(payer)


async def test_ten_megabytes_are_the_limit_by_default(desk):
    payer = await desk.payer(1_000)
    with pytest.raises(ValueTooLarge, match="10000000"):
        await desk.turns.answer(asks(payer, Scripted(("hi", 1)), text="x" * 10_000_001))
    desk.check(payer, spent=0)


@pytest.mark.parametrize(
    "message",
    [
        Message(Role.USER, "half \ud83d"),
        Message(Role.ASSISTANT, "", (ToolCall("c", "add", "\udc00"),)),
        Message(Role.TOOL, "4", tool_call_id="\udc00"),
    ],
)
async def test_text_that_no_database_keeps(desk, message):
    payer = await desk.payer(1_000)
    with pytest.raises(InvalidRequestError, match="half a surrogate pair"):
        await desk.turns.answer(asks(payer, Scripted(("hi", 1)), messages=(message,)))
    desk.check(payer, spent=0)


async def test_a_request_beyond_the_models_context(desk):
    payer = await desk.payer(10_000)
    model = Scripted(("hi", 1), context=10)
    with pytest.raises(ValueTooLarge, match="31 tokens; the limit is 10") as refused:
        await desk.turns.answer(asks(payer, model, text="a b" + " c" * 29))
    assert (refused.value.size, refused.value.limit) == (31, 10)
    assert model.requests == []
    desk.check(payer, spent=0)


async def test_long_words_are_no_reason_to_refuse(desk):
    """A tokenizer that makes few tokens of many characters knows better than we do."""
    payer = await desk.payer(10_000)
    model = Scripted(("hi", 1), context=10)
    await desk.turns.answer(asks(payer, model, text=" ".join(["x" * 16] * 10)))
    desk.check(payer, spent=12)


async def test_an_api_that_the_model_lacks(desk):
    """Spec A11."""
    payer = await desk.payer(1_000)
    model = Scripted(("hi", 1), apis=frozenset({"chat"}))
    with pytest.raises(ApiNotSupported):
        await desk.turns.answer(asks(payer, model, tools=(ADD,)))
    assert model.requests == []
    desk.check(payer, spent=0)


async def test_a_price_in_another_currency(desk):
    payer = await desk.payer(1_000, asset="EUR")
    with pytest.raises(CurrencyMismatch):
        await desk.turns.answer(asks(payer, Scripted(("hi", 1))))
    desk.check(payer, spent=0)


# --- prices per byte -----------------------------------------------------------------------------


async def test_bytes_are_counted_as_they_are_delivered(desk):
    """Spec A10: ten bytes in at 1, seven out at 2; a limit in tokens is four times as many bytes."""
    payer = await desk.payer(1_000)
    model = Scripted(("naïve!", Finish("stop", Usage(10**6, 10**6, 0, 0, 10**6, 10**6))), price=PER_BYTE)
    answer = await desk.turns.answer(asks(payer, model, limit=10))
    assert (answer.held, answer.output_limit, model.requests[0].output_tokens_max) == (10 + 80, 40, 10)
    assert (answer.cost, answer.usage.input_bytes, answer.usage.output_bytes) == (10 + 14, 10, 7)
    desk.check(payer, spent=24)


@pytest.mark.parametrize(
    ("pieces", "text", "reason"),
    [
        (("abcde",), "abcd", "length"),
        (("ab", "cd"), "abcd", "stop"),
        (("ab", "cd", "e"), "abcd", "length"),
        (("", "ab", "", "cd", ""), "abcd", "stop"),
        (("abé€",), "abé", "length"),
        (("ab", "€", "c"), "ab", "length"),
        (("€", "€"), "€", "length"),
        (("😀", "x"), "😀", "length"),
        (("a😀", "x"), "a", "length"),
        (("a\ud83d", "x"), "a\ufffd", "length"),
        (("\udc00b",), "\ufffdb", "stop"),
        (("x" * 1_000_000,), "xxxx", "length"),
        (("x" * 3, "€"), "xxx", "length"),
    ],
)
async def test_a_stream_is_cut_at_the_byte_on_a_character(desk, pieces, text, reason):
    """Spec D1: nothing comes after a character that did not fit."""
    payer = await desk.payer(10_000)
    question = asks(payer, Scripted((*pieces, END), price=PER_BYTE), limit=1)
    *deltas, answer = await events_of(desk, question)
    assert all(delta.text for delta in deltas)
    assert "".join(delta.text for delta in deltas) == answer.text == text
    assert (answer.finish_reason, answer.cost) == (reason, 10 + 2 * len(text.encode()))
    desk.check(payer, spent=answer.cost)


async def test_a_tool_call_that_does_not_fit_is_not_half_given(desk):
    payer = await desk.payer(10_000)
    small, large = ToolCall("1", "a", "{}"), ToolCall("2", "add", '{"a":1}')
    model = Scripted((small, large, "x", END), price=PER_BYTE)
    *seen, answer = await events_of(desk, asks(payer, model, limit=1))
    assert seen == [small]
    assert (answer.tool_calls, answer.finish_reason, answer.cost) == ((small,), "length", 16)
    desk.check(payer, spent=16)


async def test_the_balance_cuts_at_the_byte_too(desk):
    payer = await desk.payer(10 + 7)
    answer = await desk.turns.answer(asks(payer, Scripted(("héllo", END), price=PER_BYTE)))
    assert (answer.text, answer.output_limit, answer.is_lowered, answer.cost) == ("hé", 3, True, 16)
    desk.check(payer, spent=16)


# --- several models ------------------------------------------------------------------------------

DEAR = Price.flat("USD", Unit.TOKEN, 10_000_000, 20_000_000)


def failing(name="first", price=None):
    return Scripted((ProviderError("down"),), name=name, **({"price": price} if price else {}))


async def test_a_fallback_answers_at_its_own_price(desk):
    """Spec C12: what failed costs nothing; the dearest is held."""
    payer = await desk.payer(10_000)
    second = Scripted(("a b", 2), name="second", price=DEAR)
    answer = await desk.turns.answer(asks(payer, failing(), second))
    assert (answer.model, answer.held, answer.cost) == ("second", 30 + 64 * 20, 30 + 40)
    assert second.requests[0].model == "second"
    assert desk.lines(payer) == ["capture 70 second"]
    desk.check(payer, spent=70)


async def test_a_cheaper_fallback_costs_less_and_its_limit_is_not_called_lowered(desk):
    payer = await desk.payer(100)
    second = Scripted(("a b", 2), name="second")
    answer = await desk.turns.answer(asks(payer, failing(price=DEAR), second, limit=8))
    assert (answer.model, answer.held, answer.cost) == ("second", 100, 3 + 4)
    assert (answer.output_limit, answer.is_lowered) == (8, False)
    desk.check(payer, spent=7)


async def test_a_balance_that_pays_only_the_cheaper_fallback(desk):
    payer = await desk.payer(9)
    first, second = Scripted(("hi", 1), price=DEAR), Scripted(("a b c d", 3), name="second")
    answer = await desk.turns.answer(asks(payer, first, second))
    assert (first.requests, answer.model, answer.output_limit, answer.is_lowered) == ([], "second", 3, True)
    desk.check(payer, spent=9)


async def test_a_dearer_fallback_is_not_asked_for_what_it_cannot_do_for_the_money(desk):
    payer = await desk.payer(20)
    first, second = failing(), Scripted(("hi", 1), name="second", price=DEAR)
    third = Scripted(("hi", 1), name="third")
    answer = await desk.turns.answer(asks(payer, first, second, third))
    assert (answer.model, second.requests) == ("third", [])


async def test_when_all_fail_the_last_failure_is_told_and_nothing_is_paid(desk):
    payer = await desk.payer(1_000)
    models = [Scripted((ProviderError(f"{name} is down"),), name=name) for name in "abc"]
    with pytest.raises(ProviderError, match="c is down"):
        await desk.turns.answer(asks(payer, *models))
    assert [len(model.requests) for model in models] == [1, 1, 1]
    assert desk.lines(payer) == []
    desk.check(payer, spent=0)


async def test_after_the_first_piece_nobody_else_is_asked(desk):
    """Spec C12: it costs the caller nothing; what the provider may bill is ours."""
    payer = await desk.payer(1_000)
    first = Scripted(("one two", ProviderError("gone")))
    second = Scripted(("hi", 1), name="second")
    with pytest.raises(ProviderError, match="gone"):
        await events_of(desk, asks(payer, first, second))
    assert second.requests == []
    assert desk.lines(payer) == [f"exposure {3 + 4} scripted"]
    desk.check(payer, spent=0)


async def test_an_empty_piece_is_no_piece(desk):
    payer = await desk.payer(1_000)
    first, second = Scripted(("", ProviderError("gone"))), Scripted(("hi", 1), name="second")
    assert (await desk.turns.answer(asks(payer, first, second))).model == "second"


async def test_fallbacks_that_cannot_answer_are_left_out(desk):
    payer = await desk.payer(1_000)
    without_tools = Scripted(("hi", 1), name="plain", apis=frozenset({"chat"}))
    too_small = Scripted(("hi", 1), name="small", context=0)
    elsewhere = Scripted(("hi", 1), name="euro", price=Price.flat("EUR", Unit.TOKEN, 1, 1))
    last = Scripted(("hi", 1), name="last")
    models = (failing(), without_tools, too_small, elsewhere, last)
    answer = await desk.turns.answer(asks(payer, *models, tools=(ADD,)))
    assert (answer.model, answer.held) == ("last", 3 + 128)
    assert [model.requests for model in models[1:4]] == [[], [], []]


async def test_fallbacks_that_the_key_is_not_for_are_left_out(desk):
    first, dear, last = (
        failing(),
        Scripted(("hi", 1), name="dear", price=DEAR),
        Scripted(("hi", 1), name="last"),
    )
    payer = replace(await desk.payer(10_000), models=(first.info.name, "last"))
    answer = await desk.turns.answer(asks(payer, first, dear, last))
    assert (answer.model, answer.held, dear.requests) == ("last", 3 + 128, [])


async def test_two_models_of_one_name_are_priced_apart(desk):
    payer = await desk.payer(10_000)
    answer = await desk.turns.answer(
        asks(payer, failing("same", DEAR), failing("same"), Scripted(("a", 1), name="same", price=DEAR))
    )
    assert answer.cost == 50


# --- turns of a chat -----------------------------------------------------------------------------


async def test_a_turn_is_saved_with_its_payment(desk):
    payer = await desk.payer(1_000)
    await desk.chat(payer)
    asked = Message(Role.USER, "count to 2")
    question = asks(payer, OfflineModel(), messages=(asked,), place=desk.place(payer), asked=(asked,))
    reserved = await desk.turns.reserve(question)
    seen = [event async for event in desk.turns.run(question, reserved)]
    assert seen[-1].text == "1 2"
    assert desk.said(payer) == ["user: count to 2", "assistant: 1 2"]
    assert desk.store.reads.chat(payer.session_id, 1).spent == seen[-1].cost


async def test_the_quote_of_a_model(desk):
    payer = await desk.payer(1)
    model = OfflineModel()
    quoted = desk.turns.quote(asks(payer, model, limit=5), model)
    assert (quoted.input_units, quoted.output_units, quoted.amount, quoted.minimum) == (3, 5, 13, 5)


class Later(PaidCall):
    """Captured by somebody else, after the turn."""

    async def settle(self, usage, **_):
        self.usage = usage
        return Settled(self.key, 0, 0, 0, 0)


async def test_a_call_that_is_captured_later_is_worth_what_the_provider_told(desk):
    """Until then a crash would be settled for that, and not for our own count."""
    payer = await desk.payer(1_000)
    question = asks(payer, Scripted(("a", 50)))
    call = await desk.turns.reserve(question)
    later = Later(call.meter, payer, call.quoted, call.key, call.granted, call.is_keyed)
    async with aclosing(desk.turns.run(question, later)) as events:
        await anext(events)
        assert later.delivered == 5
        await anext(events)
        assert later.delivered == 103
    assert (later.delivered, later.is_resolved) == (103, False)
    await PaidCall.settle(later, later.usage)
    desk.check(payer, spent=103)
