"""Whatever models say, providers claim and callers do: nobody pays for what they did not get, nothing is lost."""

import asyncio
import re
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from paying.desk import Desk, asks
from paying.leaving import cancelled_at, listened
from paying.models import Scripted
from prepaid import pricing
from prepaid.errors import InsufficientFunds, InvalidRequestError, ProviderError, RequestInProgress
from prepaid.models.offline import count_tokens
from prepaid.records import Finish, HoldState, Price, PriceTier, TextDelta, ToolCall, Unit, Usage
from prepaid.turns import Answer

M = 1_000_000
SURROGATE = re.compile("[\ud800-\udfff]")


class Suspending(Scripted):
    """Gives control to the loop before each piece, so that there are awaits to be cancelled at."""

    async def stream(self, request):
        async with aclosing(super().stream(request)) as events:
            async for each in events:
                await asyncio.sleep(0)
                yield each


rates = st.sampled_from([0, 1, M // 3, M, 2 * M, 7 * M + 1])
tiers = st.builds(PriceTier, st.just(0), rates, rates, rates, rates)
prices = st.builds(
    Price, st.just("USD"), st.sampled_from(Unit), st.tuples(tiers), st.sampled_from([0, 0, 0, 3])
)
fees = st.builds(
    Price.fee, st.just("USD"), st.just(8 * M), st.sampled_from([8 * M, 9 * M + 1]), st.integers(9, 300)
)
texts = st.text(st.sampled_from(" ab,é€😀\ud83d\udc00\0"), max_size=12) | st.sampled_from(
    [" " * 400, "word " * 60]
)
calls = st.builds(ToolCall, texts, st.sampled_from(["add", "é"]), texts)
counts = st.integers(0, 60) | st.sampled_from([-1, 10**6, 10**13])
usages = st.none() | st.builds(Usage, counts, counts, counts, counts)
reasons = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
ends = (
    st.tuples(st.builds(Finish, reasons, usages))
    | st.tuples(st.sampled_from([ProviderError("down"), ValueError("bug"), None]))
    | st.just(())
)
scripts = st.builds(lambda parts, end: (*parts, *end), st.lists(texts | texts | calls, max_size=6), ends)
limits = st.none() | st.integers(1, 40)
balances = st.integers(1, 60) | st.integers(100, 3_000) | st.just(10_000)
leavings = (
    st.none()
    | st.tuples(st.just("cancelled"), st.integers(0, 12), st.sampled_from([1, 1, 2, 50]))
    | st.tuples(st.just("closed"), st.sampled_from([0, 1, 1, 2, 2, 3]), st.just(0))
)


@st.composite
def panels(draw):
    """One to three models, with their scripts and prices."""
    return [
        Suspending(draw(scripts), name=f"m{number}", price=draw(prices))
        for number in range(draw(st.integers(1, 3)))
    ]


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def desk(runner, tmp_path_factory):
    """One file for all examples, each with a session of its own; audited at the end."""
    path = tmp_path_factory.mktemp("turns") / "ledger.db"

    async def opened():
        return Desk(path, default_output_tokens=20)

    desk = runner.run(opened())
    yield desk
    runner.run(desk.audit())
    runner.run(desk.aclose())


async def asked(desk, question, leaving, heard):
    """How it ended: ``None`` for an answer, else what was raised; ``"closed"`` for a caller that left."""
    kind, number, more = leaving or ("", 0, 0)
    if kind == "closed":
        async with aclosing(desk.turns.stream(question)) as events:
            while len(heard) < number:
                try:
                    heard.append(await anext(events))
                except StopAsyncIteration:
                    return None
                except Exception as error:  # noqa: BLE001 -- it is judged by the test
                    return error
        return "closed"
    awaits = range(number, number + more) if kind == "cancelled" else ()
    listening = asyncio.create_task(run_task(cancelled_at(listened(desk, question, heard), *awaits)))
    return (await asyncio.gather(listening, return_exceptions=True))[0]


async def run_task(generator):
    return await generator


def holds(desk, payer):
    """``(state, amount, captured, cost)`` of each."""
    return desk.store.reads.rows(
        "SELECT state, amount, captured, cost FROM hold WHERE session_id = ?", (payer.session_id,)
    )


def joined(text):
    """Both halves of a letter are one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def said(part):
    """A part of a script as callers may hear it."""
    if isinstance(part, ToolCall):
        texts = (joined(text) for text in (part.id, part.name, part.arguments))
        return ToolCall(*(SURROGATE.sub("\ufffd", text) for text in texts))
    return SURROGATE.sub("\ufffd", part)


def all_parts(model):
    """What the model says before its end; half a letter is heard with its other half."""
    parts, half = [], ""
    for part in model.scripts[0]:
        if isinstance(part, str):
            text = joined(half + part)
            half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
            parts.append(text.removesuffix(half))
        elif isinstance(part, ToolCall):
            parts += [half, part]
            half = ""
    return [part for part in (*parts, half) if part]


def text_of(pieces):
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


def calls_of(pieces):
    return [piece for piece in pieces if isinstance(piece, ToolCall)]


def own_usage(desk, question, model, granted, pieces):
    """What was heard, by our own count."""
    quoted = desk.turns.quote(question, model)
    limit = pricing.affordable_output(quoted, granted)
    text, called = text_of(pieces), calls_of(pieces)
    tokens = count_tokens(text) + sum(
        count_tokens(each.name) + count_tokens(each.arguments) for each in called
    )
    return Usage(
        model.input_tokens_max(question.request),
        min(tokens, limit),
        input_bytes=quoted.input_units,
        output_bytes=sum(
            len(each.encode()) for each in (text, *(each.name + each.arguments for each in called))
        ),
    )


@settings(max_examples=250, deadline=None)
@given(
    panels(), balances, limits, st.none() | st.just("k"), st.none() | st.none() | st.none() | fees, leavings
)
def test_one_question(runner, desk, models, balance, limit, key, fee, leaving):
    """Spec A10, C12, D1; guarantees 1 to 4."""

    async def example():
        payer = await desk.payer(balance)
        question = asks(payer, *models, text="a b c", limit=limit, key=key, price=fee)
        heard = []
        ending = await asked(desk, question, leaving, heard)
        return payer, question, heard, ending

    payer, question, heard, ending = runner.run(example())
    account = desk.check(payer)
    rows = holds(desk, payer)
    assert len(rows) <= 1
    check_holds(account, rows)
    assert all(model.running == 0 for model in models)
    assert not desk.meter.running
    if not rows:
        event(f"refused: {type(ending).__name__}")
        assert (
            isinstance(ending, InsufficientFunds | InvalidRequestError | asyncio.CancelledError)
            or ending == "closed"
        )
        assert not any(model.requests for model in models)
        return
    asked_last = ([model for model in models if model.requests] or [models[0]])[-1]
    pieces = [piece for piece in heard if not isinstance(piece, Answer)]
    check_heard(asked_last, pieces)
    if heard and isinstance(heard[-1], Answer):
        event("answered")
        check_answer(desk, payer, desk.turns.quote(question, asked_last), heard[-1])
        assert heard[-1].text == text_of(pieces)
        assert heard[-1].tool_calls == tuple(calls_of(pieces))
    elif ending == "closed" or isinstance(ending, asyncio.CancelledError):
        event("left after pieces" if pieces else "left before the first piece")
        check_left(desk, question, asked_last, account.spent, rows[0][1], pieces)
    else:
        event(f"failed: {type(ending).__name__}")
        assert isinstance(ending, ProviderError), ending
        assert account.spent == 0


def check_holds(account, rows):
    assert account.spent == sum(captured for _, _, captured, _ in rows)
    for state, amount, captured, cost in rows:
        assert state != HoldState.OPEN
        assert captured == (min(amount, cost) if state == HoldState.CAPTURED else 0)
        assert amount <= account.funded


def check_heard(model, pieces):
    """A beginning of what the model said, in whole characters."""
    parts = [said(part) for part in all_parts(model)]
    text = "".join(part for part in parts if isinstance(part, str))
    assert text.startswith(text_of(pieces))
    called = calls_of(pieces)
    assert [part for part in parts if isinstance(part, ToolCall)][: len(called)] == called
    assert TextDelta("") not in pieces


def check_answer(desk, payer, quoted, answer):
    account = desk.account(payer)
    assert answer.cost == account.spent == min(answer.held, pricing.cost(quoted.price, answer.usage))
    lines = desk.store.reads.transfers(payer.session_id)
    assert answer.shortfall == sum(line.amount for line in lines if line.kind == "shortfall")
    assert answer.available == account.available
    assert answer.output_limit <= quoted.output_units
    assert answer.is_lowered == (answer.output_limit < quoted.output_units)
    if quoted.price.unit is Unit.BYTE:
        assert answer.usage.output_bytes <= answer.output_limit
        assert answer.shortfall == 0


def check_left(desk, question, model, spent, held, pieces):
    """Paid for what was heard; or, where only the end was missed, as that was settled, be it as a failure."""
    price = desk.turns.quote(question, model).price
    own = own_usage(desk, question, model, held, pieces)
    told = [part.usage for part in model.scripts[0] if isinstance(part, Finish) and part.usage is not None]
    usages = [
        own,
        *(replace(each, input_bytes=own.input_bytes, output_bytes=own.output_bytes) for each in told),
    ]
    as_heard, *as_settled = (min(held, pricing.cost(price, usage)) for usage in usages)
    if pieces:
        missed_only_the_end = len(pieces) >= len(all_parts(model))
        assert spent == as_heard or (missed_only_the_end and spent in {0, *as_settled})
    else:
        first = (all_parts(model) or [None])[0]
        may_say_nothing = not isinstance(first, str) or price.unit is Unit.BYTE  # or does not fit
        assert spent == 0 or (may_say_nothing and spent in {as_heard, *as_settled})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(panels(), limits, st.sampled_from([None, None, "k1", "k2"]), leavings),
        min_size=2,
        max_size=12,
    ),
    balances,
)
def test_many_questions_at_once_on_one_balance(runner, desk, asking, balance):
    """Spec D1: together they never spend more than is there, and each pays for itself only."""

    async def example():
        payer = await desk.payer(balance)
        heard = [[] for _ in asking]
        endings = await asyncio.gather(
            *(
                asked(desk, asks(payer, *models, limit=limit, key=key), leaving, heard[number])
                for number, (models, limit, key, leaving) in enumerate(asking)
            ),
            return_exceptions=True,
        )
        return payer, heard, endings

    payer, heard, endings = runner.run(example())
    account = desk.check(payer)
    assert 0 <= account.spent <= balance
    check_holds(account, holds(desk, payer))
    answers = [each[-1] for each in heard if each and isinstance(each[-1], Answer)]
    assert account.spent >= sum(answer.cost for answer in answers if not answer.replayed)
    for ending, each in zip(endings, heard, strict=True):
        assert not isinstance(ending, RequestInProgress) or each == []
    assert not desk.meter.running
