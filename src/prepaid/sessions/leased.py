"""A pooled session in a taker's hands: spending is theirs to account for, and bounded (spec B8)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from prepaid.errors import LeaseNotFound
from prepaid.meter import Payer
from prepaid.records import TextDelta, ToolCall
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.chat import Chat
from prepaid.sessions.values import as_time, check_name, to_json
from prepaid.store.operations import CreateChat, EndLease, Lease
from prepaid.turns import Answer

if TYPE_CHECKING:
    from prepaid.sessions.workspace import Workspace

__all__ = ["LeasedSession"]


class LeasedSession:
    """Use it until ``expires_at``, then give it back; ``async with`` does.

    A taker sees its own chats only. A taker who vanishes loses the lease at its deadline.
    """

    __slots__ = ("_chat", "_workspace", "asset", "lease")

    def __init__(self, workspace: Workspace, lease: Lease, asset: str) -> None:
        self._workspace = workspace
        self._chat: Chat | None = None
        self.lease = lease
        self.asset = asset

    @property
    def session_id(self) -> str:
        """The session that is lent."""
        return self.lease.session_id

    @property
    def payer(self) -> Payer:
        """The session's account, spent by the taker under the lease."""
        return Payer(self.lease.session_id, self.lease.taker, self.asset, self.lease.lease_id)

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

    async def create_new_chat(self, *, chat_name: str = "", agent_config: AgentConfig | None = None) -> Chat:
        """A chat of the taker's own in the session; it becomes the lease's current one."""
        config = agent_config or AgentConfig()
        work = CreateChat(
            self.lease.session_id,
            self.lease.owner,
            check_name(chat_name, "chat_name"),
            config.to_json(),
            to_json({"taker": self.lease.taker, "lease_id": self.lease.lease_id}, "metadata"),
            limits=self._workspace.limits,
        )
        chat_no = await self._workspace.store.submit(work)
        self._workspace.attach(self.lease.session_id, chat_no, config)
        self._chat = Chat(self._workspace, self.payer, chat_no)
        return self._chat

    async def send_message(self, text: str, *, key: str | None = None) -> Answer:
        """Ask in the lease's current chat.

        Raises:
            LeaseCapReached: the owner's cap is spent.
            LeaseNotFound: the lease has run out.
        """
        chat = self._chat or await self.create_new_chat()
        return await chat.send_message(text, key=key)

    async def stream_message(
        self, text: str, *, key: str | None = None
    ) -> AsyncGenerator[TextDelta | ToolCall | Answer]:
        """Ask in the lease's current chat, and get the answer as it comes."""
        chat = self._chat or await self.create_new_chat()
        async for event in chat.stream_message(text, key=key):
            yield event

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
