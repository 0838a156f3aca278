"""One turn of a chat as a run of a pydantic-ai agent: tools, MCP servers, structured output."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Final, cast

from pydantic_ai import Agent
from pydantic_ai.exceptions import UnexpectedModelBehavior, UsageLimitExceeded
from pydantic_ai.output import OutputSpec
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import Tool as AgentTool
from pydantic_ai.toolsets import AbstractToolset
from pydantic_ai.usage import UsageLimits
from pydantic_core import to_json

from prepaid.agents.bridge import BridgedModel, Piece
from prepaid.agents.conversion import kept_messages, last_uses, to_model_messages
from prepaid.agents.handoff import Handoff, Sink
from prepaid.agents.replay import output_of, plain_answer
from prepaid.agents.tab import FirstPlaceTaken, Opening, Reopen, Tab
from prepaid.errors import ModelCallLimitReached, ProviderResponseInvalid
from prepaid.ledger import new_id
from prepaid.meter import PaidCall, Payer, Replay, begin_once
from prepaid.models.contract import Model
from prepaid.records import Message, TextDelta, ToolCall, Usage
from prepaid.turns import Answer, Turns

__all__ = ["MODEL_CALLS_MAX", "AgentAnswer", "AgentQuestion", "ChatAgent", "Opening"]

MODEL_CALLS_MAX: Final = 25
"""A loop of tools ends here unless its chat says otherwise."""

_EARLY_ENDS: Final = ("length", "content_filter")


@dataclass(frozen=True, slots=True)
class AgentQuestion:
    """What is asked in a turn, who pays, and who may answer: ``models`` are tried in order (spec C12).

    ``reopen`` is needed where ``opening`` has a place in a chat. ``key`` makes a retry safe (spec D3).
    """

    payer: Payer
    text: str
    models: tuple[Model, ...]
    key: str | None = None
    opening: Opening = field(default_factory=Opening)
    reopen: Reopen | None = None
    system_prompt: str | None = None
    output_tokens_max: int | None = None
    temperature: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentAnswer(Answer):
    """The answer to a whole turn.

    Amounts and usage are sums over its model calls, ``tool_calls`` are all that were answered.
    ``output`` is the structured output, whose JSON is then ``text``; without an output type it is the
    text. ``messages`` is what the turn adds to its chat.
    """

    output: Any = None
    model_calls: int = 0
    messages: tuple[Message, ...] = ()

    def to_json(self) -> str:
        """The answer as kept for its key: without ``output`` and ``messages``, which need not be JSON."""
        return plain_answer(self).to_json()


class ChatAgent:
    """Answers a chat's turns with tools; made once for a chat, because schemas are built from the tools.

    ``tools`` are Python functions, sync or async, described by their docstrings and annotations.
    ``toolsets`` are pydantic-ai's, or whatever ``MCPToolset`` takes for an MCP server: a script, a URL, a
    FastMCP transport. A server is started for each turn unless the caller keeps its toolset entered.
    ``output_type`` is what the answer must be: a pydantic model, a dataclass, any type of pydantic-ai's.
    """

    def __init__(
        self,
        turns: Turns,
        *,
        tools: Sequence[Callable[..., Any] | AgentTool] = (),
        toolsets: Sequence[Any] = (),
        output_type: OutputSpec[Any] | None = None,
        model_calls_max: int = MODEL_CALLS_MAX,
    ) -> None:
        self.turns = turns
        self.output_type: OutputSpec[Any] = str if output_type is None else output_type
        self.is_text = self.output_type is str
        self.model_calls_max = model_calls_max
        self.agent: Agent[None, Any] = Agent(
            output_type=self.output_type,
            tools=list(tools),
            toolsets=[_toolset(each) for each in toolsets],
            name="chat",
        )

    async def stream(self, question: AgentQuestion) -> AsyncGenerator[TextDelta | ToolCall | AgentAnswer]:
        """The answer as it comes; the last event is the ``AgentAnswer``, settled and saved by then.

        What a tool raises comes through unchanged, and so do pydantic-ai's errors about tools that cannot
        be used at all. In any error what the models had answered is paid, and nothing is saved.

        Raises:
            InsufficientFunds: the balance does not pay the next call of the turn.
            ModelCallLimitReached: the turn takes more model calls than allowed.
            ProviderError: every model failed, or none gave an answer of the wanted kind.
            PrepaidError: as ``Turns.stream``.
        """
        handoff: Handoff[TextDelta | ToolCall, AgentAnswer] = Handoff(partial(self._answered, question))
        async with aclosing(handoff) as events:
            async for event in events:
                yield event
        yield events.result

    async def _answered(self, question: AgentQuestion, sink: Sink[TextDelta | ToolCall]) -> AgentAnswer:
        if question.key is None:
            return await self._run(question, sink, None)
        meant = (question.opening.place and question.opening.place.chat_no, question.text)
        begun = await begin_once(
            self.turns.meter, question.payer, question.key, *meant, question.output_tokens_max
        )
        if isinstance(begun, Replay):
            answer = await self._replayed(question.payer, Answer.from_json(begun.response))
            await sink(TextDelta(answer.text))
            return answer
        try:
            return await self._run(question, sink, begun)
        finally:
            await begun.abandon()

    async def _run(
        self, question: AgentQuestion, sink: Sink[TextDelta | ToolCall], once: PaidCall | None
    ) -> AgentAnswer:
        opening = question.opening
        while True:
            try:
                return await _Run(self, question, opening, sink).answered(once)
            except FirstPlaceTaken as first:
                assert question.reopen is not None, "who has a place can reopen it"
                opening = await question.reopen(first.taken)

    async def _replayed(self, payer: Payer, answer: Answer) -> AgentAnswer:
        kept = {each.name: getattr(answer, each.name) for each in fields(Answer)}
        kept["available"] = await self.turns.meter.available(payer)
        return AgentAnswer(**kept, output=output_of(answer.text, self.output_type))


class _Run:
    """One run of the agent, from its place in the chat to the saved turn."""

    def __init__(
        self, owner: ChatAgent, question: AgentQuestion, opening: Opening, sink: Sink[TextDelta | ToolCall]
    ) -> None:
        self._owner = owner
        self._question = question
        self._sink = sink
        self._tab = Tab(
            owner.turns, question.payer, question.models, opening, question.reopen, new_id("run"), self._show
        )
        self._model = BridgedModel(question.models[0].info, self._tab.ask)

    async def answered(self, once: PaidCall | None) -> AgentAnswer:
        """Run, pay, save."""
        try:
            text, output = await self._spoken()
        except asyncio.CancelledError:
            await self._tab.stop(self._part())
            raise
        except BaseException:
            await self._tab.stop(None)
            raise
        answer = self._answer(text, output)
        behind = None if once is None else once.settle(Usage(), response=answer.to_json())
        return replace(answer, available=await self._tab.close(answer.messages, behind))

    async def _spoken(self) -> tuple[str, Any]:
        """The final text, and the output that it stands for."""
        question, limit = self._question, self._owner.model_calls_max
        try:
            result = await self._owner.agent.run(
                question.text,
                message_history=to_model_messages(self._tab.opening.history),
                instructions=question.system_prompt,
                model=self._model,
                model_settings=_settings(question),
                usage_limits=UsageLimits(request_limit=limit),
                run_id=self._tab.run_id,
            )
        except UsageLimitExceeded as error:
            raise ModelCallLimitReached("model_calls_max", limit) from error
        except UnexpectedModelBehavior as error:
            return self._cut_short(error)
        output = result.output
        self._tab.asked += tuple(last_uses(result.new_messages()))
        return (output if isinstance(output, str) else _as_json(output)), output

    def _cut_short(self, error: UnexpectedModelBehavior) -> tuple[str, Any]:
        """What there is of a text that ended early, as the answer says by its ``finish_reason``."""
        last = self._tab.answers[-1] if self._tab.answers else None
        if last is not None and last.finish_reason in _EARLY_ENDS and self._owner.is_text:
            return last.text, last.text
        raise ProviderResponseInvalid(
            f"No usable answer came: {error}; what was answered so far is paid.",
            remedy="Ask again, allow a longer output, or choose another model or a simpler output type.",
        ) from error

    def _kept(self, text: str) -> tuple[Message, ...]:
        return kept_messages(self._question.text, self._tab.asked, text, self._model.output_tools)

    def _part(self) -> tuple[Message, ...] | None:
        """What to save for a caller who left: the text as far as it came, where a text was asked for."""
        text = "".join(self._tab.said)
        return self._kept(text) if text and self._owner.is_text else None

    async def _show(self, piece: Piece) -> None:
        is_inner = isinstance(piece, Answer) or (
            isinstance(piece, ToolCall) and piece.name in self._model.output_tools
        )
        if not is_inner:
            await self._sink(cast("TextDelta | ToolCall", piece))

    def _answer(self, text: str, output: Any) -> AgentAnswer:
        answers, messages = self._tab.answers, self._kept(text)
        last = answers[-1]
        return AgentAnswer(
            text=text,
            model=last.model,
            finish_reason="stop" if last.finish_reason == "tool_calls" else last.finish_reason,
            tool_calls=tuple(call for message in messages for call in message.tool_calls),
            usage=_total([answer.usage for answer in answers]),
            held=sum(answer.held for answer in answers),
            cost=sum(answer.cost for answer in answers),
            available=0,
            output_limit=last.output_limit,
            is_lowered=any(answer.is_lowered for answer in answers),
            shortfall=sum(answer.shortfall for answer in answers),
            output=output,
            model_calls=len(answers),
            messages=messages,
        )


def _toolset(each: Any) -> AbstractToolset[None]:
    if isinstance(each, AbstractToolset):
        return each
    from pydantic_ai.mcp import MCPToolset  # noqa: PLC0415 -- only those who have a server wait for its client

    return MCPToolset(each)


def _settings(question: AgentQuestion) -> ModelSettings:
    settings = ModelSettings(extra_body=dict(question.extra))
    if question.output_tokens_max is not None:
        settings["max_tokens"] = question.output_tokens_max
    if question.temperature is not None:
        settings["temperature"] = question.temperature
    return settings


def _as_json(output: Any) -> str:
    return to_json(output, fallback=str).decode()


def _total(usages: list[Usage]) -> Usage:
    return Usage(**{each.name: sum(getattr(usage, each.name) for usage in usages) for each in fields(Usage)})
