"""What a relayed request holds and costs: the promises of ``turns``, kept on the wire."""

from __future__ import annotations

import asyncio

import pytest

from prepaid.errors import (
    ApiNotSupported,
    InsufficientFunds,
    ProviderError,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    UpstreamUnavailable,
    ValueTooLarge,
)
from prepaid.relay import RESPONSES
from providers.fake_openai import Behaviour
from relay.counter import PRICE, until

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_receipt_tells_what_it_came_to(counter, stream):
    payer = await counter.desk.payer(10_000)
    told = (await counter.ask(payer, stream=stream)).receipt
    assert (told.cost, told.available, told.is_lowered, told.output_limit) == (
        2 + 5 * 2,
        10_000 - 12,
        False,
        64,
    )
    assert told.held > 2 + 64 * 2
    counter.desk.check(payer, spent=12)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_limit_is_lowered_to_what_the_balance_pays(counter, fake, stream):
    """Spec D1."""
    whole = counter.order(await counter.desk.payer(1), stream=stream)
    needed = counter.relay._targets.of(whole)[0].quoted
    payer = await counter.desk.payer(needed.minimum + 2 * 2)
    answered = await counter.ask(payer, stream=stream)
    assert fake.requests[0]["max_tokens"] == answered.receipt.output_limit == 3
    assert answered.receipt.is_lowered
    assert answered.head is None or answered.head.is_lowered
    counter.desk.check(payer, spent=2 + 3 * 2)


async def test_who_cannot_pay_the_input_and_one_token_asks_nobody(counter, fake):
    payer = await counter.desk.payer(20)
    with pytest.raises(InsufficientFunds):
        await counter.ask(payer)
    assert fake.served == 0
    counter.desk.check(payer, spent=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_every_choice_has_its_limit_in_the_hold(counter, fake, stream):
    payer = await counter.desk.payer(10_000)
    one = (await counter.ask(payer, stream=stream, max_tokens=10)).receipt
    four = (await counter.ask(payer, stream=stream, max_tokens=10, n=4)).receipt
    assert four.held - one.held in range(60, 70)
    poor = await counter.desk.payer(one.held - 10 * 2 + 4 * 2 * 2)
    lowered = (await counter.ask(poor, stream=stream, max_tokens=10, n=4)).receipt
    assert fake.requests[-1]["max_tokens"] == lowered.output_limit in (1, 2)
    counter.desk.check(poor)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_bills_above_the_hold_does_so_at_our_expense(counter, fake, stream):
    """Spec D1, P2: nobody pays for more output than the limit that was sent."""
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(limit_times=300))
    told = (await counter.ask(payer, stream=stream, max_tokens=5)).receipt
    assert told.cost == 2 + 5 * 2
    assert counter.desk.lines(payer) == ["capture 12 fast", f"shortfall {(1500 - 5) * 2} fast"]
    counter.desk.check(payer, spent=12)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_counts_more_prompt_than_can_be_does_so_at_our_expense(counter, fake, stream):
    """Spec D1, P3: what cannot be is our own count for its customer."""
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(input_times=500))
    told = (await counter.ask(payer, stream=stream, max_tokens=5)).receipt
    assert told.cost == 2 + 5 * 2
    assert counter.desk.lines(payer) == ["capture 12 fast", f"shortfall {1_010 - 12} fast"]
    counter.desk.check(payer, spent=12)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_counts_the_prompt_twice_stays_within_the_hold(counter, fake, stream):
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(input_times=2))
    told = (await counter.ask(payer, stream=stream)).receipt
    assert told.cost == 2 * 2 + 5 * 2 <= told.held
    counter.desk.check(payer, spent=14)


