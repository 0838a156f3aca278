"""An answer as server-sent events: ``delta``, ``tool_call``, then ``answer``; or ``error`` in mid-stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import asdict
from typing import Any, Final

from fastapi import Request as HttpRequest
from fastapi.responses import StreamingResponse

from prepaid.errors import PrepaidError
from prepaid.gateway.asgi import REQUEST, Receive, Scope, Send, to_json
from prepaid.gateway.rest.answers import AnswerData
from prepaid.gateway.rest.problems import problem_of
from prepaid.records import TextDelta, ToolCall
from prepaid.sessions.chat import Chat
from prepaid.turns import Answer

__all__ = ["STREAM_RESPONSES", "streamed"]

_EXAMPLE: Final = (
    'event: delta\ndata: {"text":"A book"}\n\nevent: answer\ndata: {"text":"A book of accounts.", …}\n\n'
)
STREAM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}}}
}
Asked = AsyncGenerator[TextDelta | ToolCall | Answer]


async def streamed(
    http: HttpRequest, chat: Chat, asked: Asked, slot: AbstractContextManager[object]
) -> StreamingResponse:
    """The reply; what goes wrong before the first event is a status, not an event.

    A client that hangs up ends ``asked``: what was delivered is paid and saved. Until then it has ``slot``.
    """
    async with AsyncExitStack() as held:
        held.enter_context(slot)
        held.push_async_callback(asked.aclose)
        first = await anext(asked)
        return _EventStream(_events(http, chat, first, asked), held.pop_all())


class _EventStream(StreamingResponse):
    """Lets go of what it holds when it has ended, also where its client was gone before it began."""

    def __init__(self, events: AsyncGenerator[bytes], held: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


async def _events(
    http: HttpRequest, chat: Chat, first: TextDelta | ToolCall | Answer, asked: Asked
) -> AsyncGenerator[bytes]:
    try:
        yield _event(chat, first)
        async for event in asked:
            yield _event(chat, event)
    except PrepaidError as error:
        http.scope[REQUEST].error = error.code
        yield _line("error", problem_of(http, error))


def _event(chat: Chat, event: TextDelta | ToolCall | Answer) -> bytes:
    if isinstance(event, Answer):
        return _line("answer", AnswerData.of(chat, event).model_dump(mode="json"))
    if isinstance(event, ToolCall):
        return _line("tool_call", asdict(event))
    return _line("delta", {"text": event.text})


def _line(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), to_json(data))
