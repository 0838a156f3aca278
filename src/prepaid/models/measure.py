"""The size of requests and answers in UTF-8 bytes, as prices per byte count them (spec A10)."""

from __future__ import annotations

import json

from prepaid.records import ChatRequest, ModelEvent, TextDelta, ToolCall

__all__ = ["event_bytes", "request_bytes", "text_bytes"]


def text_bytes(text: str) -> int:
    """UTF-8 bytes of ``text``; half a surrogate pair, which JSON can carry, counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def request_bytes(request: ChatRequest) -> int:
    """Bytes of the request's texts, tool calls and tool definitions; the wire format around them is free."""
    size = 0
    for message in request.messages:
        size += text_bytes(message.text)
        for call in message.tool_calls:
            size += event_bytes(call)
    for tool in request.tools:
        schema = json.dumps(dict(tool.parameters), ensure_ascii=False, separators=(",", ":"))
        size += text_bytes(tool.name) + text_bytes(tool.description) + text_bytes(schema)
    return size


def event_bytes(event: ModelEvent) -> int:
    """Bytes of one piece of an answer: its text, or a tool call's name and arguments."""
    match event:
        case TextDelta(text):
            return text_bytes(text)
        case ToolCall(_, name, arguments):
            return text_bytes(name) + text_bytes(arguments)
        case _:
            return 0