@pytest.mark.parametrize("stream", [False, True])
async def test_without_usage_we_count_ourselves(counter, fake, stream):
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(usage=None))
    told = (await counter.ask(payer, stream=stream)).receipt
    assert (told.usage.input_tokens, told.usage.output_tokens) == (2, 6)  # words and signs
    counter.desk.check(payer, spent=2 + 12)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        ({"prompt_tokens": -1, "completion_tokens": 1}, (2, 1)),
        ({"prompt_tokens": 10**12, "completion_tokens": 1}, (2, 1)),
        ({"prompt_tokens": 1}, (1, 6)),
        ({"prompt_tokens": 1, "completion_tokens": 0}, (1, 6)),
        ({}, (2, 6)),
        ([], (2, 6)),
        ("many", (2, 6)),
    ],
)
async def test_usage_that_cannot_be_is_our_own_count(counter, fake, stream, lie, expected):
    """Spec P5: part by part; what was delivered is neither free nor an error."""
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(usage=lie))
    usage = (await counter.ask(payer, stream=stream)).receipt.usage
    assert (usage.input_tokens, usage.output_tokens) == expected
    counter.desk.check(payer, spent=expected[0] + 2 * expected[1])


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_stream_is_cut_where_the_hold_ends(counter, fake, api):
    """Spec D1: an upstream that does not stop is left."""
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(text="word " * 3000, ignores_limit=True, chunk_delay_seconds=0.0001))
    more = {} if api == "chat" else {"api": RESPONSES, "input": "Hello there"}
    limits = {"max_tokens": 20} if api == "chat" else {"max_output_tokens": 20}
    answered = await counter.ask(payer, stream=True, stream_options={"include_usage": True}, **limits, **more)
    if api == "chat":
        assert answered.chunks[-2]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
        assert answered.chunks[-1]["usage"]["completion_tokens"] == 20
        assert len(answered.text) < 20 * 8 + 129
    else:
        assert answered.chunks[-1]["type"] == "response.incomplete"
        assert answered.chunks[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answered.receipt.usage.output_tokens == 20
    counter.desk.check(payer, spent=2 + 40)
    _, shortfall, exposure = counter.desk.lines(payer)
    # What came before it was cut and nobody pays; how far it goes on is not known.
    assert int(shortfall.split()[1]) in range(2 * (290 // 5 - 20 - 2), 2 * (290 // 5 - 20 + 2))
    assert exposure == f"exposure {answered.receipt.held} fast"


async def test_a_client_that_hangs_up_pays_for_what_it_was_given(counter, fake):
    """Spec P3: where output is visible the upstream is left, and what it may still bill is booked."""
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(hang_after=3))
    stream = counter.relay.stream(counter.order(payer, stream=True))
    seen = b""
    while b"from" not in seen:
        piece = await anext(stream)
        seen += piece if isinstance(piece, bytes) else b""
    await stream.aclose()
    counter.desk.check(payer, spent=2 + 2 * 2)
    assert counter.desk.lines(payer)[1:] == [f"exposure {219 - 6} fast"]  # the rest of the hold
    assert await asyncio.to_thread(fake.disconnected.wait, 5)


async def test_a_client_that_hangs_up_before_the_first_word_pays_nothing(counter, fake):
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(hang_after=0))
    task = asyncio.ensure_future(counter.ask(payer, stream=True))
    await until(lambda: fake.served)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    counter.desk.check(payer, spent=0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Behaviour(status=500), ProviderError),
        (Behaviour(status=400), ProviderError),
        (Behaviour(raw=b"<html>"), (ProviderResponseInvalid, ProviderStreamBroken)),
        (Behaviour(raw=b"data: <html>\n\n"), ProviderResponseInvalid),
        (Behaviour(raw=b'{"error": {"message": "no"}}', content_type="application/json"), ProviderError),
        (Behaviour(raw=b'data: {"error": {"message": "no", "code": 503}}\n\n'), ProviderError),
        (Behaviour(raw=b'data: {"choices": 7}\n\n'), ProviderResponseInvalid),
    ],
)
async def test_a_request_that_fails_costs_nothing(counter, fake, stream, behaviour, error):
    """Spec C12."""
    payer = await counter.desk.payer(10_000)
    fake.next(behaviour)
    with pytest.raises(error):
        await counter.ask(payer, stream=stream)
    counter.desk.check(payer, spent=0)


