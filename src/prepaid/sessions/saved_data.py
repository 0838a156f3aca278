"""Saved sessions, read with suspicion: what comes back may be old, torn or forged (spec C10).

Everything is checked to the last field before anything is written. Of the figures none is believed: a
snapshot never makes money.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from prepaid.errors import PrepaidError, SessionDataUnreadable
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.snapshot import FORMAT, VERSION
from prepaid.sessions.values import check_name, check_tags, check_user, to_json
from prepaid.store.ids import ID_BYTES_MAX

__all__ = ["ChatShape", "MessageShape", "SavedSession", "read_saved"]

_SESSION_ID: Final = re.compile(r"ses_[0-9a-hjkmnp-tv-z]{22}")
_COUNT_MAX: Final = 2**31 - 1
_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, as far as ``datetime`` goes."""

_SHOWN_MAX: Final = 64


def _short(text: str) -> str:
    """An id of another library's, if indexes can have it."""
    if (size := len(text.encode())) > ID_BYTES_MAX:
        raise ValueError(f"has {size} bytes, and at most {ID_BYTES_MAX} are taken")
    return text


_Time = Annotated[int, Field(ge=0, le=_MS_MAX)]
_Count = Annotated[int, Field(ge=0, le=_COUNT_MAX)]
_Name = Annotated[str, AfterValidator(lambda name: check_name(name, "name"))]
_Tags = Annotated[list[str], AfterValidator(lambda tags: list(check_tags(tags)))]
_Short = Annotated[str, AfterValidator(_short)]
_Id = Annotated[_Short, Field(min_length=1)]
_Body = Annotated[str, Field(max_length=64 * 1024 * 1024)]
_Json = Annotated[str, Field(max_length=64 * 1024 * 1024, pattern=r"^[^\x00]*$")]
"""Written by us as JSON, which has no character NUL but its escape."""


class _Strict(BaseModel):
    """Types as they are, and no others. What an adapter adds of its own (``_id``) is left alone."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _ToolCall(_Strict):
    id: str
    name: str
    arguments: _Body


class MessageShape(_Strict):
    """A saved message."""

    turn: _Count
    at_ms: _Time
    role: Literal["system", "user", "assistant", "tool"]
    text: _Body
    tool_calls: list[_ToolCall] = []
    tool_call_id: str | None = None


class _Config(_Strict):
    current_provider: str | None = None
    current_model: str | None = None
    system_prompt: str = ""
    fallback_models: list[str] | None = None
    temperature: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max_output_tokens: int | None = None
    debug: bool = False
    attached: bool = False


class ChatShape(_Strict):
    """A saved chat."""

    chat_no: Annotated[int, Field(ge=1, le=_COUNT_MAX)]
    name: _Name
    config: _Config
    metadata: dict[str, Any]
    tags: _Tags
    message_max: Annotated[int, Field(ge=2, le=_COUNT_MAX)] | None
    created_ms: _Time
    last_ms: _Time | None
    turn_count: _Count
    answering_ms: _Time
    messages: list[MessageShape]


class _Entry(_Strict):
    entry_id: _Id
    parent_id: _Id | None
    body: _Json


class _Conversation(_Strict):
    conversation_id: _Id
    revision: _Id
    head_id: _Id | None
    branches: list[_Id]
    scope: _Short | None
    updated_us: Annotated[int, Field(ge=0, le=_MS_MAX * 1000)]
    record: _Json


class _Items(_Strict):
    chat_no: _Count
    items: list[_Json]


class SavedSession(_Strict):
    """A session's saved data, its shape checked."""

    format: Literal["prepaid-session"]
    version: int
    session_id: str
    user_id: str
    state: Literal["active", "paused", "closed", "expired"]
    name: _Name
    metadata: dict[str, Any]
    preferences: dict[str, Any]
    tags: _Tags
    auto_save: bool
    created_ms: _Time
    closed_ms: _Time | None
    expires_ms: _Time | None
    idle_ms: Annotated[int, Field(ge=1, le=_MS_MAX)] | None
    current_chat: _Count
    chats: list[ChatShape]
    entries: list[_Entry] = []
    conversations: list[_Conversation] = []
    items: list[_Items] = []


