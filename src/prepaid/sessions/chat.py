"""One chat of a session: turns in order, each paid and saved together with its payment (spec C5)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prepaid.errors import ChatNotFound, PrepaidError
from prepaid.ledger import fingerprint
from prepaid.meter import Payer
from prepaid.records import ChatRecord, Role, StoredMessage, TextDelta, ToolCall
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.chat_turn import ChatTurn
from prepaid.sessions.events import AIRequestFailed, AIResponseReceived
from prepaid.sessions.values import (
    CHATS_MAX,
    MESSAGES_MAX,
    TOKENS_MAX,
    as_time,
    check_count,
    check_text,
    from_json,
    shown,
)
from prepaid.store.operations import ClearMessages, UpdateChat
from prepaid.store.versions import text_version
from prepaid.turns import Answer

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["Chat", "ChatStats", "chat_number"]


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


def chat_number(session_id: str, chat_id: str | int) -> int:
    """The number of a chat in this session, from its id or the number itself.

    Raises:
        ChatNotFound: it cannot be one of this session's.
    """
    number = chat_id
    if isinstance(chat_id, str):
        of_session, _, text = chat_id.rpartition(".")
        is_ours = of_session == session_id and text.isascii() and text.isdecimal()
        number = int(text) if is_ours and len(text) <= len(str(CHATS_MAX)) else 0
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= CHATS_MAX:
        raise ChatNotFound(chat_id if isinstance(chat_id, str) else f"{session_id}.{shown(chat_id)}")
    return number


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
        return from_json(self.record.metadata)

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
        return self._workspace.attached(self.payer.session_id, self.chat_no).with_kept(self.record.config)

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
            ManagerClosed: the manager is shut down; what had come by then is paid and saved.
        """
        async with aclosing(
            self.stream_message(text, key=key, max_output_tokens=max_output_tokens)
        ) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise AssertionError("a stream ends with its answer")

    def stream_message(
        self, text: str, *, key: str | None = None, max_output_tokens: int | None = None
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """Ask, and get the answer as it comes; the last event is the ``Answer``.

        Close the generator (``aclosing``) to stop early: what was delivered is paid for and saved. Until
        it has ended, the chat's other questions wait. A shutdown of the manager does the same, wherever the
        generator stands; who then asks it for more gets ``ManagerClosed``.
        """
        return self._workspace.meter.underway.stream(self._answered(text, key, max_output_tokens))

    async def _answered(
        self, text: str, key: str | None, max_output_tokens: int | None
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        check_text(text, "message")
        if max_output_tokens is not None:
            check_count(max_output_tokens, "max_output_tokens", 1, TOKENS_MAX)
        async with self._workspace.turn_lock(self.payer.session_id, self.chat_no):
            try:
                config = self.config
                turn = ChatTurn(
                    self._workspace, self.payer, self.chat_no, config, text, key, max_output_tokens
                )
                async with aclosing(turn.events()) as events:
                    async for event in events:
                        if isinstance(event, Answer) and not event.replayed:
                            self._tell(event, config)
                        yield event
            except Exception as error:
                code = error.code if isinstance(error, PrepaidError) else type(error).__name__
                self._workspace.events.emit(
                    AIRequestFailed(self.payer.session_id, self.payer.owner, self.chat_id, code)
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
        check_count(limit, "limit", 1, MESSAGES_MAX)
        if before is not None:
            check_count(before, "before", 1, MESSAGES_MAX + 1)
        return self._workspace.store.reads.messages(self.record, before=before, limit=limit)

    async def clear_history(self, *, key: str | None = None) -> None:
        """Forget all messages. What was paid stays in the statement."""
        work = ClearMessages(self.payer.session_id, self.payer.owner, self.chat_no, self.payer.lease_id)
        content = fingerprint("clear", self.payer.owner, self.chat_no)
        await self._workspace.submit_once(work, key, content, lease_id=self.payer.lease_id)

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

    @property
    def kept_config(self) -> dict[str, Any]:
        """What is kept of how it answers; live parts are not in it."""
        return from_json(self.record.config)

    @property
    def version(self) -> str:
        """Of its configuration: changes with it, and with nothing else."""
        return text_version(self.record.config)

    async def configure(
        self, config: AgentConfig, *, version: str | None = None, key: str | None = None
    ) -> None:
        """Answer differently from the next turn on.

        Raises:
            VersionConflict: the configuration is not at ``version`` any more.
        """
        payer, kept = self.payer, config.to_json()
        work = UpdateChat(payer.session_id, payer.owner, self.chat_no, kept, payer.lease_id, version)
        content = fingerprint("configure", payer.owner, self.chat_no, work.config, version)
        await self._workspace.submit_once(work, key, content, lease_id=payer.lease_id)
        self._workspace.attach(payer.session_id, self.chat_no, config)

    def attach(self, **live: Any) -> None:
        """Give what lives in a process: ``tools``, ``mcp_servers``, ``output_type``, ``providers``."""
        self._workspace.attach(self.payer.session_id, self.chat_no, AgentConfig(**live))

    def _tell(self, answer: Answer, config: AgentConfig) -> None:
        payer = self.payer
        self._workspace.events.emit(
            AIResponseReceived(payer.session_id, payer.owner, self.chat_id, answer.model, answer.cost)
        )
        if config.debug:
            self._workspace.logger.info(
                "%s: %s in=%d out=%d cost=%d available=%d",
                self.chat_id,
                answer.model,
                answer.usage.input_tokens,
                answer.usage.output_tokens,
                answer.cost,
                answer.available,
            )
