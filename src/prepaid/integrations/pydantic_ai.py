"""pydantic-ai on a session: its conversations in our store, its models paid (spec D9).

An agent written for pydantic-ai stays as it is, but for its model and its store:

    store = PrepaidConversationStore(session)
    agent = Agent(metered(session, "gpt-5"))
    conversation = await store.load("support-1") or Conversation(conversation_id="support-1")
    result = await agent.run("Hello", conversation=conversation)
    await store.save(result)

What the models cost is settled when they answered, whether the conversation is saved or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
    ConversationStore,
)
from pydantic_ai.messages import ModelMessagesTypeAdapter
from pydantic_ai.models import Model as AgentModel

from prepaid.agents import MeteredModel, model_info, paid_model
from prepaid.errors import InvalidRequestError, SessionDataUnreadable, ValueTooLarge
from prepaid.integrations.parts import check_size, payer_of, workspace_of
from prepaid.meter.call import to_the_end
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.session import Session
from prepaid.store.ids import ID_BYTES_MAX
from prepaid.store.operations import Conversation, DeleteConversation, Entry, SaveConversation
from prepaid.store.queries import conversations as conversation_reads
from prepaid.store.queries.reads import Reads

__all__ = ["PrepaidConversationStore", "metered"]

_RECORDS: Final[TypeAdapter[ConversationRecord]] = TypeAdapter(ConversationRecord)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE_MAX: Final = 100
"""More entries than this are read in a thread."""


def metered(session: Session | LeasedSession, model: AgentModel | str) -> AgentModel:
    """A model for an ``Agent`` whose every call is held on the session before, and settled after.

    A name is one of our catalogue's ("offline", or what ``prepaid.toml`` has), with its fallbacks. A
    pydantic-ai model is wrapped, at the price that the settings or else the price book have for it. A
    session on lease pays as its taker.

    Raises:
        ModelNotPriced: the model has no price, so it is not asked.
        ModelNotSupported: the name is nobody's.
    """
    workspace, payer = workspace_of(session), payer_of(session)
    if isinstance(model, str):
        return paid_model(workspace.turns, payer, workspace.models(model))
    return MeteredModel(
        model,
        meter=workspace.meter,
        payer=payer,
        info=model_info(model, workspace.catalogue, payer.asset),
        default_output_tokens=workspace.settings.default_output_tokens,
    )


class PrepaidConversationStore(ConversationStore):
    """pydantic-ai's conversations, kept with a session, in the same database and as durable.

    They are the session's own: through another session's store they do not exist, and a session that has
    ended takes no changes. Deleting a conversation deletes the entries that no other conversation's
    history or branch reaches.

    Raises:
        SessionNotFound: the session is not this user's.
    """

    def __init__(self, session: Session) -> None:
        _ = session.account
        self._session = session
        self._workspace = workspace_of(session)

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """The record of a conversation, or ``None``."""
        found = conversation_reads.record(self._reads, self._session.session_id, _storable(conversation_id))
        return None if found is None else self._to_record(found)

    async def read_records(
        self, *, scope: str | None = None, limit: int | None = None
    ) -> Sequence[ConversationRecord]:
        """The session's records, or those of one scope, newest first."""
        session_id = self._session.session_id

        def question(reads: Reads) -> list[ConversationRecord]:
            found = conversation_reads.records(reads, session_id, scope and _storable(scope), limit)
            return [self._to_record(each) for each in found]

        return question(self._reads) if _is_short(limit) else await self._workspace.store.report(question)

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        """Store a record and its new entries in one transaction, or neither.

        Raises:
            ConversationConflict: somebody else wrote it meanwhile, or what it points at is gone.
            SessionAlreadyClosed, SessionExpired: the session has ended.
            ValueTooLarge: an id of over 1,024 characters, or a message of over 16 MiB.
        """
        work = SaveConversation(
            self._session.session_id,
            self._session.user_id,
            _to_conversation(record),
            expected_revision,
            tuple(_to_entry(entry) for entry in new_entries),
        )
        if not await to_the_end(self._workspace.store.submit(work)):
            raise ConversationConflict(record.conversation_id)

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """Delete a conversation and the entries that only it reaches.

        Raises:
            ConversationConflict: it is not stored with this revision.
        """
        work = DeleteConversation(
            self._session.session_id, self._session.user_id, _storable(conversation_id), expected_revision
        )
        if not await to_the_end(self._workspace.store.submit(work)):
            raise ConversationConflict(conversation_id)

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        """One entry.

        Raises:
            LookupError: the session has none with this id.
        """
        found = conversation_reads.entry(self._reads, self._session.session_id, _storable(entry_id))
        if found is None:
            raise LookupError(entry_id)
        return self._from_entry(found)

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        """The entries up to this one, or the last ``limit`` of them: as many reads as there are entries.

        Raises:
            LookupError: the session has no such entry.
        """
        if head_id is None or limit == 0:
            return []
        session_id, head = self._session.session_id, _storable(head_id)

        def question(reads: Reads) -> list[ConversationEntry]:
            found = conversation_reads.entries_to(reads, session_id, head, limit)
            return [self._from_entry(each) for each in found]

        entries = question(self._reads) if _is_short(limit) else await self._workspace.store.report(question)
        if not entries:
            raise LookupError(head_id)
        return entries

    # --- to and from rows ------------------------------------------------------------------------

    @property
    def _reads(self) -> Reads:
        return self._workspace.store.reads

    def _to_record(self, body: str) -> ConversationRecord:
        try:
            return _RECORDS.validate_json(body)
        except ValidationError as error:
            raise self._unreadable(error) from error

    def _from_entry(self, entry: Entry) -> ConversationEntry:
        try:
            (message,) = ModelMessagesTypeAdapter.validate_json(entry.body)
        except ValueError as error:
            raise self._unreadable(error) from error
        return ConversationEntry(id=entry.entry_id, parent_id=entry.parent_id, message=message)

    def _unreadable(self, error: ValueError) -> SessionDataUnreadable:
        return SessionDataUnreadable(
            self._session.session_id, f"pydantic-ai does not understand what it kept ({type(error).__name__})"
        )


def _to_conversation(record: ConversationRecord) -> Conversation:
    return Conversation(
        _storable(record.conversation_id),
        _storable(record.revision),
        None if record.head_id is None else _storable(record.head_id),
        tuple(_storable(tip) for tip in record.branches),
        None if record.scope is None else _storable(record.scope, least=0),
        max((record.updated_at.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1), 0),
        check_size(_RECORDS.dump_json(record).decode(), "conversation"),
    )


def _to_entry(entry: ConversationEntry) -> Entry:
    body = ModelMessagesTypeAdapter.dump_json([entry.message]).decode()
    parent_id = None if entry.parent_id is None else _storable(entry.parent_id)
    return Entry(_storable(entry.id), parent_id, check_size(body, "message"))


def _is_short(limit: int | None) -> bool:
    return limit is not None and limit <= _AT_ONCE_MAX


def _storable(text: str, *, least: int = 1) -> str:
    """An id that the database can keep.

    Raises:
        InvalidRequestError: it is empty, or not valid Unicode.
        ValueTooLarge: it has more than 1,024 bytes in UTF-8.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = -1
    if size > ID_BYTES_MAX:
        raise ValueTooLarge("id", size, ID_BYTES_MAX)
    if size < least:
        raise InvalidRequestError("This is not an id.", remedy="Use 1 to 1,024 bytes of valid Unicode.")
    return text
