"""Where somebody sits who chats: in a session of their own, or in one on lease."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from prepaid.errors import ChatNotFound
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.chat import Chat

if TYPE_CHECKING:
    from prepaid.sessions.leased import LeasedSession
    from prepaid.sessions.session import Session
    from prepaid.sessions.workspace import Workspace

__all__ = ["LeaseSeat", "Seat", "SessionSeat"]


class Seat(Protocol):
    """What the chat loop needs of a session."""

    @property
    def title(self) -> str:
        """Whose it is and how it is called."""

    @property
    def session_id(self) -> str:
        """The session that pays."""

    @property
    def available(self) -> int:
        """Base units that can be spent here now."""

    async def chats(self) -> list[Chat]:
        """The chats that can be switched to, oldest first."""

    async def current(self) -> Chat:
        """The chat to talk in; the first is opened."""

    async def new_chat(self, name: str, config: AgentConfig) -> Chat:
        """Open a chat and make it the current one."""

    async def switch(self, chat_no: int) -> Chat:
        """Make a chat the current one."""

    async def leave_for_good(self) -> int | None:
        """End it; what was refunded, where that is ours to know."""


class SessionSeat:
    """A session of one's own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def title(self) -> str:
        """The session and its owner."""
        return f"Session {self.session_id} of {self._session.user_id}"

    @property
    def session_id(self) -> str:
        """The session."""
        return self._session.session_id

    @property
    def available(self) -> int:
        """Its balance."""
        return self._session.available

    async def chats(self) -> list[Chat]:
        """All its chats."""
        return await self._session.get_chats()

    async def current(self) -> Chat:
        """Its current chat."""
        return self._session.current_chat or await self._session.create_new_chat()

    async def new_chat(self, name: str, config: AgentConfig) -> Chat:
        """A chat more."""
        return await self._session.create_new_chat(chat_name=name, agent_config=config)

    async def switch(self, chat_no: int) -> Chat:
        """Another chat."""
        return await self._session.switch_to_chat(chat_no)

    async def leave_for_good(self) -> int | None:
        """Close the session and refund it."""
        return (await self._session.close()).refunded


class LeaseSeat:
    """Somebody else's session, on lease: only the chats that were opened under this lease are there."""

    def __init__(self, workspace: Workspace, leased: LeasedSession) -> None:
        self._workspace = workspace
        self._leased = leased
        self._current: int | None = None

    @property
    def title(self) -> str:
        """The lease and its taker."""
        lease = self._leased.lease
        return f"Session {lease.session_id} of {lease.owner}, on lease to {lease.taker}"

    @property
    def session_id(self) -> str:
        """The session that is lent."""
        return self._leased.session_id

    @property
    def available(self) -> int:
        """What is left of the cap, or of the session."""
        account = self._workspace.store.reads.account(self.session_id)
        balance = account.available if account is not None else 0
        cap = self._leased.lease.cap
        return balance if cap is None else max(min(balance, cap - self._leased.spent), 0)

    async def chats(self) -> list[Chat]:
        """The chats opened under this lease."""
        records = self._workspace.store.reads.chats(self.session_id)
        return [
            Chat(self._workspace, self._leased.payer, record.chat_no)
            for record in records
            if json.loads(record.metadata).get("lease_id") == self._leased.lease.lease_id
        ]

    async def current(self) -> Chat:
        """The chat last switched to, or the newest of the lease."""
        chats = await self.chats()
        if not chats:
            return await self.new_chat("", AgentConfig())
        return next((chat for chat in chats if chat.chat_no == self._current), chats[-1])

    async def new_chat(self, name: str, config: AgentConfig) -> Chat:
        """A chat more."""
        chat = await self._leased.create_new_chat(chat_name=name, agent_config=config)
        self._current = chat.chat_no
        return chat

    async def switch(self, chat_no: int) -> Chat:
        """Another chat of the lease."""
        for chat in await self.chats():
            if chat.chat_no == chat_no:
                self._current = chat_no
                return chat
        raise ChatNotFound(f"{self.session_id}.{chat_no}")

    async def leave_for_good(self) -> int | None:
        """Give the session back."""
        await self._leased.give_back()
        return None