def read_saved(data: object, session_id: str | None = None) -> SavedSession:
    """Saved data, every field checked; of ``session_id`` where one was asked for.

    Raises:
        SessionDataUnreadable: it is not what we wrote. The message never repeats the data.
    """
    named = _named_in(data) if session_id is None else session_id
    if not isinstance(data, Mapping):
        raise SessionDataUnreadable(named, f"it is a {type(data).__name__}, not a dict")
    version = data.get("version")
    if data.get("format") != FORMAT:
        raise SessionDataUnreadable(named, f"it is not in the format {FORMAT!r}")
    if isinstance(version, int) and version > VERSION:
        raise SessionDataUnreadable(
            named, f"a newer prepaid wrote its version {version}; this one knows up to {VERSION}"
        )
    try:
        saved = SavedSession.model_validate(dict(data))
        check_user(saved.user_id)
        for value in (saved.metadata, saved.preferences, *(chat.metadata for chat in saved.chats)):
            to_json(value, "metadata")
        for chat in saved.chats:
            AgentConfig(**chat.config.model_dump(exclude={"attached"}))
    except ValidationError as error:
        raise SessionDataUnreadable(named, _first(error)) from None
    except (PrepaidError, RecursionError) as error:
        raise SessionDataUnreadable(named, str(getattr(error, "what", error)).rstrip(".")) from None
    wrong = _contradiction(saved, session_id)
    if wrong is not None:
        raise SessionDataUnreadable(named, wrong)
    return saved


def _named_in(data: object) -> str:
    """What the data says whose it is, for messages."""
    named = data.get("session_id") if isinstance(data, Mapping) else None
    return named[:_SHOWN_MAX] if isinstance(named, str) else "?"


def _first(error: ValidationError) -> str:
    """The first thing wrong, where it stands; without the value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step)[:_SHOWN_MAX] for step in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _contradiction(saved: SavedSession, session_id: str | None) -> str | None:
    """What in the data cannot be true together."""
    if not _SESSION_ID.fullmatch(saved.session_id):
        return "session_id is not an id of ours"
    if session_id is not None and saved.session_id != session_id:
        return "it is another session's"
    return _wrong_chats(saved) or _wrong_items(saved) or _broken_log(saved)


def _wrong_chats(saved: SavedSession) -> str | None:
    numbers = [chat.chat_no for chat in saved.chats]
    if numbers != list(range(1, len(numbers) + 1)):
        return "its chats are not numbered from 1"
    if saved.current_chat > len(numbers):
        return f"its current chat {saved.current_chat} does not exist"
    for chat in saved.chats:
        turns = [message.turn for message in chat.messages]
        if turns != sorted(turns) or (turns and turns[-1] > chat.turn_count):
            return f"the messages of chat {chat.chat_no} are not in the order of its turns"
    return None


def _wrong_items(saved: SavedSession) -> str | None:
    numbers = {0, *(chat.chat_no for chat in saved.chats)}
    histories = [history.chat_no for history in saved.items]
    if len(set(histories)) != len(histories) or not numbers.issuperset(histories):
        return "its items are not each of one chat"
    return None


def _broken_log(saved: SavedSession) -> str | None:
    """What is wrong with the logs of conversations: all must lead somewhere, and nothing stand alone."""
    parents: dict[str, str | None] = {}
    for entry in saved.entries:
        if entry.entry_id in parents or (entry.parent_id is not None and entry.parent_id not in parents):
            return f"entry {entry.entry_id[:_SHOWN_MAX]!r} is there twice or before its parent"
        parents[entry.entry_id] = entry.parent_id
    reached: set[str] = set()
    for conversation in saved.conversations:
        tips = [*conversation.branches, *([conversation.head_id] if conversation.head_id is not None else [])]
        for tip in tips:
            if tip not in parents:
                return f"conversation {conversation.conversation_id[:_SHOWN_MAX]!r} ends nowhere"
            above: str | None = tip
            while above is not None and above not in reached:
                reached.add(above)
                above = parents[above]
    names = {conversation.conversation_id for conversation in saved.conversations}
    if len(names) != len(saved.conversations):
        return "a conversation is there twice"
    return None if len(reached) == len(parents) else "some entries belong to no conversation"
