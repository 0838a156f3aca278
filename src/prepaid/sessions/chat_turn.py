"""One turn of a chat: the place it takes, what the model gets to see, and who answers (spec C5, C16)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prepaid.errors import ChatNotFound
from prepaid.meter import PaidCall, Payer, PlaceQueue, Replay
from prepaid.models.catalogue import check_model_name
from prepaid.models.contract import Model
from prepaid.records import ChatRecord, ChatRequest, Message, Role, TextDelta, ToolCall
from prepaid.sessions.agent_config import AgentConfig
from prepaid.store.operations import Place, PlaceTaken
from prepaid.turns import Answer, Question

if TYPE_CHECKING:
    from prepaid.agents import ChatAgent, Opening
    from prepaid.sessions.workspace import Workspace

__all__ = ["ChatTurn"]


@dataclass(slots=True)
class ChatTurn:
    """A question on its way to its answer. Used once."""

    workspace: Workspace
    payer: Payer
    chat_no: int
    config: AgentConfig
    text: str
    key: str | None
    output_tokens_max: int | None
    queue: PlaceQueue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = PlaceQueue(self.workspace.meter, self.payer.session_id)

    async def events(self) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """The answer as it comes, then the ``Answer``."""
        if self.config.needs_agent:
            events = self._by_agent()
        else:
            question, reserved = await self._reserved()
            events = self.workspace.turns.run(question, reserved)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _reserved(self) -> tuple[Question, PaidCall | Replay]:
        """The next place in the chat together with the money; waits while others stand there."""
        models = self._models()
        asked = Message(Role.USER, self.text)
        while True:
            record = await self._record()
            request = ChatRequest(
                model=models[0].info.name,
                messages=(*self._prompt(), *await self._history(record), asked),
                output_tokens_max=self.output_tokens_max or self.config.max_output_tokens,
                temperature=self.config.temperature,
            )
            place = Place(self.chat_no, record.turn_count, messages=2)
            question = Question(self.payer, request, models, key=self.key, place=place, asked=(asked,))
            reserved = await self.workspace.turns.reserve(question)
            if not isinstance(reserved, PlaceTaken):
                return question, reserved
            await self.queue.wait(reserved)

    async def _by_agent(self) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """Tools, MCP servers and structured output take several model calls: pydantic-ai runs the loop."""
        from prepaid.agents import AgentQuestion  # noqa: PLC0415 -- it takes a second to import

        question = AgentQuestion(
            self.payer,
            self.text,
            self._models(),
            key=self.key,
            opening=await self._opening(),
            reopen=self._reopened,
            system_prompt=self.config.system_prompt or None,
            output_tokens_max=self.output_tokens_max or self.config.max_output_tokens,
            temperature=self.config.temperature,
        )
        async with aclosing(self._agent().stream(question)) as events:
            async for event in events:
                yield event

    def _agent(self) -> ChatAgent:
        """The chat's agent; kept with its live parts, because building schemas takes a while."""
        from prepaid.agents import ChatAgent  # noqa: PLC0415 -- it takes a second to import

        place = (self.payer.session_id, self.chat_no)
        agent = self.workspace.agents.get(place)
        if agent is None:
            agent = self.workspace.agents[place] = ChatAgent(
                self.workspace.turns,
                tools=self.config.tools,
                toolsets=self.config.mcp_servers,
                output_type=self.config.output_type,
            )
        return agent

    async def _opening(self) -> Opening:
        from prepaid.agents import Opening  # noqa: PLC0415 -- it takes a second to import

        record = await self._record()
        return Opening(await self._history(record), Place(self.chat_no, record.turn_count, messages=2))

    async def _reopened(self, taken: PlaceTaken) -> Opening:
        await self.queue.wait(taken)
        return await self._opening()

    async def _record(self) -> ChatRecord:
        place = (self.payer.session_id, self.chat_no)
        record = await self.workspace.store.ask(lambda reads: reads.chat(*place))
        if record is None:
            raise ChatNotFound(f"{self.payer.session_id}.{self.chat_no}")
        return record

    def _models(self) -> tuple[Model, ...]:
        config = self.config
        if config.providers:
            own = config.providers[config.current_provider or next(iter(config.providers))]
            check_model_name(own.info.name)
            return (own,)
        name = config.current_model or self.workspace.settings.default_model
        if config.fallback_models is None:
            return self.workspace.models(name)
        return tuple(self.workspace.catalogue.resolve(each) for each in (name, *config.fallback_models))

    def _prompt(self) -> tuple[Message, ...]:
        prompt = self.config.system_prompt
        return (Message(Role.SYSTEM, prompt),) if prompt else ()

    async def _history(self, record: ChatRecord) -> tuple[Message, ...]:
        """The latest turns, whole."""
        limit = self.workspace.settings.context_messages
        kept = await self.workspace.store.ask(lambda reads: reads.messages(record, limit=limit))
        messages = [each.message for each in kept]
        if len(messages) < record.message_count:  # cut inside a turn: begin with the next question
            while messages and messages[0].role is not Role.USER:
                del messages[0]
        return tuple(messages)
