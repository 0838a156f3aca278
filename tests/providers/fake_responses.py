"""Responses as the fake provider says them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Item = dict[str, Any]


def response(
    body: Item, words: list[str], reason: str | None, tool_calls: Sequence[dict[str, str]], usage: Any
) -> Item:
    """The whole answer."""
    output = [_message("".join(words))] if words else []
    output += [_call(number, call) for number, call in enumerate(tool_calls)]
    is_cut = reason == "length"
    return {
        **_envelope(body),
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": output,
        "usage": _told(usage),
    }


def response_events(answer: Item, words: list[str]) -> list[bytes]:
    """Server-sent events: the response begins, each item with its pieces, and the whole response at last."""
    begun = {**answer, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    told: list[Item] = [{"type": "response.created", "response": begun}]
    for number, item in enumerate(answer["output"]):
        pieces = (
            _text_events(number, item, words) if item["type"] == "message" else _call_events(number, item)
        )
        empty = {"content": []} if item["type"] == "message" else {"arguments": ""}
        begun_item = {**item, **empty, "status": "in_progress"}
        told.append({"type": "response.output_item.added", "output_index": number, "item": begun_item})
        told += pieces
        told.append({"type": "response.output_item.done", "output_index": number, "item": item})
    told.append({"type": f"response.{answer['status']}", "response": answer})
    return [_event(number, event) for number, event in enumerate(told)]


def _text_events(number: int, item: Item, words: list[str]) -> list[Item]:
    at = {"output_index": number, "content_index": 0, "item_id": item["id"]}
    (part,) = item["content"]
    return [
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []} for word in words),
        {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _call_events(number: int, item: Item) -> list[Item]:
    at, arguments = {"output_index": number, "item_id": item["id"]}, item["arguments"]
    half = len(arguments) // 2
    kind = "response.function_call_arguments"
    deltas = [arguments[:half], arguments[half:]]
    return [
        *({"type": f"{kind}.delta", **at, "delta": delta} for delta in deltas),
        {"type": f"{kind}.done", **at, "name": item["name"], "arguments": arguments},
    ]


def _message(text: str) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def _call(number: int, call: dict[str, str]) -> Item:
    ids = {"id": f"fc_{number}", "call_id": f"call_{number}"}
    return {**ids, "type": "function_call", "status": "completed", **call}


def _told(usage: Any) -> Any:
    """Usage in the words of responses; a lie in other words stays as it is."""
    if not isinstance(usage, dict) or "prompt_tokens" not in usage:
        return usage
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }


def _event(number: int, event: Item) -> bytes:
    data = json.dumps({**event, "sequence_number": number})
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def _envelope(body: Item) -> Item:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": body.get("model"),
        "error": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "x_unknown": {"kept": True},
    }
