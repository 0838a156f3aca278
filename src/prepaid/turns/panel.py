"""One request to several nodes: each is held for, all are asked at once, and their answers become one.

Money moves when it is decided: the nodes that had answered by then are paid, the others' holds go back.
A request that fails, by time or by disagreement, costs nothing (spec A12, C12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from prepaid import routing as rules
from prepaid.errors import ConsensusTimeout, PrepaidError, ProviderError
from prepaid.meter import PaidCall, Replay
from prepaid.records import Finish, Usage
from prepaid.routing import Routing
from prepaid.store.operations import PlaceTaken
from prepaid.turns.question import Answer, Question
from prepaid.turns.run import Run
from prepaid.turns.turns import Turns

__all__ = ["PanelAnswer", "ask_panel"]


@dataclass(frozen=True, slots=True)
class PanelAnswer:
    """What the nodes decided: ``chosen`` node ids, best first, and the answers of all that were paid."""

    chosen: tuple[str, ...]
    answers: Mapping[str, Answer]

    @property
    def text(self) -> str:
        """The answer."""
        return self.answers[self.chosen[0]].text

    @property
    def cost(self) -> int:
        """Base units paid to all nodes together."""
        return sum(answer.cost for answer in self.answers.values())


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A node has answered, and is not paid yet."""

    run: Run
    finish: Finish
    usage: Usage
    answer: Answer


async def ask_panel(
    turns: Turns,
    questions: Mapping[str, Question],
    routing: Routing,
    seconds: float,
    keep: Callable[[PanelAnswer], Awaitable[object]] | None = None,
) -> PanelAnswer:
    """Ask every node its question; ``questions`` are by node id and have neither key nor place.

    ``keep`` is given what was decided right before it is paid, to queue a write for a retry to find: what was
    paid and cannot be found again would be paid twice.

    Raises:
        InsufficientFunds: the balance does not pay all of them; none was asked.
        ConsensusTimeout: too few answers within ``seconds``.
        NodeValidationFailed: the answers do not agree as the routing requires.
        ProviderError: the only node failed.
    """
    calls = await _reserve_all(turns, questions)
    tasks = {
        asyncio.ensure_future(_spoken(turns, questions[node_id], call)): node_id
        for node_id, call in calls.items()
    }
    try:
        spoken = await _until_decided(tasks, routing, seconds)
        chosen = rules.aggregate(_as_answers(spoken), routing)
        answers = {node_id: each.answer for node_id, each in spoken.items()}
        decided = PanelAnswer(tuple(answer.node_id for answer in chosen), answers)
        return replace(decided, answers=await _pay(spoken, () if keep is None else (keep(decided),)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(call.abandon() for call in calls.values()))


async def _reserve_all(turns: Turns, questions: Mapping[str, Question]) -> dict[str, PaidCall]:
    """All holds or none."""
    calls: dict[str, PaidCall] = {}
    try:
        for node_id, question in questions.items():
            reserved = await turns.reserve(question)
            assert not isinstance(reserved, PlaceTaken | Replay), "it has neither place nor key"
            calls[node_id] = reserved
    except BaseException:
        for call in calls.values():
            await call.abandon()
        raise
    return calls


async def _spoken(turns: Turns, question: Question, call: PaidCall) -> _Spoken:
    """The first of a node's models that answers."""
    failure: ProviderError | None = None
    for run in turns.runs(question, call):
        try:
            return await _whole(run)
        except ProviderError as error:
            failure = error
    assert failure is not None, "a hold pays for one of its models at least"
    raise failure


async def _whole(run: Run) -> _Spoken:
    finish: Finish | None = None
    async with aclosing(run.events()) as events:
        async for event in events:
            if isinstance(event, Finish):
                finish = event
    assert finish is not None, "a run ends with how it ended, or raises"
    usage = run.usage_told(finish.usage)
    return _Spoken(run, finish, usage, run.answer(finish, usage))


async def _until_decided(
    tasks: Mapping[asyncio.Task[_Spoken], str], routing: Routing, seconds: float
) -> dict[str, _Spoken]:
    """The answers in the order in which they came, as far as they are needed."""
    spoken: dict[str, _Spoken] = {}
    failures: list[PrepaidError] = []
    pending = set(tasks)
    deadline = asyncio.get_running_loop().time() + seconds
    while pending and not rules.is_decided(_as_answers(spoken), len(pending), routing):
        left = deadline - asyncio.get_running_loop().time()
        done, pending = await asyncio.wait(pending, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
        for task in sorted(done, key=lambda each: tasks[each]):
            try:
                spoken[tasks[task]] = task.result()
            except ProviderError as failure:
                failures.append(failure)
    if not spoken and failures and not pending:
        raise failures[0]
    if not spoken:
        raise ConsensusTimeout(f"No node answered within {seconds:g} s.")
    return spoken


def _as_answers(spoken: Mapping[str, _Spoken]) -> list[rules.Answer]:
    return [rules.Answer(node_id, each.answer.text) for node_id, each in spoken.items()]


async def _pay(spoken: Mapping[str, _Spoken], first: Iterable[Awaitable[object]]) -> dict[str, Answer]:
    """The answers, paid. What comes ``first`` is queued before the payments: durable no later than they."""
    kept = [asyncio.ensure_future(each) for each in first]
    settled = await asyncio.gather(
        *(each.run.call.settle(each.usage, quoted=each.run.offer.quoted) for each in spoken.values())
    )
    await asyncio.gather(*kept)
    return {
        node_id: replace(each.answer, available=paid.available)
        for (node_id, each), paid in zip(spoken.items(), settled, strict=True)
    }
