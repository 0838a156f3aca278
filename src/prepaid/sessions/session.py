"""A funded session: one account, any number of chats (spec A, C)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from prepaid.errors import SessionAlreadyClosed, SessionExpired
from prepaid.ledger import fingerprint
from prepaid.money import parse_amount
from prepaid.records import SessionState, TextDelta, ToolCall, UsageLine
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.chat import Chat, chat_number
from prepaid.sessions.events import SessionPooled, SessionRenewed
from prepaid.sessions.session_view import SessionView
from prepaid.sessions.values import MESSAGES_MAX, check_count, check_name, check_tags, to_json
from prepaid.statements import build_statement
from prepaid.store.operations import (
    AddToPool,
    Close,
    Closed,
    CreateChat,
    CurrentChat,
    Done,
    Funded,
    RemoveFromPool,
    SetState,
    SwitchChat,
)
from prepaid.turns import Answer

__all__ = ["Session"]


class Session(SessionView):
    """A user's session; a cheap handle that is bound to its owner.

    ``api_key`` is there once, on the handle that created it; ``manager.create_api_key`` makes more.
    """

    __slots__ = ()

    async def fund(self, amount: int | Decimal | str, *, key: str | None = None) -> Funded:
        """Add money: ``"10 USD"``, a ``Decimal``, or an int of base units; never a float.

        Raises:
            InvalidAmount: one of its subclasses.
            SessionAlreadyClosed, SessionExpired: too late.
        """
        units = parse_amount(amount, self.asset)
        funding = self._workspace.ledger.fund(self.session_id, self.user_id, units, key)
        return await self._workspace.change(funding, self._tell_renewed)

    def _tell_renewed(self, funded: Funded) -> None:
        if not funded.replayed:
            self._workspace.events.emit(SessionRenewed(self.session_id, self.user_id, funded.available))

    async def get_statement(self) -> dict[str, Any]:
        """Every movement of its money, chained by hash (spec D4); ``verify_statement`` checks it."""
        session_id = self.session_id
        return await self._workspace.store.report(lambda reads: build_statement(reads, session_id))

    async def get_usage(self) -> list[UsageLine]:
        """What it spent by day, chat, model and spender (spec A7)."""
        session_id = self.session_id
        return await self._workspace.store.report(lambda reads: reads.usage(session_id))

    async def create_new_chat(
        self,
        *,
        chat_name: str = "",
        agent_config: AgentConfig | None = None,
        system_prompt: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        max_messages: int | None = None,
        key: str | None = None,
    ) -> Chat:
        """Open a chat and make it the current one.

        Raises:
            ChatLimitReached: ``max_chats_per_session``.
            SessionAlreadyClosed, SessionExpired: too late.
        """
        config = agent_config or AgentConfig()
        if system_prompt is not None:
            config = replace(config, system_prompt=system_prompt)
        if max_messages is not None:  # a turn has two at least
            check_count(max_messages, "max_messages", 2, MESSAGES_MAX)
        work = CreateChat(
            self.session_id,
            self.user_id,
            check_name(chat_name, "chat_name"),
            config.to_json(),
            to_json(metadata, "metadata"),
            check_tags(tags),
            max_messages,
            self._workspace.limits,
        )
        content = fingerprint("chat", work.name, work.config, work.metadata, work.tags, max_messages)
        chat_no = (await self._workspace.submit_once(work, key, content)).value
        self._workspace.attach(self.session_id, chat_no, config)
        return Chat(self._workspace, self._payer, chat_no)

    def get_chat(self, chat_id: str | int) -> Chat:
        """A chat by id, or by its number in this session.

        Raises:
            ChatNotFound: this session has no such chat.
        """
        chat = Chat(self._workspace, self._payer, chat_number(self.session_id, chat_id))
        _ = chat.record
        return chat

    async def get_chats(self, *, after: int = 0, limit: int | None = None) -> list[Chat]:
        """Its chats, oldest first: all, or up to ``limit`` after the one with number ``after``."""
        records = self._workspace.store.reads.chats(self.session_id, after=after, limit=limit)
        return [Chat(self._workspace, self._payer, record.chat_no) for record in records]

    @property
    def current_chat(self) -> Chat | None:
        """The chat that ``send_message`` goes to."""
        chat_no = self.record.current_chat
        return Chat(self._workspace, self._payer, chat_no) if chat_no else None

    async def switch_to_chat(self, chat_id: str | int, *, key: str | None = None) -> Chat:
        """Make a chat the current one (spec C4)."""
        chat_no = chat_number(self.session_id, chat_id)
        work = SwitchChat(self.session_id, self.user_id, chat_no)
        await self._workspace.submit_once(work, key, fingerprint("switch", chat_no))
        return Chat(self._workspace, self._payer, chat_no)

    async def send_message(self, text: str, *, key: str | None = None) -> Answer:
        """Ask in the current chat; the first question opens one. See ``Chat.send_message``."""
        chat = await self._chat_to_ask()
        return await chat.send_message(text, key=key)

    async def stream_message(
        self, text: str, *, key: str | None = None
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """Ask in the current chat, and get the answer as it comes. See ``Chat.stream_message``."""
        chat = await self._chat_to_ask()
        async with aclosing(chat.stream_message(text, key=key)) as events:
            async for event in events:
                yield event

    async def _chat_to_ask(self) -> Chat:
        """The current chat; questions that come at once open one together."""
        self._workspace.meter.underway.check()
        chat = self.current_chat
        if chat is not None:
            return chat
        work = CurrentChat(self.session_id, self.user_id, AgentConfig().to_json(), self._workspace.limits)
        return Chat(self._workspace, self._payer, await self._workspace.store.submit(work))

    async def pause(self, *, key: str | None = None) -> None:
        """Refuse to spend until resumed."""
        work = SetState(self.session_id, self.user_id, SessionState.PAUSED)
        await self._workspace.submit_once(work, key, fingerprint("pause"))

    async def resume(self, *, key: str | None = None) -> None:
        """Spend again."""
        work = SetState(self.session_id, self.user_id, SessionState.ACTIVE, self._workspace.limits)
        await self._workspace.submit_once(work, key, fingerprint("resume"))

    async def close(self, *, key: str | None = None) -> Closed:
        """End it: what is free is refunded at once, what is held as soon as it settles (spec A6).

        Raises:
            SessionAlreadyClosed: a second time, unless with the same ``key``.
        """

        def tell(done: Done) -> None:
            if not done.replayed:
                self._workspace.tell_closed(done.value)

        closing = self._workspace.submit_once(Close(self.session_id, self.user_id), key, fingerprint("close"))
        closed: Closed = (await self._workspace.change(closing, tell)).value
        return closed

    async def add_to_pool(self, *, cap: int | Decimal | str | None = None, key: str | None = None) -> None:
        """Share it: others may lease it and spend up to ``cap`` each, accounted to them (spec B7, B8)."""
        limit = None if cap is None else parse_amount(cap, self.asset)
        work = AddToPool(self.session_id, self.user_id, limit, self._workspace.limits)
        event = SessionPooled(self.session_id, self.user_id)

        def tell(done: Done) -> None:
            if not done.replayed:
                self._workspace.events.emit(event)

        pooling = self._workspace.submit_once(work, key, fingerprint("pool", limit))
        await self._workspace.change(pooling, tell)

    async def remove_from_pool(self, *, key: str | None = None) -> None:
        """Stop sharing it; a lease that runs ends at its deadline."""
        work = RemoveFromPool(self.session_id, self.user_id)
        await self._workspace.submit_once(work, key, fingerprint("unpool"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(SessionAlreadyClosed, SessionExpired):  # then it is as it should be
            await self.close()
