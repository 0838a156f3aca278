"""Answers of our models as chat completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json

from prepaid.records import ChatRequest, Finish, TextDelta, ToolCall, Usage
from prepaid.relay.own.speech import Speaking
from prepaid.relay.wire import Body

__all__ = ["completion", "completion_events"]


async def completion(speaking: Speaking, request: ChatRequest, body: Body) -> Body:
    """The whole answer."""
    choices: list[Body] = []
    usages: list[Usage | None] = []
    for index in range(body.get("n") or 1):
        text, calls, finish = "", [], Finish("stop", None)
        async with aclosing(speaking(request)) as events:
            async for event in events:
                match event:
                    case TextDelta():
                        text += event.text
                    case ToolCall():
                        calls.append(_call(event))
                    case Finish():
                        finish = event
        message: Body = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        if calls:
            message["tool_calls"] = calls
        choices.append(
            {"index": index, "message": message, "logprobs": None, "finish_reason": _reason(finish)}
        )
        usages.append(finish.usage)
    return {**_envelope("chat.completion", request), "choices": choices, **_usage(usages)}


async def completion_events(speaking: Speaking, request: ChatRequest, body: Body) -> AsyncGenerator[bytes]:
    """The same in pieces: server-sent events."""
    envelope = _envelope("chat.completion.chunk", request)
    usages: list[Usage | None] = []

    def chunk(index: int, delta: Body, reason: str | None = None) -> bytes:
        return _event({**envelope, "choices": [{"index": index, "delta": delta, "finish_reason": reason}]})

    for index in range(body.get("n") or 1):
        calls = 0
        yield chunk(index, {"role": "assistant", "content": ""})
        async with aclosing(speaking(request)) as events:
            async for event in events:
                match event:
                    case TextDelta():
                        yield chunk(index, {"content": event.text})
                    case ToolCall():
                        yield chunk(index, {"tool_calls": [{"index": calls, **_call(event)}]})
                        calls += 1
                    case Finish():
                        usages.append(event.usage)
                        yield chunk(index, {}, _reason(event))
    told = _usage(usages)
    if told:
        yield _event({**envelope, "choices": [], **told})
    yield b"data: [DONE]\n\n"


def _envelope(kind: str, request: ChatRequest) -> Body:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
    }


def _event(chunk: Body) -> bytes:
    return b"data: " + to_json(chunk) + b"\n\n"


def _call(call: ToolCall) -> Body:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _reason(finish: Finish) -> str:
    return "stop" if finish.reason == "cancelled" else finish.reason


def _usage(usages: list[Usage | None]) -> dict[str, Any]:
    """The input is counted once, however many choices there are; nothing, where one of them is not known."""
    known = [usage for usage in usages if usage is not None]
    if len(known) < len(usages) or not known:
        return {}
    first, output = known[0], sum(usage.output_tokens for usage in known)
    details = {"cached_tokens": first.cache_read_tokens, "cache_write_tokens": first.cache_write_tokens}
    told = {
        "prompt_tokens": first.input_tokens,
        "completion_tokens": output,
        "total_tokens": first.input_tokens + output,
        "prompt_tokens_details": details,
    }
    return {"usage": told}
