"""One chat of a session: turns in order, each paid and saved together with its payment (spec C5)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prepaid.errors import ChatNotFound, PrepaidError
from prepaid.meter import PaidCall, Payer, Replay
from prepaid.models.contract import Model
from prepaid.records import ChatRecord, ChatRequest, Message, Role, StoredMessage, TextDelta, ToolCall
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.events import AIRequestFailed, AIResponseReceived
from prepaid.sessions.values import as_time, check_text
from prepaid.store.operations import ClearMessages, Place, PlaceTaken, Reconcile, UpdateChat
from prepaid.turns import Answer, Question

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["Chat", "ChatStats"]

_POLL_SECONDS_MAX = 0.1


@dataclass(frozen=True, slots=True)
class ChatStats:
    """A chat in numbers (spec C8). ``average_response_time`` is in seconds, ``spent`` in base units."""

    chat_id: str
    message_count: int
    turn_count: int
    created_at: datetime
    last_message: datetime | None
    average_response_time: float | None
    spent: int


class Chat:
    """A conversation inside a session; a cheap handle, all it knows is in the store.

    Turns sent at once are answered one after the other, in every process together: each sees the
    answers of those before, and no answer is ever parted from its question.
    """

    __slots__ = ("_workspace", "chat_no", "payer")

    def __init__(self, workspace: Workspace, payer: Payer, chat_no: int) -> None:
        self._workspace = workspace
        self.payer = payer
        self.chat_no = chat_no

    @property
    def chat_id(self) -> str:
        """The session's id, a dot, and the chat's number in it."""
        return f"{self.payer.session_id}.{self.chat_no}"

    @property
    def record(self) -> ChatRecord:
        """The chat as it is now.

        Raises:
            ChatNotFound: it does not exist.
        """
        record = self._workspace.store.reads.chat(self.payer.session_id, self.chat_no)
        if record is None:
            raise ChatNotFound(self.chat_id)
        return record

    @property
    def name(self) -> str:
        """The name it was given, or "Chat n"."""
        return self.record.name

    @property
    def metadata(self) -> dict[str, Any]:
        """What the app keeps with it."""
        kept: dict[str, Any] = json.loads(self.record.metadata)
        return kept

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags it was given."""
        return self.record.tags

    @property
    def config(self) -> AgentConfig:
        """How it answers.

        Raises:
            InvalidRequestError: it has tools that must be attached in this process first.
        """
        return self._config(self.record)

    async def send_message(
        self, text: str, *, key: str | None = None, max_output_tokens: int | None = None
    ) -> Answer:
        """Ask, wait for the whole answer, pay for it.

        ``key`` makes a retry safe: it gives the same answer once (spec D3).

        Raises:
            InsufficientFunds: not even the question and one token of answer can be paid.
            SessionPaused, SessionAlreadyClosed, SessionExpired: the session cannot spend.
            MessageLimitReached: the chat is full.
            ProviderError: every model failed; it cost nothing.
        """
        async with aclosing(
            self.stream_message(text, key=key, max_output_tokens=max_output_tokens)
        ) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise AssertionError("a stream ends with its answer")

    async def stream_message(
        self, text: str, *, key: str | None = None, max_output_tokens: int | None = None
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """Ask, and get the answer as it comes; the last event is the ``Answer``.

        Close the generator (``aclosing``) to stop early: what was delivered is paid for and saved.
        """
        check_text(text, "message")
        async with self._workspace.turn_lock(self.payer.session_id, self.chat_no):
            try:
                async with aclosing(self._answers(text, key, max_output_tokens)) as events:
                    async for event in events:
                        if isinstance(event, Answer):
                            self._tell(event)
                        yield event
            except PrepaidError as error:
                self._workspace.events.emit(
                    AIRequestFailed(self.payer.session_id, self.payer.owner, self.chat_id, error.code)
                )
                raise

    async def get_last_response(self) -> str | None:
        """The last answer's text."""
        for stored in reversed(await self.get_history(limit=10)):
            if stored.message.role is Role.ASSISTANT and stored.message.text:
                return stored.message.text
        return None

    async def get_history(self, *, limit: int = 50, before: int | None = None) -> list[StoredMessage]:
        """The last ``limit`` messages, oldest first; ``before`` a message's ``seq`` to page back."""
        return self._workspace.store.reads.messages(self.record, before=before, limit=limit)

    async def clear_history(self) -> None:
        """Forget all messages. What was paid stays in the statement."""
        await self._workspace.store.submit(
            ClearMessages(self.payer.session_id, self.payer.owner, self.chat_no)
        )

    async def get_stats(self) -> ChatStats:
        """The chat in numbers."""
        record = self.record
        return ChatStats(
            chat_id=self.chat_id,
            message_count=record.message_count,
            turn_count=record.turn_count,
            created_at=as_time(record.created_ms),
            last_message=None if record.last_ms is None else as_time(record.last_ms),
            average_response_time=record.answering_ms / 1000 / record.turn_count
            if record.turn_count
            else None,
            spent=record.spent,
        )

    async def configure(self, config: AgentConfig) -> None:
        """Answer differently from the next turn on."""
        self._workspace.attach(self.payer.session_id, self.chat_no, config)
        await self._workspace.store.submit(
            UpdateChat(self.payer.session_id, self.payer.owner, self.chat_no, config.to_json())
        )

    def attach(self, **live: Any) -> None:
        """Give what lives in a process: ``tools``, ``mcp_servers``, ``output_type``, ``providers``."""
        self._workspace.attach(self.payer.session_id, self.chat_no, AgentConfig(**live))

    # --- one turn --------------------------------------------------------------------------------

    def _config(self, record: ChatRecord) -> AgentConfig:
        return self._workspace.attached(self.payer.session_id, self.chat_no).with_kept(record.config)

    def _models(self, config: AgentConfig) -> tuple[Model, ...]:
        if config.providers:
            named = config.current_provider or next(iter(config.providers))
            return (config.providers[named],)
        name = config.current_model or self._workspace.settings.default_model
        if config.fallback_models is None:
            return self._workspace.models(name)
        return tuple(self._workspace.catalogue.resolve(each) for each in (name, *config.fallback_models))

    async def _answers(
        self, text: str, key: str | None, max_output_tokens: int | None
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        config = self.config
        if config.needs_agent:
            events = self._agent_answers(config, text, key, max_output_tokens)
        else:
            question, reserved = await self._reserve(config, text, key, max_output_tokens)
            events = self._workspace.turns.run(question, reserved)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _reserve(
        self, config: AgentConfig, text: str, key: str | None, max_output_tokens: int | None
    ) -> tuple[Question, PaidCall | Replay]:
        """Reserve the next place in the chat together with the money; wait while others stand there."""
        models = self._models(config)
        asked = Message(Role.USER, text)
        waited = 0.001
        while True:
            record = self.record
            request = ChatRequest(
                model=models[0].info.name,
                messages=(*self._context(config, record), asked),
                output_tokens_max=max_output_tokens or config.max_output_tokens,
                temperature=config.temperature,
            )
            place = Place(self.chat_no, record.turn_count, messages=2)
            question = Question(self.payer, request, models, key=key, place=place, asked=(asked,))
            reserved = await self._workspace.turns.reserve(question)
            if not isinstance(reserved, PlaceTaken):
                return question, reserved
            await self.wait_for_place(reserved, waited)
            waited = min(waited * 2, _POLL_SECONDS_MAX)

    def _context(self, config: AgentConfig, record: ChatRecord) -> tuple[Message, ...]:
        """The system prompt and the latest turns, whole."""
        stored = self._workspace.store.reads.messages(record, limit=self._workspace.settings.context_messages)
        messages = [each.message for each in stored]
        if len(messages) < record.message_count:  # cut inside a turn: begin with the next question
            while messages and messages[0].role is not Role.USER:
                del messages[0]
        if config.system_prompt:
            messages.insert(0, Message(Role.SYSTEM, config.system_prompt))
        return tuple(messages)

    async def wait_for_place(self, taken: PlaceTaken, seconds: float) -> None:
        """Another process's turn is open: wait, and settle it if its process died."""
        if taken.open_turn is None:
            return
        overdue = taken.expires_ms is not None and taken.expires_ms <= self._workspace.store.clock()
        if overdue:
            await self._workspace.store.submit(Reconcile(self.payer.session_id, taken.open_turn))
            return
        await asyncio.sleep(seconds)

    def _tell(self, answer: Answer) -> None:
        payer = self.payer
        self._workspace.events.emit(
            AIResponseReceived(payer.session_id, payer.owner, self.chat_id, answer.model, answer.cost)
        )
        if self._workspace.attached(payer.session_id, self.chat_no).debug:
            self._workspace.logger.info(
                "%s: %s in=%d out=%d cost=%d available=%d",
                self.chat_id,
                answer.model,
                answer.usage.input_tokens,
                answer.usage.output_tokens,
                answer.cost,
                answer.available,
            )
