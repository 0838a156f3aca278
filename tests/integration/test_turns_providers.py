"""Paid turns against a provider over real HTTP that fails and lies: a typed error each, the balance whole."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest

from paying.desk import asks
from paying.leaving import listened
from prepaid.errors import (
    ProviderError,
    ProviderResponseInvalid,
    ProviderStreamBroken,
    ProviderTimeout,
    UpstreamUnavailable,
)
from prepaid.models.offline import OfflineModel
from prepaid.models.retrying import RetryingModel
from prepaid.records import Price, TextDelta, Unit
from prepaid.turns import Answer
from providers.fake_openai import Behaviour

pytest_plugins = ["paying.fixtures", "providers.asking"]

FUNDED = 1_000_000
WORDS = "one two three four five six seven eight"


@pytest.fixture
async def payer(desk):
    return await desk.payer(FUNDED)


@pytest.fixture
def dear(ask):
    """The fake's model at a price that shows: one a token in, two out."""

    def model(**settings):
        made = ask.model(**settings)
        made._info = replace(made.info, price=Price.flat("USD", Unit.TOKEN, 1_000_000, 2_000_000))
        return made

    return model


async def test_an_answer_over_http_is_paid_as_the_provider_says(desk, payer, dear):
    answer = await desk.turns.answer(asks(payer, dear(), text="Hello there"))
    assert (answer.text, answer.finish_reason) == ("Hello from the fake provider.", "stop")
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.cost) == (2, 5, 12)
    desk.check(payer, spent=12)


async def test_the_limit_is_told_and_kept(desk, payer, dear, fake):
    fake.next(Behaviour(text=WORDS))
    answer = await desk.turns.answer(asks(payer, dear(), limit=3))
    assert fake.requests[0]["max_tokens"] == 3
    assert (answer.text, answer.finish_reason, answer.usage.output_tokens) == ("one two three", "length", 3)
    desk.check(payer, spent=answer.cost)


GARBAGE = b'data: {"choices": "none"}\n\n'

FAULTS = {
    "refuses": (Behaviour(status=400), ProviderError),
    "has no key for us": (Behaviour(status=401), ProviderError),
    "is overloaded": (Behaviour(status=429, headers={"Retry-After": "60"}), ProviderError),
    "is broken": (Behaviour(status=503, error="<html>down</html>"), ProviderError),
    "answers garbage": (Behaviour(raw=GARBAGE), ProviderResponseInvalid),
    "answers no JSON": (Behaviour(raw=b"data: hello\n\n"), ProviderResponseInvalid),
    "answers no Unicode": (Behaviour(raw=b"data: \xff\xfe\n\n"), ProviderResponseInvalid),
    "answers a web page": (Behaviour(content_type="text/html"), ProviderResponseInvalid),
    "answers nothing": (Behaviour(raw=b""), ProviderStreamBroken),
    "breaks off at once": (Behaviour(cut_after=0), ProviderStreamBroken),
    "falls silent at once": (Behaviour(hang_after=0), ProviderTimeout),
    "is late": (Behaviour(delay_seconds=60), ProviderTimeout),
    "reports an error": (Behaviour(raw=b'data: {"error": {"message": "no"}}\n\n'), ProviderError),
    "stops in mid-stream": (Behaviour(text=WORDS, cut_after=4), ProviderStreamBroken),
    "falls silent in mid-stream": (Behaviour(text=WORDS, hang_after=4), ProviderTimeout),
    "ends without an end": (Behaviour(finish_reason=None, done=False), ProviderStreamBroken),
}

DELIVERED = {
    "stops in mid-stream",
    "falls silent in mid-stream",
    "ends without an end",
}


def patience(error):
    """Settings of an upstream that is to run out of time soon, or not at all."""
    return {"timeout_seconds": 2} if error is ProviderTimeout else {}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_has_its_error_and_costs_nothing(desk, payer, dear, fake, fault):
    """Spec C12: also after a part was delivered, which is then our loss and booked."""
    behaviour, error = FAULTS[fault]
    fake.next(behaviour)
    heard = []
    with pytest.raises(error) as raised:
        await listened(desk, asks(payer, dear(**patience(error))), heard)
    assert raised.type is error
    assert raised.value.remedy
    assert bool(heard) == (fault in DELIVERED)
    assert [line.split()[0] for line in desk.lines(payer)] == ["exposure"] * (fault in DELIVERED)
    assert desk.check(payer, spent=0).available == FUNDED


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - DELIVERED))
async def test_a_fallback_answers_for_it(desk, payer, dear, fake, fault):
    """Spec C12."""
    behaviour, error = FAULTS[fault]
    fake.next(behaviour)
    answer = await desk.turns.answer(asks(payer, dear(**patience(error)), OfflineModel()))
    assert (answer.model, answer.text) == ("offline", "1 2 3 4 5")
    desk.check(payer, spent=13)


