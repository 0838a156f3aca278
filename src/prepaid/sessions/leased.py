"""A pooled session in a taker's hands: spending is theirs to account for, and bounded (spec B8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from prepaid.errors import ChatNotFound, LeaseNotFound
from prepaid.ledger import fingerprint
from prepaid.meter import Payer
from prepaid.records import ChatRecord, TextDelta, ToolCall
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.chat import Chat, chat_number
from prepaid.sessions.values import as_time, check_name, to_json
from prepaid.store.operations import CreateChat, EndLease, Lease
from prepaid.turns import Answer

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["LeasedSession"]

_ROWS: Final = 16
"""How many chats of everybody's are read at once to find the taker's."""


class LeasedSession:
    """Use it until ``expires_at``, then give it back; ``async with`` does.

    A taker sees its own chats only, and opens and asks in no others; the owner, who pays, sees them all.
    A taker who vanishes loses the lease at its deadline: no chat can be opened then, and nothing asked.
    """

    __slots__ = ("_chat", "_opening", "_workspace", "asset", "lease", "models")

    def __init__(
        self, workspace: Workspace, lease: Lease, asset: str, models: tuple[str, ...] | None = None
    ) -> None:
        self._workspace = workspace
        self._chat: Chat | None = None
        self._opening = asyncio.Lock()
        self.lease = lease
        self.asset = asset
        self.models = models

    @property
    def session_id(self) -> str:
        """The session that is lent."""
        return self.lease.session_id

    @property
    def payer(self) -> Payer:
        """The session's account, spent by the taker under the lease, on ``models`` where there is a list."""
        lease = self.lease
        return Payer(lease.session_id, lease.taker, self.asset, lease.lease_id, models=self.models)

    @property
    def expires_at(self) -> datetime:
        """When the lease runs out."""
        return as_time(self.lease.expires_ms)

    @property
    def spent(self) -> int:
        """Base units that were spent under this lease."""
        found = self._workspace.store.reads.lease(self.lease.session_id, self.lease.lease_id)
        if found is None:
            raise LeaseNotFound(self.lease.lease_id)
        return found[1]

    async def create_new_chat(
        self,
        *,
        chat_name: str = "",
        agent_config: AgentConfig | None = None,
        system_prompt: str | None = None,
        key: str | None = None,
    ) -> Chat:
        """A chat of the taker's own in the session; it becomes the lease's current one.

        Raises:
            ChatLimitReached: ``max_chats_per_session``, of which the owner's chats are a part.
            LeaseNotFound: the lease has run out.
        """
        config = agent_config or AgentConfig()
        if system_prompt is not None:
            config = replace(config, system_prompt=system_prompt)
        work = CreateChat(
            self.lease.session_id,
            self.lease.taker,
            check_name(chat_name, "chat_name"),
            config.to_json(),
            to_json({"taker": self.lease.taker, "lease_id": self.lease.lease_id}, "metadata"),
            limits=self._workspace.limits,
            lease_id=self.lease.lease_id,
        )
        content = fingerprint("chat", self.lease.lease_id, work.name, work.config)
        done = await self._workspace.submit_once(work, key, content, lease_id=self.lease.lease_id)
        chat_no = done.value
        self._workspace.attach(self.lease.session_id, chat_no, config)
        self._chat = Chat(self._workspace, self.payer, chat_no)
        return self._chat

    async def get_chats(self, *, after: int = 0, limit: int | None = None) -> list[Chat]:
        """The taker's chats in the session, of earlier leases too, oldest first; pages as in ``Session``."""
        found: list[Chat] = []
        while limit is None or len(found) < limit:
            records = self._workspace.store.reads.chats(self.session_id, after=after, limit=_ROWS)
            if not records:
                break
            after = records[-1].chat_no
            own = [each.chat_no for each in records if self._is_own(each)]
            found += [Chat(self._workspace, self.payer, chat_no) for chat_no in own]
        return found[:limit]

    def get_chat(self, chat_id: str | int) -> Chat:
        """One of the taker's chats.

        Raises:
            ChatNotFound: there is no such chat, or it is somebody else's.
        """
        chat = Chat(self._workspace, self.payer, chat_number(self.session_id, chat_id))
        if not self._is_own(chat.record):
            raise ChatNotFound(chat.chat_id)
        return chat

    async def switch_to_chat(self, chat_id: str | int) -> Chat:
        """Make one of the taker's chats the lease's current one."""
        self._chat = self.get_chat(chat_id)
        return self._chat

    async def send_message(self, text: str, *, key: str | None = None) -> Answer:
        """Ask in the lease's current chat; the first question opens one.

        Raises:
            LeaseCapReached: the owner's cap is spent.
            LeaseNotFound: the lease has run out.
        """
        chat = await self._chat_to_ask()
        return await chat.send_message(text, key=key)

    async def stream_message(
        self, text: str, *, key: str | None = None
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """Ask in the lease's current chat, and get the answer as it comes."""
        chat = await self._chat_to_ask()
        async with aclosing(chat.stream_message(text, key=key)) as events:
            async for event in events:
                yield event

    async def _chat_to_ask(self) -> Chat:
        """The current chat; questions that come at once open one together."""
        self._workspace.meter.underway.check()
        async with self._opening:
            return self._chat or await self.create_new_chat()

    def _is_own(self, record: ChatRecord) -> bool:
        return record.taker == self.lease.taker

    async def give_back(self) -> None:
        """End the lease; the next taker may have the session.

        Raises:
            LeaseNotFound: it has ended already.
        """
        await self._workspace.store.submit(
            EndLease(self.lease.session_id, self.lease.lease_id, self.lease.taker)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.give_back()
        except LeaseNotFound:
            self._workspace.logger.info("lease %s had ended already", self.lease.lease_id)