async def test_a_stream_that_breaks_off_costs_nothing_and_what_it_may_bill_is_our_loss(counter, fake):
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(cut_after=3))
    with pytest.raises(ProviderStreamBroken):
        await counter.ask(payer, stream=True)
    assert counter.desk.lines(payer) == ["exposure 219 fast"]  # all of its hold: nobody knows how far it got
    counter.desk.check(payer, spent=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_fallbacks_answer_in_order_and_are_paid_at_their_own_price(open_counter, fake, other, stream):
    """Spec C12."""
    dear = PRICE | {"output_per_million": "7"}
    counter = open_counter(prices={"other": dear}, fallbacks={"fast": ("other", "offline")})
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(status=503))
    told = (await counter.ask(payer, stream=stream)).receipt
    assert told.model == "other"
    counter.desk.check(payer, spent=2 + 5 * 7)
    fake.next(Behaviour(status=503))
    other.next(Behaviour(cut_after=0) if stream else Behaviour(status=500))
    answered = await counter.ask(payer, stream=stream)
    assert answered.receipt.model == "offline"
    assert b"offline model" in answered.content or "offline model" in answered.text


async def test_retries_ask_again_while_nothing_was_said(open_counter, fake):
    counter = open_counter(upstreams={"fast": {"retries_max": 2}})
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(status=503, headers={"Retry-After": "0"}))
    for stream in (False, True):
        fake.next(Behaviour(status=503, headers={"Retry-After": "0"}))
        await counter.ask(payer, stream=stream)
    assert fake.served == 5
    counter.desk.check(payer, spent=24)


async def test_a_circuit_that_is_open_lets_fallbacks_answer_at_once(open_counter, fake):
    settings = {"circuit_failures": 3, "circuit_seconds": 60}
    counter = open_counter(upstreams={"fast": settings})
    now = 1_000.0
    counter.catalogue._upstream("fast").circuit._clock = lambda: now
    payer = await counter.desk.payer(10_000)
    fake.default = Behaviour(status=500)
    for _ in range(3):
        with pytest.raises(ProviderError):
            await counter.ask(payer)
    with pytest.raises(UpstreamUnavailable) as caught:
        await counter.ask(payer)
    assert (fake.served, caught.value.retryable) == (3, True)
    assert caught.value.after_seconds == 60
    now += 60
    fake.default = Behaviour()
    await counter.ask(payer)
    await counter.ask(payer)
    assert fake.served == 5
    counter.desk.check(payer, spent=24)


async def test_exactly_as_many_are_served_as_can_be_paid(open_counter, fake):
    """Spec D1: a burst on one balance."""
    counter = open_counter(prices={"fast": PRICE | {"unit": "byte"}})
    fake.default = Behaviour(delay_seconds=0.5, text="Hello from the fake", usage=None)
    one = (await counter.ask(await counter.desk.payer(10_000), max_tokens=5)).receipt
    payer = await counter.desk.payer(one.held * 7 + one.cost - 1)
    results = await asyncio.gather(
        *(counter.ask(payer, max_tokens=5) for _ in range(30)), return_exceptions=True
    )
    served = [each for each in results if not isinstance(each, BaseException)]
    assert len(served) in (7, 8)
    assert all(isinstance(each, InsufficientFunds) for each in results if isinstance(each, BaseException))
    assert fake.served == len(served) + 1
    counter.desk.check(payer)


@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_are_counted_by_us(open_counter, fake, stream):
    """Spec A10."""
    counter = open_counter(prices={"fast": PRICE | {"unit": "byte"}})
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(text="héllo"))
    await counter.ask(payer, stream=stream)
    counter.desk.check(payer, spent=11 + 6 * 2)


