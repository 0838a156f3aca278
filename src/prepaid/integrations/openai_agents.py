"""The OpenAI Agents SDK on a session: its histories in our store, its models paid (spec D9).

An agent written for the SDK stays as it is, but for its model and its session:

    agent = Agent(name="support", model=MeteredAgentsModel(session, model))
    result = await Runner.run(agent, "Hello", session=PrepaidAgentsSession(session))

Needs ``prepaid[openai-agents]``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

try:
    from agents.memory import SessionSettings
except ImportError as error:  # pragma: no cover -- the tests have it
    raise ImportError("The OpenAI Agents SDK is missing: pip install 'prepaid[openai-agents]'") from error

from prepaid.errors import ChatNotFound, NotJson
from prepaid.integrations.agents_model import MeteredAgentsModel, MeteredModelProvider
from prepaid.integrations.parts import check_size, workspace_of
from prepaid.meter.call import to_the_end
from prepaid.sessions.chat import Chat
from prepaid.sessions.session import Session
from prepaid.store.operations import AddItems, ClearItems, PopItem
from prepaid.store.queries import conversations as conversation_reads
from prepaid.store.queries.reads import Reads

if TYPE_CHECKING:
    from agents.items import TResponseInputItem

__all__ = ["MeteredAgentsModel", "MeteredModelProvider", "PrepaidAgentsSession"]

_AT_ONCE_MAX: Final = 256
"""More items than this are read in a thread."""


class PrepaidAgentsSession:
    """The SDK's ``Session`` protocol: a history of items, kept with a session of ours.

    There is one for the session itself, and one for each of its chats, beside the chat's own messages;
    ``session_id`` is the session's id or the chat's. Items are kept as they are. Whoever adds some at
    once, in whatever process, adds them all, each call's together and in order. A session that has ended
    takes no more.

    Raises:
        SessionNotFound: the session is not this user's.
        ChatNotFound: the session has no such chat.
    """

    session_settings: SessionSettings | None

    def __init__(
        self,
        session: Session,
        chat: Chat | str | int | None = None,
        *,
        session_settings: SessionSettings | None = None,
    ) -> None:
        _ = session.account
        self.session_settings = session_settings or SessionSettings()
        self._session = session
        self._store = workspace_of(session).store
        self._chat_no = 0 if chat is None else _chat_no(session, chat)
        self.session_id = session.session_id if chat is None else f"{session.session_id}.{self._chat_no}"

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The last ``limit`` items, oldest first; without one, as many as the settings say, or all.

        As in the SDK's own sessions, a negative limit is none.
        """
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        wanted = None if limit is None or limit < 0 else limit
        session_id, chat_no = self._session.session_id, self._chat_no

        def question(reads: Reads) -> list[TResponseInputItem]:
            return [json.loads(body) for body in conversation_reads.items(reads, session_id, chat_no, wanted)]

        count = conversation_reads.item_count(self._store.reads, session_id, chat_no)
        is_short = min(count, count if wanted is None else wanted) <= _AT_ONCE_MAX
        return question(self._store.reads) if is_short else await self._store.report(question)

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Append items, all or none.

        Raises:
            NotJson: one that JSON cannot carry.
            ValueTooLarge: one of over 16 MiB.
            SessionAlreadyClosed, SessionExpired: the session has ended.
        """
        if items:
            bodies = tuple(_to_body(item) for item in items)
            work = AddItems(self._session.session_id, self._session.user_id, self._chat_no, bodies)
            await to_the_end(self._store.submit(work))

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove and return the last item; ``None`` if there is none."""
        work = PopItem(self._session.session_id, self._session.user_id, self._chat_no)
        body: str | None = await to_the_end(self._store.submit(work))
        item: TResponseInputItem | None = None if body is None else json.loads(body)
        return item

    async def clear_session(self) -> None:
        """Remove all items."""
        work = ClearItems(self._session.session_id, self._session.user_id, self._chat_no)
        await to_the_end(self._store.submit(work))


def _chat_no(session: Session, chat: Chat | str | int) -> int:
    if not isinstance(chat, Chat):
        return session.get_chat(chat).chat_no
    if chat.payer.session_id != session.session_id:
        raise ChatNotFound(chat.chat_id)
    return chat.chat_no


def _to_body(item: Any) -> str:
    try:
        body = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(f"An item cannot be kept as JSON: {error}.") from None
    if not body.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in body):
        body = json.dumps(item, separators=(",", ":"))  # half a surrogate pair has no UTF-8, but an escape
    return check_size(body, "item")
