"""Chats and messages over REST, plain and as server-sent events (spec C3-C5). With a lease, the taker's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi import Request as HttpRequest
from fastapi.responses import Response

from prepaid.errors import InvalidRequestError, ValueTooLarge
from prepaid.gateway.rest import listing
from prepaid.gateway.rest.access import Access, Caller, IdempotencyKey, IfMatch, Lease, unquoted
from prepaid.gateway.rest.answers import AnswerData, ChatData, MessageData, Page
from prepaid.gateway.rest.bodies import BodyRoute
from prepaid.gateway.rest.events import STREAM_RESPONSES, streamed
from prepaid.gateway.rest.paging import Cursor, Limit, number_of
from prepaid.gateway.rest.shapes import ChatConfig, NewChat, Question
from prepaid.records import StoredMessage
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.chat import Chat
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.values import CHATS_MAX

__all__ = ["router"]

router = APIRouter(tags=["chats"], route_class=BodyRoute)

ChatNo = Annotated[int, Path(ge=1, le=CHATS_MAX, description="Its number in the session.", examples=[1])]


@router.post("/sessions/{session_id}/chats", status_code=201)
async def create_chat(
    caller: Caller,
    session_id: str,
    wanted: NewChat,
    response: Response,
    lease: Lease = None,
    key: IdempotencyKey = None,
) -> ChatData:
    """Open a chat and make it the current one."""
    session = caller.talking(session_id, lease)
    config = _as_config(caller, wanted.config)
    if isinstance(session, LeasedSession):
        _check_taker(wanted)
        chat = await session.create_new_chat(chat_name=wanted.name, agent_config=config, key=key)
    else:
        chat = await session.create_new_chat(
            chat_name=wanted.name,
            agent_config=config,
            metadata=wanted.metadata,
            tags=wanted.tags,
            max_messages=wanted.max_messages,
            key=key,
        )
    return _told(chat, response)


@router.get("/sessions/{session_id}/chats", response_model=Page[ChatData])
async def list_chats(
    caller: Caller, session_id: str, limit: Limit = 50, cursor: Cursor = None, lease: Lease = None
) -> Response:
    """A session's chats, oldest first; of a lease, the taker's."""
    session = caller.session(session_id) if lease is None else caller.talking(session_id, lease)

    async def fetch(after: int | None, rows: int) -> list[Chat]:
        return await session.get_chats(after=after or 0, limit=rows)

    after = number_of(cursor, "chats")
    return await listing.page(caller, fetch, ChatData.of, lambda each: each.chat_no, after, limit, "chats")


@router.get("/sessions/{session_id}/chats/{chat}")
async def get_chat(
    caller: Caller, session_id: str, chat: ChatNo, response: Response, lease: Lease = None
) -> ChatData:
    """A chat, with the ETag of its configuration."""
    session = caller.session(session_id) if lease is None else caller.talking(session_id, lease)
    return _told(session.get_chat(chat), response)


@router.put("/sessions/{session_id}/chats/{chat}/config")
async def configure_chat(
    caller: Caller,
    session_id: str,
    chat: ChatNo,
    wanted: ChatConfig,
    response: Response,
    lease: Lease = None,
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> ChatData:
    """Let it answer differently from the next turn on."""
    found = caller.talking(session_id, lease).get_chat(chat)
    # What is left out is the default model, which answers whoever asks there next.
    caller.record.limits.check_models((wanted.model or caller.manager.settings.default_model,))
    await found.configure(_as_config(caller, wanted), version=unquoted(if_match), key=key)
    return _told(found, response)


@router.post("/sessions/{session_id}/chats/{chat}/switch")
async def switch_to_chat(
    caller: Caller, session_id: str, chat: ChatNo, response: Response, key: IdempotencyKey = None
) -> ChatData:
    """Make it the session's current chat (spec C4)."""
    session = caller.spending(session_id)
    return _told(await session.switch_to_chat(chat, key=key), response)


@router.get("/sessions/{session_id}/chats/{chat}/messages", response_model=Page[MessageData])
async def list_messages(
    caller: Caller,
    session_id: str,
    chat: ChatNo,
    limit: Limit = 50,
    cursor: Cursor = None,
    lease: Lease = None,
) -> Response:
    """A chat's messages, newest first."""
    session = caller.session(session_id) if lease is None else caller.talking(session_id, lease)
    found = session.get_chat(chat)

    async def fetch(before: int | None, rows: int) -> list[StoredMessage]:
        return (await found.get_history(limit=rows, before=before))[::-1]

    before = number_of(cursor, "messages")
    return await listing.page(caller, fetch, MessageData.of, lambda each: each.seq, before, limit, "messages")


@router.delete("/sessions/{session_id}/chats/{chat}/messages", status_code=204)
async def clear_messages(
    caller: Caller, session_id: str, chat: ChatNo, lease: Lease = None, key: IdempotencyKey = None
) -> None:
    """Forget a chat's messages. What was paid stays in the statement."""
    await caller.talking(session_id, lease).get_chat(chat).clear_history(key=key)


@router.post(
    "/sessions/{session_id}/chats/{chat}/messages", response_model=AnswerData, responses=STREAM_RESPONSES
)
async def send_message(
    http: HttpRequest,
    caller: Caller,
    session_id: str,
    chat: ChatNo,
    question: Question,
    lease: Lease = None,
    key: IdempotencyKey = None,
) -> AnswerData | Response:
    """Ask, and pay for the answer. With `stream`, it comes as server-sent events."""
    found = caller.talking(session_id, lease).get_chat(chat)
    if question.stream:
        asked = found.stream_message(question.text, key=key, max_output_tokens=question.max_output_tokens)
        return await streamed(http, found, asked, caller.slot())
    with caller.slot():
        answer = await found.send_message(
            question.text, key=key, max_output_tokens=question.max_output_tokens
        )
    caller.paid(answer.model, answer.cost)
    return AnswerData.of(found, answer)


def _as_config(caller: Access, wanted: ChatConfig) -> AgentConfig:
    """How the chat answers. Its owner pays for that with any key, so no key names models beyond its own."""
    fallbacks = wanted.fallback_models
    _check_system_prompt(caller, wanted.system_prompt)
    caller.record.limits.check_models((*([wanted.model] if wanted.model else []), *(fallbacks or ())))
    return AgentConfig(
        current_model=wanted.model,
        system_prompt=wanted.system_prompt,
        fallback_models=None if fallbacks is None else tuple(fallbacks),
        temperature=wanted.temperature,
        max_output_tokens=wanted.max_output_tokens,
    )


def _check_system_prompt(caller: Access, text: str) -> None:
    """Refuse a long one: a chat costs nothing to keep, so anybody could fill the disk with them."""
    size, limit = (
        len(text.encode(errors="surrogatepass")),
        caller.manager.settings.gateway.system_prompt_bytes_max,
    )
    if size > limit:
        raise ValueTooLarge("system_prompt", size, limit, limit_name="system_prompt_bytes_max")


def _check_taker(wanted: NewChat) -> None:
    """A taker's chat carries whose it is; what the owner keeps with chats is not the taker's to set."""
    if wanted.metadata or wanted.tags or wanted.max_messages is not None:
        raise InvalidRequestError(
            "A chat under a lease has no metadata, tags or max_messages.", remedy="Leave them out."
        )


def _told(chat: Chat, response: Response) -> ChatData:
    response.headers["ETag"] = f'"{chat.version}"'
    return ChatData.of(chat)