async def test_images_are_held_for_by_the_image(open_counter, fake):
    """Spec D2."""
    sees = PRICE | {"apis": ["chat", "images"], "image_tokens_max": 900}
    counter = open_counter(prices={"fast": sees})
    payer = await counter.desk.payer(100_000)
    content = [
        {"type": "text", "text": "Hello there"},
        IMAGE,
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
    ]
    told = (await counter.ask(payer, messages=[{"role": "user", "content": content}], max_tokens=5)).receipt
    assert told.held in range(1800, 2100)
    assert fake.requests[0]["messages"][0]["content"] == content


async def test_images_at_the_price_book_s_price(open_counter, fake):
    """A model of OpenAI's with nothing configured but the upstream. It is paid for what the provider counts."""
    known = {"models": ("gpt-4o-mini",), "provider": "openai"}
    counter = open_counter(upstreams={"fast": known}, prices={"fast": None})
    payer = await counter.desk.payer(100_000)
    fake.next(Behaviour(usage={"prompt_tokens": 20_000, "completion_tokens": 5, "total_tokens": 20_005}))
    messages = [{"role": "user", "content": [IMAGE]}]
    told = (await counter.ask(payer, "gpt-4o-mini", messages=messages, max_tokens=5)).receipt
    assert told.held in range(7_225, 7_260)  # 2,833 tokens and eight tiles of 5,667, at 0.15 USD a million
    counter.desk.check(payer, spent=3_003)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"web_search_options": {}},
        {"audio": {"voice": "x"}},
        {"tools": [{"type": "web_search"}]},
        {"service_tier": "priority"},
        {"modalities": ["text", "audio"]},
        {"api": RESPONSES, "input": "a", "previous_response_id": "resp_1"},
        {"api": RESPONSES, "input": [{"type": "item_reference", "id": "x"}]},
        {"api": RESPONSES, "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
        {"api": RESPONSES, "input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
        {"api": RESPONSES, "input": "a", "tools": [{"type": "code_interpreter"}]},
        {"api": RESPONSES, "input": "a", "background": True},
    ],
)
async def test_what_no_price_covers_is_refused_before_money_moves(counter, fake, body):
    payer = await counter.desk.payer(100_000)
    with pytest.raises(ApiNotSupported):
        await counter.ask(payer, **body)
    assert fake.served == 0
    counter.desk.check(payer, spent=0)


async def test_a_request_beyond_the_models_context_is_refused(open_counter, fake):
    counter = open_counter(prices={"fast": PRICE | {"context_tokens_max": 100}})
    payer = await counter.desk.payer(100_000)
    with pytest.raises(ValueTooLarge, match="tokens"):
        await counter.ask(payer, messages=[{"role": "user", "content": "word " * 200}])
    assert fake.served == 0


async def test_one_payers_failures_leave_the_others_alone(open_counter, fake):
    """Spec P10: neither do fallbacks answer for them, nor does the next request wait."""
    counter = open_counter(upstreams={"fast": {"circuit_failures": 3, "circuit_seconds": 60}})
    bad, good = await counter.desk.payer(10_000, owner="bad"), await counter.desk.payer(10_000, owner="good")
    fake.default = Behaviour(status=500)
    for _ in range(3):
        with pytest.raises(ProviderError):
            await counter.ask(bad)
    with pytest.raises(UpstreamUnavailable):
        await counter.ask(bad)
    fake.default = Behaviour()
    for stream in (False, True):
        await counter.ask(good, stream=stream)
    with pytest.raises(UpstreamUnavailable):
        await counter.ask(bad)
    counter.desk.check(bad, spent=0)


async def test_who_has_left_is_not_answered_by_a_fallback(open_counter, fake, other):
    """Spec P3: what is read on without its client is that one answer, or none."""
    counter = open_counter(fallbacks={"fast": ("other",)})
    payer = await counter.desk.payer(10_000)
    fake.next(Behaviour(is_gated=True, status=500))
    stream = counter.relay.stream(counter.order(payer, stream=True))
    reading = asyncio.create_task(anext(stream))
    await until(lambda: fake.served == 1)
    assert stream.leave()
    fake.gate.set()
    with pytest.raises(ProviderError):
        await reading
    assert other.served == 0
    counter.desk.check(payer, spent=0)


