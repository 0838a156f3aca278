"""OpenAI's chat completions on the wire: a ``ChatRequest`` out, stream events in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from prepaid.errors import ProviderResponseInvalid
from prepaid.models.failures import refused_in_stream
from prepaid.records import (
    ChatRequest,
    Finish,
    FinishReason,
    Message,
    ModelEvent,
    Role,
    TextDelta,
    Tool,
    ToolCall,
)

__all__ = ["Answer", "message_json", "prompt_text", "request_body", "tool_json"]

CALLS_MAX: Final = 128
CALL_CHARACTERS_MAX: Final = 1_048_576
"""What one answer's tool calls may be together; they are kept in memory until they are whole."""

_LIMIT_FIELDS: Final = ("max_tokens", "max_completion_tokens")
_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def request_body(request: ChatRequest, upstream_model: str, limit_field: str) -> dict[str, Any]:
    """The JSON body. ``extra`` is forwarded as it is, except where it would undo what was paid for."""
    body = {key: value for key, value in request.extra.items() if key not in _LIMIT_FIELDS}
    body |= {
        "model": upstream_model,
        "messages": [message_json(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.output_tokens_max is not None:
        body[limit_field] = request.output_tokens_max
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [tool_json(tool) for tool in request.tools]
    return body


def prompt_text(request: ChatRequest) -> str:
    """Everything in the request that the provider may put before the model, as one text."""
    sent = {**request.extra, "messages": [message_json(message) for message in request.messages]}
    if request.tools:
        sent["tools"] = [tool_json(tool) for tool in request.tools]
    return json.dumps(sent, ensure_ascii=False, separators=(",", ":"))


class _CallFunction(BaseModel):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(BaseModel):
    index: int = 0
    id: str | None = None
    function: _CallFunction | None = None


class _Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(BaseModel):
    index: int = 0
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    choices: list[_Choice] = []
    usage: Any = None
    error: Any = None


class Answer:
    """Puts the chunks of one streamed answer together."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._calls: dict[int, list[str]] = {}
        self.usage: Any = None
        """As the provider told it last; ``None`` where it has not."""
        self._reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the provider has said how the answer ends; only its usage may still come."""
        return self._reason is not None

    def texts(self, data: str) -> Iterator[TextDelta]:
        """The text in one event's ``data``; tool calls are kept until they are whole.

        Raises:
            ProviderResponseInvalid: it is not a chunk of a chat completion.
            ProviderError: it is the provider's own error.
        """
        try:
            chunk = _Chunk.model_validate_json(data)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in found["loc"]) or "event"
            raise ProviderResponseInvalid(
                f"Upstream {self._upstream!r} sent a malformed chunk: {place}: {found['msg']}."
            ) from None
        if chunk.error is not None:
            raise refused_in_stream(self._upstream, chunk.error)
        if chunk.usage is not None:
            self.usage = chunk.usage
        for choice in chunk.choices:
            if choice.index == 0:
                yield from self._from_choice(choice)

    def end(self) -> Iterator[ModelEvent]:
        """The whole tool calls, then the end; what it used is left to who knows what was sent.

        Raises:
            ProviderResponseInvalid: a tool call without a name.
        """
        for index in sorted(self._calls):
            call_id, name, arguments = self._calls[index]
            if not name:
                raise ProviderResponseInvalid(f"Upstream {self._upstream!r} sent a tool call without a name.")
            yield ToolCall(call_id or f"call_{index}", name, arguments or "{}")
        reason = _REASONS.get(self._reason or "stop", "stop")
        yield Finish("tool_calls" if self._calls and reason == "stop" else reason, None)

    def _from_choice(self, choice: _Choice) -> Iterator[TextDelta]:
        for text in (choice.delta.content, choice.delta.refusal):
            if text:
                yield TextDelta(text)
        for part in choice.delta.tool_calls or ():
            call = self._calls.setdefault(part.index, ["", "", ""])
            function = part.function or _CallFunction()
            # Identity comes once, arguments piece by piece; some providers repeat the former.
            call[0] = call[0] or part.id or ""
            call[1] = call[1] or function.name or ""
            call[2] += function.arguments or ""
        if (
            len(self._calls) > CALLS_MAX
            or sum(len(call[2]) for call in self._calls.values()) > CALL_CHARACTERS_MAX
        ):
            raise ProviderResponseInvalid(
                f"Upstream {self._upstream!r} sent tool calls beyond the limit of {CALLS_MAX} calls"
                f" and {CALL_CHARACTERS_MAX} characters."
            )
        self._reason = choice.finish_reason or self._reason


def message_json(message: Message) -> dict[str, Any]:
    """A message as chat completions have it."""
    wire: dict[str, Any] = {"role": message.role.value, "content": message.text}
    if message.tool_calls:
        wire["content"] = message.text or None
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.role is Role.TOOL:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def tool_json(tool: Tool) -> dict[str, Any]:
    """A tool as chat completions have it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
