"""How several answers become one, and when no further answer can change that."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prepaid.errors import ConsensusTimeout, InvalidRequestError, NodeValidationFailed
from prepaid.routing.nodes import CONFIDENCE_MAX, REDUNDANCY_MAX, Aggregation, Routing

__all__ = [
    "Answer",
    "Scorer",
    "aggregate",
    "agreement",
    "answers_needed",
    "is_decided",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one node said. A node that failed has not answered."""

    node_id: str
    content: str


Scorer = Callable[[Sequence[Answer]], Sequence[float]]
"""One score per answer, in their order; higher is better, equal scores fall to the earlier answer."""


def answers_needed(routing: Routing) -> int:
    """How many answers it takes at least; for VOTE, how many equal ones."""
    share = -(-routing.confidence * routing.redundancy // CONFIDENCE_MAX)
    least = {Aggregation.ALL: routing.redundancy, Aggregation.VOTE: routing.redundancy // 2 + 1}
    if routing.aggregation is Aggregation.ANY:
        return 1
    return max(least.get(routing.aggregation, 1), share)


def is_decided(answers: Sequence[Answer], outstanding: int, routing: Routing) -> bool:
    """Whether the ``outstanding`` answers can change nothing: neither the first choice nor that there is one.

    ``outstanding`` counts the nodes that may still answer: asked, not answered, not failed. ALL,
    SELECT_BEST and RANK wait for every one of them, unless it is certain that too few will come.
    """
    counted = _counted(answers, routing)
    outstanding = min(outstanding, routing.redundancy - len(counted))
    needed = answers_needed(routing)
    if outstanding <= 0:
        return True
    if routing.aggregation is Aggregation.ANY:
        return len(counted) >= needed
    if routing.aggregation is Aggregation.VOTE:
        most = len(_largest_group(counted))
        return most >= needed or most + outstanding < needed
    return len(counted) + outstanding < needed


def aggregate(
    answers: Sequence[Answer], routing: Routing, *, scorer: Scorer | None = None
) -> tuple[Answer, ...]:
    """The answers chosen; the first is *the* answer. ``answers`` are in the order of their completion.

    ANY and SELECT_BEST choose one, ALL all, VOTE those that agree, RANK all by falling score. A node
    counts once, with its first answer, and no more than ``redundancy`` answers count. Without a
    ``scorer`` an answer is as good as ``agreement`` says.

    Raises:
        ConsensusTimeout: too few answers came, and the missing ones could have decided it.
        NodeValidationFailed: the votes disagree, whatever the missing ones would have said.
        InvalidRequestError: the scorer gave no score for an answer.
    """
    counted = _counted(answers, routing)
    needed = answers_needed(routing)
    if routing.aggregation is Aggregation.VOTE:
        return _elect(counted, needed, routing)
    if len(counted) < needed:
        raise _too_few(len(counted), needed, routing)
    if routing.aggregation is Aggregation.ANY:
        return counted[:1]
    if routing.aggregation is Aggregation.ALL:
        return counted
    ranked = _ranked(counted, scorer or agreement)
    return ranked if routing.aggregation is Aggregation.RANK else ranked[:1]


def agreement(answers: Sequence[Answer]) -> tuple[float, ...]:
    """How much each answer has in common with the others on average, from 0 to 1; alone: 1.

    What is compared are the trigrams of the normalised text (Dice's coefficient): any language, and
    linear in the length, so that a long answer cannot stall the server as an edit distance would.
    """
    profiles = [_trigrams(answer.content) for answer in answers]
    others = len(profiles) - 1
    if others < 1:
        return (1.0,) * len(profiles)
    return tuple(
        math.fsum(_similarity(profile, other) for other in profiles if other is not profile) / others
        for profile in profiles
    )


def _elect(counted: tuple[Answer, ...], needed: int, routing: Routing) -> tuple[Answer, ...]:
    winners = _largest_group(counted)
    if len(winners) >= needed:
        return winners
    missing = routing.redundancy - len(counted)
    if len(winners) + missing >= needed:
        raise _too_few(len(winners), needed, routing)
    raise NodeValidationFailed(
        f"{len(winners)} of {len(counted)} answers agree; VOTE with confidence {routing.confidence} and "
        f"redundancy {routing.redundancy} needs {needed}."
    )


def _too_few(got: int, needed: int, routing: Routing) -> ConsensusTimeout:
    kind = "equal answers" if routing.aggregation is Aggregation.VOTE else "answers"
    return ConsensusTimeout(
        f"{got} {kind} came in time; {routing.aggregation.name} with confidence {routing.confidence} and "
        f"redundancy {routing.redundancy} needs {needed}."
    )


def _counted(answers: Sequence[Answer], routing: Routing) -> tuple[Answer, ...]:
    """Each node's first answer, in order: nobody votes twice."""
    first: dict[str, Answer] = {}
    for answer in answers:
        first.setdefault(answer.node_id, answer)
    return tuple(first.values())[: routing.redundancy]


def _largest_group(counted: tuple[Answer, ...]) -> tuple[Answer, ...]:
    """The most numerous equal answers; of two such groups the one that began earlier."""
    groups: dict[str, list[Answer]] = {}
    for answer in counted:
        groups.setdefault(_normalised(answer.content), []).append(answer)
    largest: list[Answer] = max(groups.values(), key=len, default=[])
    return tuple(largest)


def _ranked(counted: tuple[Answer, ...], scorer: Scorer) -> tuple[Answer, ...]:
    scores = scorer(counted)
    if len(scores) != len(counted) or any(math.isnan(score) for score in scores):
        raise InvalidRequestError(
            f"The scorer gave {list(scores)[:REDUNDANCY_MAX]} for {len(counted)} answers.",
            remedy="Return one number per answer, in their order, and none that is NaN.",
        )
    # sorted() is stable, reversed or not: equal scores stay in the order of completion.
    order = sorted(range(len(counted)), key=lambda place: scores[place], reverse=True)
    return tuple(counted[place] for place in order)


def _normalised(text: str) -> str:
    """``text`` as votes compare it: case, spacing and Unicode composition do not count, all else does."""
    return unicodedata.normalize("NFC", " ".join(unicodedata.normalize("NFC", text).casefold().split()))


def _trigrams(text: str) -> Counter[str]:
    padded = f"\0\0{_normalised(text)}\0\0"
    return Counter(padded[start : start + 3] for start in range(len(padded) - 2))


def _similarity(one: Counter[str], other: Counter[str]) -> float:
    return 2 * (one & other).total() / (one.total() + other.total())