@pytest.mark.parametrize(
    ("whole", "booked_after", "is_read_on"),
    [
        (None, True, False),  # nothing is known of the model yet
        (Behaviour(), False, False),  # it has shown all that it told
        (Behaviour(limit_times=1), True, True),  # it has told far more than it showed
    ],
)
async def test_a_promise_holds_for_models_that_show_what_they_bill(
    open_counter, fake, whole, booked_after, is_read_on
):
    """Spec P3: `stops_when_left` says nothing of output that was hidden before."""
    counter = open_counter(upstreams={"fast": {"stops_when_left": True}})
    payer = await counter.desk.payer(10_000)
    if whole is not None:
        fake.next(whole)
        await counter.ask(payer, max_tokens=600)
    lines = len(counter.desk.lines(payer))
    fake.next(Behaviour(hang_after=3))
    stream = counter.relay.stream(counter.order(payer, stream=True))
    seen = b""
    while b"from" not in seen:
        piece = await anext(stream)
        seen += piece if isinstance(piece, bytes) else b""
    assert stream.leave() is is_read_on
    await stream.aclose()
    kinds = [line.split()[0] for line in counter.desk.lines(payer)[lines:]]
    assert kinds == ["capture", "exposure"] if booked_after else kinds == ["capture"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "booked"),
    [
        (400, "content_filter", 10),
        (400, "invalid_value", 0),
        (408, None, 1_000),
        (500, None, 0),
        (502, None, 1_000),
    ],
)
async def test_a_refusal_books_what_it_may_bill(counter, fake, status, code, booked, stream):
    """Spec P4: a prompt that was filtered was read; of a time-out at the provider nobody knows."""
    payer = await counter.desk.payer(100_000)
    error = {"error": {"message": "no", "code": code, "type": "invalid_request_error"}}
    fake.next(Behaviour(status=status, error=error))
    messages = [{"role": "user", "content": "word " * 10}]
    with pytest.raises(ProviderError):
        await counter.ask(payer, messages=messages, stream=stream, max_tokens=450)
    losses = [int(line.split()[1]) for line in counter.desk.lines(payer)]
    assert len(losses) == bool(booked)
    assert all(loss in range(booked, booked + 200) for loss in losses)
    counter.desk.check(payer, spent=0)


@pytest.mark.parametrize(
    ("events", "booked"),
    [
        (['{"error":{"message":"no"}}'], "input"),
        (['{"choices":[{"delta":{"role":"assistant","content":""}}]}', '{"error":{"message":"no"}}'], "hold"),
        (['{"choices":[{"delta":{"content":"word "}}]}', '{"error":{"message":"no"}}'], "delivered"),
        (
            [
                '{"choices":[{"delta":{"content":"word "}}]}',
                '{"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":300},"error":{"message":"no"}}',
            ],
            "told",
        ),
    ],
)
async def test_an_error_inside_an_answer_books_what_it_may_bill(counter, fake, events, booked):
    """Spec P3: what was told, else what was delivered with its input; where output was hidden, the hold."""
    payer = await counter.desk.payer(100_000)
    await counter.ask(payer)  # the model shows all that it bills
    before = len(counter.desk.lines(payer))
    fake.next(Behaviour(raw="".join(f"data: {event}\n\n" for event in events)))
    messages = [{"role": "user", "content": "word " * 50}]
    with pytest.raises(ProviderError):
        await counter.ask(payer, messages=messages, stream=True, max_tokens=450)
    (line,) = counter.desk.lines(payer)[before:]
    expected = {
        "input": range(50, 53),
        "hold": range(1_000, 1_300),
        "delivered": range(52, 57),
        "told": range(650, 651),
    }
    assert int(line.split()[1]) in expected[booked]
    counter.desk.check(payer, spent=2 + 5 * 2)
