"""Answers of our models as responses: one object, or the events that build it up."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json

from prepaid.records import ChatRequest, Finish, TextDelta, ToolCall, Usage
from prepaid.relay.own.speech import Speaking
from prepaid.relay.wire import Body

__all__ = ["response", "response_events"]


async def response(speaking: Speaking, request: ChatRequest, body: Body) -> Body:
    """The whole answer."""
    writer = _Writer(request, body)
    async with aclosing(speaking(request)) as events:
        async for event in events:
            for _ in writer.write(event):
                pass
    return writer.response


async def response_events(speaking: Speaking, request: ChatRequest, body: Body) -> AsyncGenerator[bytes]:
    """The same in pieces: server-sent events."""
    writer = _Writer(request, body)
    for event in ("response.created", "response.in_progress"):
        yield _event(writer.event(event, response=writer.response))
    async with aclosing(speaking(request)) as said:
        async for part in said:
            yield b"".join(_event(event) for event in writer.write(part))


class _Writer:
    """Builds a response up, and tells every step."""

    def __init__(self, request: ChatRequest, body: Body) -> None:
        self._number = -1
        self._text: list[str] | None = None
        self.response: Body = {
            "id": f"resp_{secrets.token_hex(16)}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": request.output_tokens_max,
            "metadata": body.get("metadata") or {},
            "model": request.model,
            "output": [],
            "parallel_tool_calls": True,
            "temperature": request.temperature,
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p"),
            "usage": None,
        }

    def event(self, kind: str, **parts: Any) -> Body:
        """The next event, numbered."""
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **parts}

    def write(self, said: TextDelta | ToolCall | Finish) -> Iterator[Body]:
        """The events that a piece of the answer makes."""
        match said:
            case TextDelta():
                yield from self._begin_text()
                assert self._text is not None, "it was just begun"
                self._text.append(said.text)
                yield self._text_event("response.output_text.delta", delta=said.text, logprobs=[])
            case ToolCall():
                yield from self._end_text()
                yield from self._call(said)
            case Finish():
                yield from self._end_text()
                yield from self._finish(said)

    @property
    def _items(self) -> list[Body]:
        items: list[Body] = self.response["output"]
        return items

    def _text_event(self, kind: str, **parts: Any) -> Body:
        place = {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1, "content_index": 0}
        return self.event(kind, **place, **parts)

    def _begin_text(self) -> Iterator[Body]:
        if self._text is not None:
            return
        self._text = []
        item = {"id": f"msg_{secrets.token_hex(16)}", "type": "message", "role": "assistant"}
        self._items.append({**item, "status": "in_progress", "content": []})
        yield self.event(
            "response.output_item.added", output_index=len(self._items) - 1, item={**self._items[-1]}
        )
        yield self._text_event("response.content_part.added", part=_part(""))

    def _end_text(self) -> Iterator[Body]:
        if self._text is None:
            return
        text, self._text = "".join(self._text), None
        yield self._text_event("response.output_text.done", text=text, logprobs=[])
        yield self._text_event("response.content_part.done", part=_part(text))
        self._items[-1] |= {"status": "completed", "content": [_part(text)]}
        yield self.event("response.output_item.done", output_index=len(self._items) - 1, item=self._items[-1])

    def _call(self, call: ToolCall) -> Iterator[Body]:
        item = {"id": f"fc_{secrets.token_hex(16)}", "type": "function_call", "call_id": call.id}
        item |= {"name": call.name, "arguments": "", "status": "in_progress"}
        index = len(self._items)
        self._items.append({**item, "arguments": call.arguments, "status": "completed"})
        yield self.event("response.output_item.added", output_index=index, item=item)
        place = {"item_id": item["id"], "output_index": index}
        yield self.event("response.function_call_arguments.delta", **place, delta=call.arguments)
        done = {"name": call.name, "arguments": call.arguments}
        yield self.event("response.function_call_arguments.done", **place, **done)
        yield self.event("response.output_item.done", output_index=index, item=self._items[-1])

    def _finish(self, finish: Finish) -> Iterator[Body]:
        kind = "incomplete" if finish.reason in ("length", "content_filter") else "completed"
        self.response |= {"status": kind, "usage": _usage(finish.usage)}
        if kind == "incomplete":
            reason = "max_output_tokens" if finish.reason == "length" else "content_filter"
            self.response["incomplete_details"] = {"reason": reason}
        yield self.event(f"response.{kind}", response=self.response)


def _part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _event(event: Body) -> bytes:
    kind: str = event["type"]
    return b"event: " + kind.encode() + b"\ndata: " + to_json(event) + b"\n\n"


def _usage(usage: Usage | None) -> Body | None:
    if usage is None:
        return None
    details = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": details,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
