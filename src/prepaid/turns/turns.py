"""Answers questions, and has them paid: the order in which money and models move."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace

from prepaid import pricing
from prepaid.errors import ProviderError
from prepaid.meter import Meter, PaidCall, Replay
from prepaid.models.contract import Model
from prepaid.records import Finish, Message, Quote, Role, TextDelta, ToolCall
from prepaid.store.operations import PlaceTaken, Turn
from prepaid.turns.offers import REQUEST_BYTES_MAX, Offers
from prepaid.turns.question import Answer, Question
from prepaid.turns.run import Run

__all__ = ["Turns"]


class Turns:
    """Answers questions, and has them paid.

    A request that names no limit is quoted ``default_output_tokens``; one whose texts are longer than
    ``request_bytes_max`` is refused.
    """

    def __init__(
        self, meter: Meter, default_output_tokens: int, *, request_bytes_max: int = REQUEST_BYTES_MAX
    ) -> None:
        self.meter = meter
        self._offers = Offers(default_output_tokens, request_bytes_max)

    async def answer(self, question: Question) -> Answer:
        """The whole answer at once; see ``stream``."""
        answer: Answer | None = None
        async with aclosing(self.stream(question)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    answer = event
        assert answer is not None, "a stream ends with its answer"
        return answer

    async def stream(self, question: Question) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """The answer as it comes; the last event is the ``Answer``, settled and durable by then.

        Raises:
            InvalidRequestError: the request can never succeed as it is (``Offers.first`` says why).
            InsufficientFunds: not even the input and one unit of output can be paid.
            ProviderError: every model failed; it cost nothing.
            PrepaidError: as ``Meter.open``.
        """
        reserved = await self.reserve(question)
        assert not isinstance(reserved, PlaceTaken), "a question with a place is reserved first"
        async with aclosing(self.run(question, reserved)) as events:
            async for event in events:
                yield event

    async def reserve(self, question: Question) -> PaidCall | PlaceTaken | Replay:
        """The first half: quote and hold. With a place in a chat, it may turn out to be taken.

        The hold is the dearest quote of the models that may answer, or what there is of it.
        """
        offer = self._offers.first(question)
        return await self.meter.open(
            question.payer,
            offer.quoted,
            others=tuple(other.quoted for other in self._offers.others(question)),
            key=question.key,
            content=None if question.key is None else question.content,
            place=question.place,
        )

    def quote(self, question: Question, model: Model) -> Quote:
        """The worst case with this model: every input unit, and the whole output limit."""
        return self._offers.of(question, model).quoted

    async def run(
        self, question: Question, reserved: PaidCall | Replay
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """The second half: run the model, and settle."""
        if isinstance(reserved, Replay):
            async with aclosing(self._replayed(question, reserved)) as kept:
                async for event in kept:
                    yield event
            return
        runs: list[Run] = []
        try:
            async with aclosing(self._first_to_answer(question, reserved, runs)) as events:
                async for event in events:
                    yield event
        except BaseException as error:
            await _finish_early(question, reserved, runs, error)
            raise

    async def _replayed(
        self, question: Question, replay: Replay
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        answer = Answer.from_json(replay.response)
        if answer.text:
            yield TextDelta(answer.text)
        for call in answer.tool_calls:
            yield call
        yield replace(answer, available=await self.meter.available(question.payer))

    async def _first_to_answer(
        self, question: Question, call: PaidCall, runs: list[Run]
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        failure: ProviderError | None = None
        for run in self.runs(question, call):
            runs.append(run)
            try:
                async with aclosing(_events(question, run)) as events:
                    async for event in events:
                        yield event
            except ProviderError as error:
                call.exposure += run.exposure(error)
                # Where the caller has seen a part, another model cannot go on from there.
                if run.has_spoken:
                    raise
                failure = error
            else:
                return
        assert failure is not None, "a hold pays for one of its models at least"
        raise failure

    def runs(self, question: Question, call: PaidCall) -> Iterator[Run]:
        """The models that the hold can pay, in order, each ready to start; the next when one has failed."""
        if call.granted >= call.quoted.minimum:
            yield Run(call, self._offers.held(question, call.quoted), question.request)
        for other in self._offers.others(question):
            if call.granted >= other.quoted.minimum:
                yield Run(call, other, question.request)


async def _events(question: Question, run: Run) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
    finish: Finish | None = None
    async with aclosing(run.events()) as events:
        async for event in events:
            if isinstance(event, Finish):
                finish = event
            else:
                yield event
    assert finish is not None, "a run ends with how it ended, or raises"
    yield await _settle(question, run, finish)


async def _settle(question: Question, run: Run, finish: Finish) -> Answer:
    usage = run.usage_told(finish.usage)
    answer = run.answer(finish, usage)
    settled = await run.call.settle(
        usage,
        quoted=run.offer.quoted,
        turn=_turn(question, run),
        response=answer.to_json() if run.call.is_keyed else None,
    )
    run.is_settled = True
    run.call.measure = None  # where it is captured later, what was told counts until then
    return replace(answer, available=settled.available)


async def _finish_early(question: Question, call: PaidCall, runs: list[Run], reason: BaseException) -> None:
    """The caller is gone, or the request failed: what becomes of its hold.

    A caller that is gone pays for what it was given, and that is saved; a failure costs nothing.
    """
    run = runs[-1] if runs else None
    if call.is_resolved or (run is not None and run.is_settled):
        return
    try:
        if run is None or isinstance(reason, ProviderError):
            await call.abandon(0)
            return
        # Closed, cancelled or interrupted:
        if run.has_spoken and not isinstance(reason, Exception):
            usage = run.usage_so_far()
            left = run.exposure(reason, charged=pricing.cost(run.offer.quoted.price, usage))
            turn = _turn(question, run)
            await call.settle(usage, quoted=run.offer.quoted, turn=turn, exposure=left)
            return
        await call.abandon(run.exposure(reason))
    except Exception as failure:  # noqa: BLE001 -- the reason matters more, and a cancellation must stay one
        reason.add_note(f"Its hold is left to the sweep: {failure!r}")


def _turn(question: Question, run: Run) -> Turn | None:
    if question.place is None:
        return None
    said = Message(Role.ASSISTANT, "".join(run.text), tuple(run.tool_calls))
    return Turn((*question.asked, said), run.answering_ms)
