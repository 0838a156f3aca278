"""What comes out of the REST API. Amounts are integers of base units, times are in UTC."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, Field

from prepaid.records import StoredMessage
from prepaid.sessions.chat import Chat
from prepaid.sessions.session import Session
from prepaid.sessions.values import as_time, from_json
from prepaid.turns import Answer

__all__ = [
    "AnswerData",
    "ChatData",
    "ClosedData",
    "FundedData",
    "MessageData",
    "NewSessionData",
    "Page",
    "SessionData",
]

ItemT = TypeVar("ItemT")
_SESSION = "ses_01m7y6qkv88hxy3a7ak1pr"
_TIME = "2030-01-01T12:00:00Z"


class Page(BaseModel, Generic[ItemT]):
    """A page of a list; ``next_cursor`` is null where it ends."""

    items: list[ItemT]
    next_cursor: str | None = Field(examples=[None])


class SessionData(BaseModel):
    """A session and its balances: funded = available + held + spent + refunded."""

    session_id: str = Field(examples=[_SESSION])
    user_id: str = Field(examples=["ann"])
    state: str = Field(examples=["active"])
    name: str = Field(examples=["Research"])
    currency: str = Field(examples=["USD"])
    funded: int = Field(examples=[10_000_000])
    available: int = Field(examples=[9_998_000])
    held: int = Field(examples=[0])
    spent: int = Field(examples=[2_000])
    refunded: int = Field(examples=[0])
    request_count: int = Field(examples=[1])
    chat_count: int = Field(examples=[1])
    metadata: dict[str, Any] = Field(examples=[{"plan": "pro"}])
    preferences: dict[str, Any] = Field(examples=[{"language": "en"}])
    tags: list[str] = Field(examples=[["work"]])
    created_at: datetime = Field(examples=[_TIME])
    last_used_at: datetime = Field(examples=[_TIME])
    expires_at: datetime | None = Field(examples=[None])

    @classmethod
    def of(cls, session: Session) -> Self:
        """The session as it is now."""
        return cls(**_session_fields(session))


class NewSessionData(SessionData):
    """A session that was opened. ``api_key`` is shown once: a retry with the same key gets null."""

    api_key: str | None = Field(examples=[f"pp_{_SESSION}.1_kq3Zr0c1f0Yy7m2b5TQ8v9XwLsJd4EaN"])

    @classmethod
    def of(cls, session: Session) -> Self:
        """The session, with its first key where it was just made."""
        return cls(**_session_fields(session), api_key=session.api_key)


class FundedData(BaseModel):
    """A balance after money came in or went out."""

    available: int = Field(examples=[10_000_000])
    funded: int = Field(examples=[10_000_000])
    currency: str = Field(examples=["USD"])


class ClosedData(BaseModel):
    """What a close refunded at once, and what follows as requests in flight settle."""

    session_id: str = Field(examples=[_SESSION])
    refunded: int = Field(examples=[9_998_000])
    held: int = Field(examples=[0])


class ChatData(BaseModel):
    """A chat. Its ETag is the version of ``config``."""

    chat: int = Field(examples=[1], description="Its number in the session.")
    name: str = Field(examples=["Ideas"])
    config: dict[str, Any] = Field(examples=[{"current_model": "offline", "system_prompt": "Be brief."}])
    metadata: dict[str, Any] = Field(examples=[{"topic": "ledgers"}])
    tags: list[str] = Field(examples=[[]])
    max_messages: int | None = Field(examples=[None])
    message_count: int = Field(examples=[2])
    turn_count: int = Field(examples=[1])
    spent: int = Field(examples=[2_000])
    average_response_seconds: float | None = Field(examples=[0.4])
    created_at: datetime = Field(examples=[_TIME])

    @classmethod
    def of(cls, chat: Chat) -> Self:
        """The chat as it is now."""
        record = chat.record
        answering = record.answering_ms / 1000 / record.turn_count if record.turn_count else None
        return cls(
            chat=record.chat_no,
            name=record.name,
            config=from_json(record.config),
            metadata=from_json(record.metadata),
            tags=list(record.tags),
            max_messages=record.message_max,
            message_count=record.message_count,
            turn_count=record.turn_count,
            spent=record.spent,
            average_response_seconds=answering,
            created_at=as_time(record.created_ms),
        )


class MessageData(BaseModel):
    """A message where it stands in its chat."""

    seq: int = Field(examples=[2])
    turn: int = Field(examples=[1])
    role: str = Field(examples=["assistant"])
    text: str = Field(examples=["A book of accounts."])
    tool_calls: list[dict[str, Any]] = Field(examples=[[]])
    at: datetime = Field(examples=[_TIME])

    @classmethod
    def of(cls, stored: StoredMessage) -> Self:
        """One stored message."""
        message = stored.message
        return cls(
            seq=stored.seq,
            turn=stored.turn,
            role=message.role.value,
            text=message.text,
            tool_calls=[asdict(each) for each in message.tool_calls],
            at=as_time(stored.at_ms),
        )


class AnswerData(BaseModel):
    """An answer and what it cost. ``is_lowered``: the balance could not pay for more output."""

    chat: int = Field(examples=[1])
    text: str = Field(examples=["A book of accounts."])
    model: str = Field(examples=["offline"])
    finish_reason: str = Field(examples=["stop"])
    usage: dict[str, int] = Field(examples=[{"input_tokens": 7, "output_tokens": 5}])
    held: int = Field(examples=[4_000])
    cost: int = Field(examples=[2_000])
    available: int = Field(examples=[9_998_000])
    is_lowered: bool = Field(examples=[False])
    replayed: bool = Field(examples=[False])

    @classmethod
    def of(cls, chat: Chat, answer: Answer) -> Self:
        """An answer in a chat."""
        return cls(
            chat=chat.chat_no,
            text=answer.text,
            model=answer.model,
            finish_reason=answer.finish_reason,
            usage=asdict(answer.usage),
            held=answer.held,
            cost=answer.cost,
            available=answer.available,
            is_lowered=answer.is_lowered,
            replayed=answer.replayed,
        )


def _session_fields(session: Session) -> dict[str, Any]:
    account, record = session.account, session.record
    return {
        "session_id": session.session_id,
        "user_id": account.owner,
        "state": session.state.label,
        "name": record.name,
        "currency": account.asset,
        "funded": account.funded,
        "available": account.available,
        "held": account.held,
        "spent": account.spent,
        "refunded": account.refunded,
        "request_count": account.request_count,
        "chat_count": record.chat_count,
        "metadata": session.metadata,
        "preferences": session.preferences,
        "tags": list(record.tags),
        "created_at": as_time(record.created_ms),
        "last_used_at": as_time(account.last_used_ms),
        "expires_at": None if account.expires_ms is None else as_time(account.expires_ms),
    }
