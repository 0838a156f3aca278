"""Two hundred requests at once on a balance that pays fifty: exactly fifty succeed (spec D1)."""

import asyncio

import pytest

from paying.desk import asks
from paying.models import END, PER_BYTE, Scripted
from prepaid.errors import InsufficientFunds
from prepaid.models.offline import OfflineModel
from prepaid.turns import Answer

pytest_plugins = ["paying.fixtures"]

FIRED = 200
PAID = 50


async def fire(desk, question, ask):
    """The answers and the refusals of as many equal requests at once."""
    results = await asyncio.gather(*(ask(desk, question()) for _ in range(FIRED)), return_exceptions=True)
    answers = [result for result in results if isinstance(result, Answer)]
    refusals = [result for result in results if isinstance(result, InsufficientFunds)]
    assert len(answers) + len(refusals) == FIRED, results
    return answers, refusals


async def whole(desk, question):
    return await desk.turns.answer(question)


async def streamed(desk, question):
    return [event async for event in desk.turns.stream(question)][-1]


@pytest.mark.parametrize("ask", [whole, streamed])
@pytest.mark.parametrize("keyed", [False, True])
async def test_with_a_limit_that_is_used_up(desk, ask, keyed):
    """Three tokens in, five out: each holds and costs 13."""
    payer = await desk.payer(PAID * 13)
    keys = (f"k{number}" if keyed else None for number in range(FIRED))
    answers, refusals = await fire(desk, lambda: asks(payer, OfflineModel(), limit=5, key=next(keys)), ask)
    assert (len(answers), len(refusals)) == (PAID, FIRED - PAID)
    assert {(answer.text, answer.held, answer.cost) for answer in answers} == {("1 2 3 4 5", 13, 13)}
    assert desk.check(payer, spent=PAID * 13).available == 0


@pytest.mark.parametrize("spare", [0, 1, 4])
async def test_what_is_left_over_pays_for_no_other(desk, spare):
    """Four are not enough for three tokens in and one out."""
    payer = await desk.payer(PAID * 13 + spare)
    answers, _ = await fire(desk, lambda: asks(payer, OfflineModel(), limit=5), whole)
    assert len(answers) == PAID
    assert desk.check(payer, spent=PAID * 13).available == spare


async def test_one_more_pays_for_a_shorter_answer(desk):
    payer = await desk.payer(PAID * 13 + 5)
    answers, _ = await fire(desk, lambda: asks(payer, OfflineModel(), limit=5), whole)
    assert sorted(answer.text for answer in answers)[:2] == ["1", "1 2 3 4 5"]
    assert sorted(answer.is_lowered for answer in answers) == [False] * PAID + [True]
    desk.check(payer, spent=PAID * 13 + 5)


async def test_by_the_byte(desk):
    payer = await desk.payer(PAID * (10 + 8))
    model = Scripted(("abcdefgh", END), price=PER_BYTE)
    answers, _ = await fire(desk, lambda: asks(payer, model, limit=1), whole)
    assert {(answer.text, answer.finish_reason, answer.cost) for answer in answers} == {
        ("abcd", "length", 18)
    }
    assert len(answers) == PAID
    assert desk.check(payer).available == 0


async def test_without_a_limit_once_the_holds_settle(open_desk):
    """Each holds the default limit of 57 tokens, nine times what it costs: who was refused while others held
    the rest comes again, and in the end fifty are paid."""
    desk = open_desk(default_output_tokens=57)
    payer = await desk.payer(PAID * 13)
    answers, waves = [], 0
    while True:
        more, refusals = await fire(desk, lambda: asks(payer, OfflineModel()), whole)
        if not more:
            break
        answers += more
        waves += 1
        assert all(refusal.held > 0 or refusal.available < 5 for refusal in refusals)
        desk.check(payer, spent=sum(answer.cost for answer in answers))
    assert waves > 1
    assert [answer.text for answer in answers] == ["1 2 3 4 5"] * PAID
    assert desk.check(payer, spent=PAID * 13).available == 0


async def test_a_default_limit_lets_a_burst_through(desk):
    """No limit given: what is held is the configured default, not all that the model could say."""
    payer = await desk.payer(PAID * (3 + 2 * 64))
    answers, refusals = await fire(desk, lambda: asks(payer, OfflineModel()), whole)
    assert len(answers) >= PAID
    assert {answer.cost for answer in answers} == {13}
    assert len(refusals) <= FIRED - PAID
    desk.check(payer, spent=13 * len(answers))


async def test_two_desks_sell_no_more_than_one(open_desk):
    """Guarantee 3: two writers on one file, as two processes."""
    desks = [open_desk(), open_desk()]
    payer = await desks[0].payer(PAID * 13)
    both = await asyncio.gather(
        *(fire(desk, lambda: asks(payer, OfflineModel(), limit=5), whole) for desk in desks)
    )
    assert sum(len(answers) for answers, _ in both) == PAID
    assert desks[0].check(payer, spent=PAID * 13).available == 0
