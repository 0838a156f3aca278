"""Whatever an upstream does and whatever a client asks: nothing is lost, nothing stays held (spec D1, C12)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prepaid.errors import InsufficientFunds, PrepaidError, ProviderError
from prepaid.relay import CHAT, RESPONSES
from providers.fake_openai import Behaviour, FakeOpenAI
from relay.counter import PRICE, Counter

USAGES = st.sampled_from(
    [
        "exact",
        None,
        {"prompt_tokens": 10**7, "completion_tokens": 10**7, "total_tokens": 2 * 10**7},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": -1, "completion_tokens": 3, "total_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": 1, "total_tokens": 1},
    ]
)
BEHAVIOURS = st.builds(
    Behaviour,
    text=st.sampled_from(["", "Hi", "word " * 40, "é" * 300]),
    usage=USAGES,
    input_times=st.sampled_from([1, 2]),
    limit_times=st.sampled_from([0, 0, 3]),
    ignores_limit=st.booleans(),
    status=st.sampled_from([200, 200, 200, 200, 400, 500]),
    cut_after=st.sampled_from([None, None, None, 0, 2, 5]),
    done=st.booleans(),
    finish_reason=st.sampled_from(["stop", "stop", None]),
)
ASKS = st.fixed_dictionaries(
    {
        "stream": st.booleans(),
        "limit": st.sampled_from([None, 1, 7, 500]),
        "n": st.sampled_from([1, 1, 3]),
        "keyed": st.booleans(),
        "api": st.sampled_from([CHAT, CHAT, RESPONSES]),
        "leaves_after": st.sampled_from([None, None, 1, 2, 4]),
        "in_chat": st.booleans(),
    }
)


@pytest.fixture(scope="module")
def fakes():
    with FakeOpenAI() as fast, FakeOpenAI() as other:
        yield {"fast": fast, "other": other}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    balance=st.integers(1, 3000),
    unit=st.sampled_from(["token", "byte"]),
    turns=st.lists(st.tuples(BEHAVIOURS, ASKS), min_size=1, max_size=6),
    at_once=st.booleans(),
)
def test_money_is_conserved(fakes, tmp_path_factory, balance, unit, turns, at_once):
    path = tmp_path_factory.mktemp("relay") / "ledger.db"
    asyncio.run(_played(path, fakes, balance, unit, turns, at_once=at_once))


async def _played(path, fakes, balance, unit, turns, *, at_once):
    prices = {name: PRICE | {"unit": unit} for name in fakes}
    counter = Counter(path, fakes, prices=prices, fallbacks={"fast": ("other",)})
    try:
        payer = await counter.desk.payer(balance)
        chat_no = await counter.desk.chat(payer)
        asked = [_asked(counter, payer, chat_no, number, *turn) for number, turn in enumerate(turns)]
        spent = sum(await asyncio.gather(*asked) if at_once else [await each for each in asked])
        account = counter.desk.check(payer)
        assert spent <= account.spent <= balance
        await counter.desk.audit()
    finally:
        await counter.aclose()


async def _asked(counter, payer, chat_no, number, behaviour, ask):
    """What its receipt says it cost; 0 where it failed or was left."""
    limit_name = "max_tokens" if ask["api"] is CHAT else "max_output_tokens"
    body = {"stream": ask["stream"], limit_name: ask["limit"], "fake": _as_json(behaviour)}
    body |= {"n": ask["n"]} if ask["api"] is CHAT else {"input": "Hello there"}
    key = f"k{number}" if ask["keyed"] else None
    order = counter.order(payer, api=ask["api"], key=key, chat_no=chat_no if ask["in_chat"] else None, **body)
    try:
        if not ask["stream"]:
            receipt = (await counter.relay.answer(order)).receipt
        else:
            receipt = await _streamed(counter.relay.stream(order), ask["leaves_after"])
    except (InsufficientFunds, ProviderError):
        return 0
    except PrepaidError as error:  # nothing else may come of an upstream's behaviour
        raise AssertionError(repr(error)) from error
    assert receipt is None or 0 <= receipt.cost <= receipt.held
    return 0 if receipt is None else receipt.cost


async def _streamed(stream, leaves_after):
    pieces = []
    try:
        async for piece in stream:
            pieces.append(piece)
            if len(pieces) == leaves_after:
                return None
    finally:
        await stream.aclose()
    return pieces[-1]


def _as_json(behaviour):
    """The fake takes a request's behaviour from its body, so that it does not matter which comes first."""
    default = Behaviour()
    changed = {name: value for name, value in vars(behaviour).items() if value != getattr(default, name)}
    assert replace(default, **changed) == behaviour
    return changed
