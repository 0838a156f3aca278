"""Bringing sessions back: one from its saved data, or all that an adapter has of a user (spec C10)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from prepaid.errors import PrepaidError, SessionDataUnreadable, SessionNotFound
from prepaid.records import ChatRecord, Message, Role, SessionRecord, SessionState, StoredMessage, ToolCall
from prepaid.sessions.events import SessionCreated
from prepaid.sessions.finding import Finding
from prepaid.sessions.persistence import SessionPersistenceAdapter, no_adapter
from prepaid.sessions.saved_data import ChatShape, MessageShape, SavedSession, read_saved
from prepaid.sessions.session import Session
from prepaid.sessions.values import check_user, to_json
from prepaid.store.operations import Conversation, Entry, Limits, RestoreSession, SavedChat

__all__ = ["Recovered", "Restoring"]

_STATES: Final = {
    state.label: state
    for state in (SessionState.ACTIVE, SessionState.PAUSED, SessionState.CLOSED, SessionState.EXPIRED)
}


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery brought back, and by session id why the rest could not be."""

    sessions: tuple[Session, ...]
    errors: Mapping[str, PrepaidError]


class Restoring(Finding):
    """The part of ``SessionManager`` that brings sessions back."""

    async def deserialize_session(self, user_id: str, data: Mapping[str, Any]) -> Session:
        """The session that ``session.serialize()`` described.

        Where the store still has it, its handle: the store is the truth, and nothing is overwritten.
        Where it has not, the session is written anew, in its old state and with its chats, but with
        nothing on its account: a snapshot never makes money. It has no API key until one is issued.

        Raises:
            SessionNotFound: it is not this user's.
            SessionDataUnreadable: the data is damaged, forged, or of a newer version.
            SessionLimitReached: it would be one session too many.
        """
        return await self._restore(check_user(user_id), read_saved(data))

    async def recover_user_sessions(self, user_id: str) -> Recovered:
        """Bring back all sessions that the persistence adapter has of a user; see ``deserialize_session``.

        What cannot be read is told, and keeps none of the others from coming back.
        """
        adapter = self._adapter
        owner = check_user(user_id)
        sessions: list[Session] = []
        errors: dict[str, PrepaidError] = {}
        for session_id in await adapter.get_user_session_ids(owner):
            try:
                saved = read_saved(await _load(adapter, session_id), session_id)
                sessions.append(await self._restore(owner, saved))
            except PrepaidError as error:
                self._workspace.logger.warning("session %s was not recovered: %s", session_id, error)
                errors[session_id] = error
        return Recovered(tuple(sessions), errors)

    @property
    def _adapter(self) -> SessionPersistenceAdapter:
        if self._workspace.saver is None:
            raise no_adapter()
        return self._workspace.saver.adapter

    async def _restore(self, owner: str, saved: SavedSession) -> Session:
        session_id = saved.session_id
        if saved.user_id != owner:
            raise SessionNotFound(session_id)
        if self._workspace.store.reads.session(session_id) is None:
            work = _to_restore(saved, self.settings.currency, self._workspace.limits)
            restored = await self._workspace.store.submit(work)
            if restored and work.record.state < SessionState.CLOSED:
                self._workspace.events.emit(SessionCreated(session_id, owner, 0))
        return self.get_session(session_id, owner)


async def _load(adapter: SessionPersistenceAdapter, session_id: str) -> object:
    try:
        return await adapter.load(session_id)
    except PrepaidError:
        raise
    except Exception as error:
        raise SessionDataUnreadable(
            session_id, f"loading it failed with {type(error).__name__}: {error}"
        ) from error


def _to_restore(saved: SavedSession, asset: str, limits: Limits) -> RestoreSession:
    """The operation that brings it back, with nothing on its account."""
    record = SessionRecord(
        session_id=saved.session_id,
        owner=saved.user_id,
        asset=asset,
        state=_STATES[saved.state],
        name=saved.name,
        metadata=to_json(saved.metadata, "metadata"),
        preferences=to_json(saved.preferences, "preferences"),
        tags=tuple(saved.tags),
        created_ms=saved.created_ms,
        closed_ms=saved.closed_ms,
        expires_ms=saved.expires_ms,
        current_chat=saved.current_chat,
        chat_count=len(saved.chats),
        auto_save=saved.auto_save,
        idle_ms=saved.idle_ms,
    )
    return RestoreSession(
        saved.session_id,
        record,
        tuple(_to_chat(saved.session_id, chat) for chat in saved.chats),
        tuple(Entry(entry.entry_id, entry.parent_id, entry.body) for entry in saved.entries),
        tuple(
            Conversation(
                each.conversation_id,
                each.revision,
                each.head_id,
                tuple(each.branches),
                each.scope,
                each.updated_us,
                each.record,
            )
            for each in saved.conversations
        ),
        tuple((history.chat_no, tuple(history.items)) for history in saved.items),
        limits,
    )


def _to_chat(session_id: str, chat: ChatShape) -> SavedChat:
    config = chat.config.model_dump(exclude_defaults=True)
    record = ChatRecord(
        session_id=session_id,
        chat_no=chat.chat_no,
        name=chat.name,
        config=json.dumps(config, ensure_ascii=False, separators=(",", ":")),
        metadata=to_json(chat.metadata, "metadata"),
        tags=tuple(chat.tags),
        message_max=chat.message_max,
        created_ms=chat.created_ms,
        message_count=len(chat.messages),
        turn_count=chat.turn_count,
        spent=0,
        answering_ms=chat.answering_ms,
        last_ms=chat.last_ms,
        open_turn=None,
        messages_from=0,
    )
    return SavedChat(record, tuple(_to_stored(each, seq) for seq, each in enumerate(chat.messages, start=1)))


def _to_stored(saved: MessageShape, seq: int) -> StoredMessage:
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in saved.tool_calls)
    message = Message(Role(saved.role), saved.text, calls, saved.tool_call_id)
    return StoredMessage(seq, saved.turn, saved.at_ms, message)
