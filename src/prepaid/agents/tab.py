"""The model calls of one turn of a chat, and the order in which they are held, settled and saved.

A call that asks for a tool is settled when the next one is held, in one batch, so that the chat's place
is never free in between; the last one is settled with the turn's messages, in one transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from prepaid import pricing
from prepaid.agents.bridge import Piece
from prepaid.agents.handoff import Sink, finished
from prepaid.errors import ConflictError
from prepaid.meter import PaidCall, Payer, Replay
from prepaid.models.contract import Model
from prepaid.records import ChatRequest, Message, Quote, Role, TextDelta, Usage
from prepaid.store.operations import Place, PlaceTaken, Settled, Turn
from prepaid.turns import Answer, Question, Turns

__all__ = ["FirstPlaceTaken", "Opening", "Reopen", "Tab"]


@dataclass(frozen=True, slots=True)
class Opening:
    """Where the next turn of a chat will stand, and what was said before it. Without a chat: no place."""

    history: tuple[Message, ...] = ()
    place: Place | None = None


A = TypeVar("A")
B = TypeVar("B")
Reopen = Callable[[PlaceTaken], Awaitable[Opening]]
"""Waits until the turn that came first is settled, and reads the chat again."""


class FirstPlaceTaken(Exception):
    """Another turn came before this one had asked anything: its history must be read again."""

    def __init__(self, taken: PlaceTaken) -> None:
        self.taken = taken
        super().__init__(taken)


@dataclass(slots=True, eq=False)
class _Step(PaidCall):
    """A paid call that is settled later than it is answered; until then the ledger knows what it costs."""

    is_answered: bool = False
    unpaid: int = 0

    @classmethod
    def of(cls, call: PaidCall) -> _Step:
        """``call``, to be settled later."""
        step = cls(call.meter, call.payer, call.quoted, call.key, call.granted, call.is_keyed)
        call.meter.running.discard(call)
        call.meter.running.add(step)
        return step

    async def settle(
        self,
        usage: Usage,
        *,
        quoted: Quote | None = None,
        turn: Turn | None = None,  # noqa: ARG002 -- the tab saves the turn
        response: str | None = None,  # noqa: ARG002 -- a step has no key of the caller's
        unpaid: int = 0,
        exposure: int = 0,
    ) -> Settled:
        """Remember what to capture; ``pay`` captures it."""
        self.usage = usage
        self.unpaid = unpaid
        self.exposure += exposure
        self.quoted = quoted or self.quoted
        self.is_answered = True
        cost = pricing.cost(self.quoted.price, usage)
        captured = min(cost, self.granted)
        return Settled(self.key, captured, self.granted - captured, cost - captured, 0)

    async def abandon(self, exposure: int | None = None) -> None:
        """Release the hold, unless there is an answer to pay for."""
        if not self.is_answered:
            await PaidCall.abandon(self, exposure)

    async def pay(self, turn: Turn | None = None) -> Settled:
        """Capture, and save the turn."""
        return await PaidCall.settle(self, self.usage, turn=turn, unpaid=self.unpaid)


@dataclass(slots=True, eq=False)
class Tab:
    """What one turn has called and cost so far.

    ``sink`` is given each piece of what the run ``run_id`` is answered. ``asked`` are the messages that
    its last call was told since the question; ``said`` is what that has answered by now. ``reopen`` is
    needed where ``opening`` has a place.
    """

    turns: Turns
    payer: Payer
    models: tuple[Model, ...]
    opening: Opening
    reopen: Reopen | None
    run_id: str
    sink: Sink[Piece]
    answers: list[Answer] = field(default_factory=list)
    step_count: int = 0
    asked: tuple[Message, ...] = ()
    said: list[str] = field(default_factory=list)
    _step: _Step | None = None
    _questions_at: int | None = None
    _started: float = field(default_factory=time.monotonic)

    async def ask(self, request: ChatRequest, run_id: str | None) -> AsyncGenerator[Piece]:
        """The next model call of the turn.

        Raises:
            FirstPlaceTaken: nothing was asked; begin again with another opening.
            PrepaidError: as ``Turns.stream``.
        """
        question = Question(self.payer, request, self.models)
        # A tool may run another agent on this model: that is paid at once, and not of the chat.
        pieces = self._ahead(question) if run_id == self.run_id else self.turns.stream(question)
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Answer):
                    self.answers.append(piece)
                yield piece

    async def _ahead(self, question: Question) -> AsyncGenerator[Piece]:
        self._listen(question.request)
        self._step = step = await self._held(question)
        self.step_count += 1
        async with aclosing(self.turns.run(question, step)) as pieces:
            async for piece in pieces:
                if isinstance(piece, TextDelta):
                    self.said.append(piece.text)
                await self.sink(piece)
                yield piece

    async def close(
        self, messages: tuple[Message, ...] | None, behind: Awaitable[object] | None = None
    ) -> int:
        """Pay the last call, save the turn, do what belongs ``behind`` it in the batch; what is left then."""
        step, self._step = self._step, None
        assert step is not None, "a turn ends with a call"
        turn = None
        if messages and self.opening.place is not None:
            turn = Turn(messages, int((time.monotonic() - self._started) * 1000))
        paid = step.pay(turn)
        settled, _ = (await paid, None) if behind is None else await _both(paid, behind)
        return settled.available

    async def stop(self, messages: tuple[Message, ...] | None) -> None:
        """``close`` for a turn that came to no end: what was answered is paid."""
        if self._step is not None and self._step.is_answered:
            await self.close(messages)

    def _listen(self, request: ChatRequest) -> None:
        """Note what is new since the question, which is the last that the first request has of the user."""
        if self._questions_at is None:
            self._questions_at = max(
                at for at, message in enumerate(request.messages) if message.role is Role.USER
            )
        self.asked = request.messages[self._questions_at + 1 :]
        self.said.clear()

    async def _held(self, question: Question) -> _Step:
        while True:
            reserved = await self._reserved(question)
            if isinstance(reserved, PaidCall):
                return _Step.of(reserved)
            assert isinstance(reserved, PlaceTaken), "only a key is replayed"
            if not self.step_count:
                raise FirstPlaceTaken(reserved)
            if self.reopen is None:
                raise ConflictError("The chat moved on during this turn.", remedy="Ask again.")
            self.opening = replace(self.opening, place=(await self.reopen(reserved)).place)

    async def _reserved(self, question: Question) -> PaidCall | PlaceTaken | Replay:
        """Hold the next call; the one before is settled right ahead of it, in the same batch."""
        place = self.opening.place
        if place is not None:
            # What this turn will add at least: its question, two for each use of a tool, and its answer.
            place = replace(place, messages=2 * (self.step_count + 1))
        hold = self.turns.reserve(replace(question, place=place))
        before, self._step = self._step, None
        if before is None:
            return await hold
        return await _settled_and_held(before, hold)


async def _settled_and_held(
    before: _Step, hold: Coroutine[Any, Any, PaidCall | PlaceTaken | Replay]
) -> PaidCall | PlaceTaken | Replay:
    """Both, in this order and one batch; where one fails or we are cancelled, nothing stays held."""
    paying, holding = asyncio.create_task(before.pay()), asyncio.create_task(hold)
    try:
        await asyncio.gather(paying, holding)
    except BaseException:
        holding.cancel()
        try:
            await finished(paying, holding)
        finally:
            if not holding.cancelled() and holding.exception() is None:
                held = holding.result()
                if isinstance(held, PaidCall):
                    await held.abandon()
        raise
    return holding.result()


async def _both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Both results; each is begun, in this order, before anything else runs, and neither is left alone."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other
