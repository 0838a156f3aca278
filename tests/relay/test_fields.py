"""Spec P1 on the way to an upstream: what reaches it, what is refused before any money moves."""

from __future__ import annotations

import json

import pytest

from prepaid.errors import ApiNotSupported, FieldNotSupported, InvalidRequestError, ProviderError
from prepaid.meter import Payer
from prepaid.relay import CHAT, RESPONSES, Order
from providers.fake_openai import Behaviour
from relay.counter import HELLO, PRICE

NOBODY = Payer("ses_1", "ann", "USD")
PNG = "data:image/png;base64," + "A" * 400


async def test_a_refused_field_reaches_no_upstream_and_costs_nothing(counter, fake):
    payer = await counter.desk.payer(10_000)
    for stream in (False, True):
        for field in ("models", "Model", "max_to\u212aens", "top_k"):
            with pytest.raises(FieldNotSupported, match=field):
                await counter.ask(payer, stream=stream, **{field: None})
        with pytest.raises(ApiNotSupported, match="web_search_options"):
            await counter.ask(payer, stream=stream, web_search_options={})
    assert fake.served == 0
    counter.desk.check(payer, spent=0)


async def test_a_refused_field_that_is_null_is_left_out(counter, fake):
    """For some providers its presence alone switches it on."""
    payer = await counter.desk.payer(10_000)
    await counter.ask(payer, web_search_options=None, audio=None, seed=None)
    assert fake.requests[0] == {"model": "fast", "messages": HELLO, "max_tokens": 64, "seed": None}


async def test_each_target_is_sent_what_its_own_dialect_knows(open_counter, fake, other):
    """A fallback that does not know a field is left out, as one that cannot see images is."""
    counter = open_counter(
        upstreams={"fast": {"dialect": "vllm"}, "other": {"dialect": "ollama"}},
        fallbacks={"fast": ("other", "offline")},
    )
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(status=500))
    with pytest.raises(ProviderError):
        await counter.ask(payer, top_k=5)
    assert (fake.requests[0]["top_k"], other.served) == (5, 0)
    await counter.ask(payer, "other", think=True)
    assert other.requests[0]["think"] is True
    with pytest.raises(FieldNotSupported, match="top_k"):
        await counter.ask(payer, "other", top_k=5)


async def test_models_of_ours_know_plain_openai(counter):
    payer = await counter.desk.payer(10_000)
    for more in ({"top_k": 5}, {"fake": {}}, {"Messages": []}):
        with pytest.raises(FieldNotSupported, match=next(iter(more))):
            await counter.ask(payer, "offline", **more)
    await counter.ask(payer, "offline", seed=5)


@pytest.mark.parametrize("api", [CHAT, RESPONSES])
def test_pictures_are_known_as_far_as_their_price_depends_on_them(api):
    """Spec P11."""
    far = "https://example.org/a.png"
    given = [(PNG, "low"), (far, "high"), (PNG, None), (far, None)]
    if api is CHAT:
        parts = [
            {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}
            for url, detail in given
        ]
        body = {"messages": [{"role": "user", "content": parts}]}
    else:
        parts = [{"type": "input_image", "image_url": url, "detail": detail} for url, detail in given]
        body = {"input": [{"role": "user", "content": parts}]}
    asked = Order.read(api, NOBODY, json.dumps({"model": "m", **body}).encode()).asked
    assert [(each.data_url, each.detail) for each in asked.images] == [
        (PNG, "low"),
        (None, "high"),
        (PNG, None),
        (None, None),
    ]
    assert asked.image_bytes == 2 * len(PNG)
    assert "images" in asked.apis


@pytest.mark.parametrize(
    "url",
    [
        "data:application/pdf;base64,AAAA",
        "gs://bucket/film.mp4",
        "https://a.example/x.pd%66",
        "https://a.example/x.pdf%20",
        "https://a.example/x.pdf/",
    ],
)
async def test_a_document_is_no_image(counter, fake, url):
    payer = await counter.desk.payer(100_000)
    content = [{"type": "image_url", "image_url": {"url": url}}]
    with pytest.raises(InvalidRequestError, match=r"image_url\.url") as caught:
        await counter.ask(payer, messages=[{"role": "user", "content": content}])
    assert caught.value.param == "messages[0].content[0].image_url.url"
    assert fake.served == 0


TEXT = "é" * 500


@pytest.mark.parametrize(
    "more",
    [
        {"functions": [{"name": "f", "description": TEXT}]},
        {"tools": [{"type": "custom", "custom": {"name": "f", "description": TEXT}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"title": TEXT}}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"title": TEXT}}}},
        {"messages": [{"role": "assistant", "reasoning_content": TEXT}]},
        {"messages": [{"role": "assistant", "refusal": TEXT}]},
        {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": TEXT}}]},
        {"messages": [{"role": "assistant", "thinking_blocks": [{"type": "thinking", "thinking": TEXT}]}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": TEXT}}],
                }
            ]
        },
        {
            "api": RESPONSES,
            "input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": TEXT}]}],
        },
        {"api": RESPONSES, "input": [{"type": "reasoning", "summary": [], "encrypted_content": TEXT}]},
        {
            "api": RESPONSES,
            "input": [{"type": "custom_tool_call", "call_id": "c", "name": "f", "input": TEXT}],
        },
        {
            "api": RESPONSES,
            "input": "a",
            "text": {"format": {"type": "json_schema", "name": "s", "schema": {"title": TEXT}}},
        },
    ],
    ids=lambda more: str(more)[:50],
)
async def test_whatever_is_input_is_paid_for_by_the_byte(open_counter, fake, more):
    """Spec P1: a field that may pass is free, or it is counted."""
    counter = open_counter(prices={"fast": PRICE | {"unit": "byte"}})
    payer = await counter.desk.payer(100_000)
    limit = "max_output_tokens" if "api" in more else "max_tokens"
    answered = await counter.ask(payer, **more, **{limit: 1})
    assert answered.receipt.held >= len(TEXT.encode())
    assert fake.served == 1
