"""What an agent of the OpenAI Agents SDK asks, as our request: for its price, and to refuse what has none.

Only text and function tools can be told in bytes. Images, files, audio, tools that the provider runs and
what the provider itself remembers cannot, and their price could not be held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agents import AgentOutputSchemaBase, FunctionTool, Handoff, ModelSettings
from agents import Tool as AgentTool
from agents.items import TResponseInputItem

from prepaid.errors import ApiNotSupported
from prepaid.models.apis import AGENTS_FIELDS, check_apis, check_extra
from prepaid.models.measure import TOKENS_FOR_TOOLS, request_bytes, text_bytes
from prepaid.records import ChatRequest, Message, ModelInfo, Role, Tool, ToolCall

__all__ = ["input_tokens_max", "to_request"]

TOKENS_PER_MESSAGE: Final = 16

_TEXTS: Final = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
}


def to_request(
    info: ModelInfo,
    instructions: str | None,
    asked: str | Sequence[TResponseInputItem],
    settings: ModelSettings,
    tools: Sequence[AgentTool],
    output_schema: AgentOutputSchemaBase | None,
    handoffs: Sequence[Handoff[Any, Any]],
) -> ChatRequest:
    """The request, whose every byte is known.

    Raises:
        ApiNotSupported: something in it has no price, or the model lacks it.
        InvalidRequestError: extra arguments that say again what the meter sets.
    """
    messages = [Message(Role.SYSTEM, instructions)] if instructions else []
    items: Sequence[Any] = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    messages += [_message(info, item) for item in items]
    request = ChatRequest(
        model=info.name,
        messages=tuple(messages),
        output_tokens_max=settings.max_tokens,
        tools=tuple(_tools(info, tools, handoffs)),
        temperature=settings.temperature,
        extra=_extra(info, settings, output_schema),
    )
    check_apis(info, request, AGENTS_FIELDS)
    return request


def input_tokens_max(request: ChatRequest) -> int:
    """No byte-level tokenizer makes more tokens than bytes; template tokens come on top."""
    extra = text_bytes(json.dumps(dict(request.extra), ensure_ascii=False, default=repr))
    ids = sum(text_bytes(message.tool_call_id or "") for message in request.messages)
    ids += sum(text_bytes(call.id) for message in request.messages for call in message.tool_calls)
    template = TOKENS_PER_MESSAGE * len(request.messages) + (TOKENS_FOR_TOOLS if request.tools else 0)
    return request_bytes(request) + ids + extra + template


def _message(info: ModelInfo, item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise _refusal(info, type(item).__name__)
    kind = item.get("type", "message")
    match kind:
        case "message":
            role = Role.ASSISTANT if item.get("role") == "assistant" else Role.USER
            return Message(role, _text(info, item.get("content")))
        case "function_call":
            call = ToolCall(str(item.get("call_id")), str(item.get("name")), str(item.get("arguments")))
            return Message(Role.ASSISTANT, "", (call,))
        case "function_call_output":
            text = _text(info, item.get("output"))
            return Message(Role.TOOL, text, tool_call_id=str(item.get("call_id")))
        case "reasoning":
            thought = [_text(info, item.get(part) or []) for part in ("summary", "content")]
            return Message(Role.ASSISTANT, "".join([*thought, str(item.get("encrypted_content") or "")]))
        case _:
            raise _refusal(info, str(kind))


def _text(info: ModelInfo, content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence):
        raise _refusal(info, type(content).__name__)
    return "".join(_part(info, part) for part in content)


def _part(info: ModelInfo, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if not isinstance(part, Mapping) or kind not in _TEXTS:
        raise _refusal(info, str(kind))
    return str(part.get(_TEXTS[str(kind)]) or "")


def _tools(
    info: ModelInfo, tools: Sequence[AgentTool], handoffs: Sequence[Handoff[Any, Any]]
) -> Iterator[Tool]:
    for tool in tools:
        if not isinstance(tool, FunctionTool):
            raise _refusal(info, type(tool).__name__)
        yield Tool(tool.name, tool.description or "", tool.params_json_schema)
    for handoff in handoffs:
        yield Tool(handoff.tool_name, handoff.tool_description or "", handoff.input_json_schema)


def _extra(
    info: ModelInfo, settings: ModelSettings, output_schema: AgentOutputSchemaBase | None
) -> dict[str, Any]:
    """What may change the price, for ``check_apis``; it is sent by the SDK itself."""
    if settings.context_management is not None:
        raise _refusal(info, "context_management")
    extra: dict[str, Any] = {}
    for name in ("extra_args", "extra_body"):
        given = getattr(settings, name)
        if given is not None and not isinstance(given, Mapping):
            raise _refusal(info, name)
        extra |= given or {}
    extra.pop("timeout", None)  # of the SDK's client; it is not sent
    check_extra(extra)
    if settings.reasoning is not None:
        extra["reasoning"] = settings.reasoning.model_dump(exclude_none=True)
    if settings.prompt_cache_options is not None:
        extra["prompt_cache_options"] = dict(settings.prompt_cache_options)
    if output_schema is not None and not output_schema.is_plain_text():
        form = {"name": "final_output", "schema": output_schema.json_schema()}
        extra["response_format"] = {"type": "json_schema", "json_schema": form}
    return extra


def _refusal(info: ModelInfo, what: str) -> ApiNotSupported:
    return ApiNotSupported(info.name, what, tuple(sorted(info.apis)))
