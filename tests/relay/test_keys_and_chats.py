"""Idempotency keys, and exchanges that a chat keeps."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import (
    ChatNotFound,
    IdempotencyConflict,
    InvalidRequestError,
    ProviderError,
    RequestInProgress,
)
from prepaid.relay import EMBEDDINGS, RESPONSES
from providers.fake_openai import Behaviour
from relay.counter import until


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_key_gives_the_same_answer_once(counter, fake, stream):
    """Spec D3."""
    payer = await counter.desk.payer(10_000)
    first = await counter.ask(payer, key="k", stream=stream)
    second = await counter.ask(payer, key="k", stream=stream)
    assert second.content == first.content
    assert (first.receipt.replayed, second.receipt.replayed, fake.served) == (False, True, 1)
    assert second.receipt.cost == first.receipt.cost
    counter.desk.check(payer, spent=12)
    with pytest.raises(IdempotencyConflict):
        await counter.ask(payer, key="k", stream=stream, temperature=1)
    with pytest.raises(IdempotencyConflict):
        await counter.ask(payer, key="k", api=RESPONSES, input="Hello there")


async def test_a_key_that_is_worked_on_waits(counter, fake):
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(delay_seconds=0.2))
    first = asyncio.ensure_future(counter.ask(payer, key="k"))
    await until(lambda: fake.served)
    with pytest.raises(RequestInProgress):
        await counter.ask(payer, key="k")
    await first
    counter.desk.check(payer, spent=12)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_whose_request_failed_may_be_used_again(counter, fake, stream):
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(status=500))
    with pytest.raises(ProviderError):
        await counter.ask(payer, key="k", stream=stream)
    assert (await counter.ask(payer, key="k", stream=stream)).receipt.cost == 12
    counter.desk.check(payer, spent=12)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_keeps_question_and_answer_together(counter, fake, stream):
    """Spec C5: what is new since the last answer, and the answer."""
    payer = await counter.desk.payer(10_000)
    chat_no = await counter.desk.chat(payer)
    history = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Old"},
        {"role": "user", "content": [{"type": "text", "text": "Two"}]},
    ]
    await counter.ask(payer, chat_no=chat_no, stream=stream, messages=history)
    assert counter.desk.said(payer) == ["user: Two", "assistant: Hello from the fake provider."]
    calls = [{"name": "add", "arguments": '{"a": 1}'}]
    fake.next(Behaviour(text="", tool_calls=calls))
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    await counter.ask(payer, chat_no=chat_no, stream=stream, tools=tools)
    record = counter.desk.store.reads.chat(payer.session_id, chat_no)
    stored = counter.desk.store.reads.messages(record, limit=1)[0].message
    assert [(call.id, call.name, call.arguments) for call in stored.tool_calls] == [
        ("call_0", "add", '{"a": 1}')
    ]
    counter.desk.check(payer)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_keeps_responses(counter, fake, stream):
    payer = await counter.desk.payer(10_000)
    chat_no = await counter.desk.chat(payer)
    await counter.ask(payer, chat_no=chat_no, stream=stream, api=RESPONSES, input="One")
    items = [
        {"type": "function_call", "call_id": "c", "name": "a", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "3"},
    ]
    await counter.ask(payer, chat_no=chat_no, stream=stream, api=RESPONSES, input=items)
    answer = "assistant: Hello from the fake provider."
    assert counter.desk.said(payer) == ["user: One", answer, "tool: 3", answer]


async def test_exchanges_at_once_stand_one_after_the_other(counter, fake):
    payer = await counter.desk.payer(100_000)
    chat_no = await counter.desk.chat(payer)
    fake.default = Behaviour(delay_seconds=0.01)
    await asyncio.gather(
        *(
            counter.ask(payer, chat_no=chat_no, messages=[{"role": "user", "content": str(n)}])
            for n in range(8)
        )
    )
    said = counter.desk.said(payer)
    assert sorted(said[::2]) == [f"user: {n}" for n in range(8)]
    assert said[1::2] == ["assistant: Hello from the fake provider."] * 8


async def test_a_client_that_hangs_up_leaves_what_it_was_given_in_the_chat(counter, fake):
    payer = await counter.desk.payer(10_000)
    chat_no = await counter.desk.chat(payer)
    fake.next(Behaviour(hang_after=3))
    stream = counter.relay.stream(counter.order(payer, stream=True, chat_no=chat_no))
    seen = b""
    while b"from" not in seen:
        piece = await anext(stream)
        seen += piece if isinstance(piece, bytes) else b""
    await stream.aclose()
    assert counter.desk.said(payer) == ["user: Hello there", "assistant: Hello from"]


async def test_a_chat_that_does_not_exist_moves_no_money(counter, fake):
    payer = await counter.desk.payer(10_000)
    with pytest.raises(ChatNotFound):
        await counter.ask(payer, chat_no=7)
    chat_no = await counter.desk.chat(payer)
    with pytest.raises(InvalidRequestError):
        await counter.ask(payer, "offline", api=EMBEDDINGS, input="a", chat_no=chat_no)
    assert fake.served == 0
    counter.desk.check(payer, spent=0)