async def test_retries_cost_nothing_but_the_one_that_answers(desk, payer, dear, fake):
    """Spec C12."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    fake.next(Behaviour(status=503), Behaviour(status=429), Behaviour(text="at last"))
    answer = await desk.turns.answer(asks(payer, RetryingModel(dear(), 2, sleep=sleep)))
    assert (answer.text, fake.served, len(slept)) == ("at last", 3, 2)
    assert desk.lines(payer) == [f"capture {answer.cost} fast"]
    desk.check(payer, spent=answer.cost)


async def test_no_usage_told_is_estimated_and_never_zero(desk, payer, dear, fake):
    fake.next(Behaviour(text=WORDS, usage=None))
    answer = await desk.turns.answer(asks(payer, dear()))
    assert answer.usage.output_tokens == len(WORDS.split())
    assert answer.usage.input_tokens == len(["count", " to", " 5"])
    desk.check(payer, spent=3 + 16)


async def test_a_bill_above_the_hold_is_ours(desk, payer, dear, fake):
    """Spec D1."""
    fake.next(Behaviour(usage={"prompt_tokens": 10_000, "completion_tokens": 10_000}))
    answer = await desk.turns.answer(asks(payer, dear(), limit=10))
    assert (answer.cost, answer.shortfall) == (answer.held, 30_000 - answer.held)
    assert desk.check(payer).spent == answer.held


async def test_a_provider_that_ignores_the_limit_is_cut_and_dropped(desk, payer, dear, fake):
    """Spec D1: the connection is closed, not read to its end."""
    endless = [_chunk("blah ") for _ in range(5_000)]
    fake.next(Behaviour(raw=endless, chunk_delay_seconds=0.0005))
    answer = await desk.turns.answer(asks(payer, dear(), limit=10))
    assert (answer.finish_reason, answer.usage.output_tokens) == ("length", 10)
    assert len(answer.text) == 10 * 8 + 128
    await asyncio.to_thread(fake.disconnected.wait, 10)
    assert fake.disconnected.is_set()
    desk.check(payer, spent=answer.cost)


async def test_a_caller_that_hangs_up_pays_what_was_delivered_and_the_connection_goes(
    desk, payer, dear, fake
):
    """Spec D1: no usage was told by then."""
    fake.next(Behaviour(text=WORDS, hang_after=4))
    async with aclosing(desk.turns.stream(asks(payer, dear()))) as events:
        heard = [await anext(events) for _ in range(3)]
    assert heard == [TextDelta("one"), TextDelta(" two"), TextDelta(" three")]
    await asyncio.to_thread(fake.disconnected.wait, 10)
    assert fake.disconnected.is_set()
    desk.check(payer, spent=3 + 2 * len(["one", "two", "three"]))


async def test_fifty_streams_and_a_fault_in_every_third(desk, payer, dear, fake):
    """Each its own way, on one balance and one connection pool; what failed costs nothing."""
    model = dear()
    faults = [{"cut_after": 3}, {"raw": 'data: {"error": {"message": "no"}}\n\n'}, {"status": 500}]

    async def ask_one(number):
        extra = {"fake": faults[number // 3 % 3]} if number % 3 == 0 else {}
        return await desk.turns.answer(asks(payer, model, extra=extra))

    results = await asyncio.gather(*(ask_one(number) for number in range(50)), return_exceptions=True)
    answers = [result for result in results if isinstance(result, Answer)]
    assert len(answers) == 33
    assert all(isinstance(result, ProviderError | Answer) for result in results)
    assert fake.served == 50
    desk.check(payer, spent=sum(answer.cost for answer in answers))


async def test_the_same_key_asks_the_provider_once(desk, payer, dear, fake):
    """Spec D3: after a failure anew, after an answer never again."""
    model = dear()
    fake.next(Behaviour(text=WORDS, cut_after=3), Behaviour(text="Hi"))
    question = asks(payer, model, key="k")
    with pytest.raises(ProviderStreamBroken):
        await desk.turns.answer(question)
    first = await desk.turns.answer(question)
    again = await desk.turns.answer(question)
    assert (first.text, again.text, again.replayed, fake.served) == ("Hi", "Hi", True, 2)
    desk.check(payer, spent=first.cost)


async def test_one_payers_failures_leave_the_others_alone(desk, dear, fake):
    """Spec P10."""
    model = dear(circuit_failures=2, circuit_seconds=60)
    bad, good = await desk.payer(FUNDED, owner="bad"), await desk.payer(FUNDED, owner="good")
    fake.default = Behaviour(status=500)
    for error in (ProviderError, ProviderError, UpstreamUnavailable):
        with pytest.raises(ProviderError) as raised:
            await desk.turns.answer(asks(bad, model))
        assert raised.type is error
    fake.default = Behaviour(text="Hi")
    assert (await desk.turns.answer(asks(good, model))).text == "Hi"
    assert (await desk.turns.answer(asks(bad, model, OfflineModel()))).model == "offline"


def _chunk(text):
    content = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return f"data: {json.dumps(content)}\n\n".encode()
