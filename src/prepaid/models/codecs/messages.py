"""What messages may hold: each of their keys is input, whose bytes are counted, or switches nothing on.

Besides OpenAI's own keys there are those that clients send back from a provider's answer: reasoning,
signatures, annotations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from prepaid.models.codecs.images import detail, image, image_url
from prepaid.models.codecs.shapes import (
    FREE,
    Keys,
    Misshapen,
    each,
    one_of,
    record,
    shown,
    text,
    text_or,
    typed,
    unpriced,
    walk,
)
from prepaid.models.codecs.tools import CACHE_CONTROL

__all__ = ["CHAT_MESSAGES", "CHAT_ROLES", "RESPONSES_INPUT", "RESPONSES_ITEMS", "RESPONSES_ROLES"]

_BREAKPOINT: Final = record({"mode": FREE, "ttl": one_of("30m")})
_PART: Final[Keys] = {"type": FREE, "prompt_cache_breakpoint": _BREAKPOINT, "cache_control": CACHE_CONTROL}
_ANNOTATIONS: Final = each(
    typed(
        {
            "url_citation": {
                "type": FREE,
                "url_citation": record(
                    dict.fromkeys(("start_index", "end_index", "title", "url", "content"))
                ),
                **dict.fromkeys(("start_index", "end_index", "title", "url")),
            }
        },
        "an annotation",
    )
)

# --- chat completions ------------------------------------------------------------------------------


def _url_or_image(value: Any) -> None:
    (image_url if type(value) is str else image)(value)


_CHAT_CONTENT: Final = text_or(
    each(
        typed(
            {
                "text": {**_PART, "text": text},
                "refusal": {**_PART, "refusal": text},
                "image_url": {**_PART, "image_url": _url_or_image},
            },
            "a content part",
        )
    )
)
_SIGNED: Final = record({"google": record({"thought_signature": text})})
_CALL: Final[Keys] = {
    "id": FREE,
    "type": FREE,
    "index": FREE,
    "extra_content": _SIGNED,
    "provider_specific_fields": record({"thought_signature": text}),
    "cache_control": CACHE_CONTROL,
}
_FUNCTION_CALLED: Final = record({"name": text, "arguments": text, "parsed_arguments": FREE})
_CALLS: Final = each(
    record(
        {**_CALL, "function": _FUNCTION_CALLED, "custom": record({"name": text, "input": text})},
    )
)
_THOUGHTS: Final = each(
    record(
        dict.fromkeys(("type", "text", "summary", "data", "thinking", "signature", "id", "format", "index"))
    )
)
_MESSAGE: Final[Keys] = {
    "role": FREE,
    "content": _CHAT_CONTENT,
    "name": text,
    "cache_control": CACHE_CONTROL,
}
CHAT_ROLES: Final[dict[str, Keys]] = {
    "developer": _MESSAGE,
    "system": _MESSAGE,
    "user": _MESSAGE,
    "assistant": {
        **_MESSAGE,
        "refusal": text,
        "tool_calls": _CALLS,
        "function_call": _FUNCTION_CALLED,
        "audio": unpriced,
        "annotations": _ANNOTATIONS,
        "parsed": FREE,
        "reasoning_content": text,
        "reasoning": text,
        "reasoning_details": _THOUGHTS,
        "thinking_blocks": _THOUGHTS,
        "extra_content": _SIGNED,
    },
    "tool": {**_MESSAGE, "tool_call_id": text},
    "function": _MESSAGE,
}
"""The keys of a message, by its role."""


def _message(value: Any) -> None:
    if type(value) is not dict:
        raise Misshapen("is not an object", "Send an object with role and content.")
    role = value.get("role")
    keys = CHAT_ROLES.get(role) if type(role) is str else None
    if keys is None:
        raise _no_role(role, CHAT_ROLES)
    walk(value, keys)


def _no_role(role: Any, known: Iterable[str]) -> Misshapen:
    """Some servers have roles that stand for a cached prompt, which cannot be seen here."""
    what = "has no role" if role is None else f"has the role {shown(str(role))!r}"
    return Misshapen(what, f"Use one of: {', '.join(known)}.")


CHAT_MESSAGES: Final = each(_message)

# --- responses -------------------------------------------------------------------------------------

_TEXT: Final[Keys] = {**_PART, "text": text}
_RESPONSES_CONTENT: Final = text_or(
    each(
        typed(
            {
                "input_text": _TEXT,
                "output_text": {**_TEXT, "annotations": _ANNOTATIONS, "logprobs": FREE},
                "text": _TEXT,
                "reasoning_text": _TEXT,
                "summary_text": _TEXT,
                "refusal": {**_PART, "refusal": text},
                "input_image": {**_PART, "image_url": image_url, "detail": detail, "file_id": unpriced},
            },
            "a content part",
        )
    )
)
_CALLER: Final = typed({"direct": {"type": FREE}}, "a caller")
_ITEM: Final[Keys] = {"type": FREE, "id": text, "status": FREE}
_TOOL_ITEM: Final[Keys] = {
    **_ITEM,
    "call_id": text,
    "name": text,
    "namespace": text,
    "caller": _CALLER,
}
RESPONSES_ROLES: Final = ("user", "assistant", "system", "developer")
RESPONSES_ITEMS: Final[dict[str, Keys]] = {
    "message": {**_ITEM, "role": FREE, "content": _RESPONSES_CONTENT, "phase": FREE},
    "function_call": {**_TOOL_ITEM, "arguments": text},
    "function_call_output": {**_TOOL_ITEM, "output": _RESPONSES_CONTENT},
    "custom_tool_call": {**_TOOL_ITEM, "input": text},
    "custom_tool_call_output": {**_TOOL_ITEM, "output": _RESPONSES_CONTENT},
    "reasoning": {
        **_ITEM,
        "summary": _RESPONSES_CONTENT,
        "content": _RESPONSES_CONTENT,
        "encrypted_content": text,
    },
}
"""The keys of an input item, by its type."""

_other_item: Final = typed(RESPONSES_ITEMS, "an input item")


def _item(value: Any) -> None:
    """An item; one without a type is a message, or a reference to something that cannot be seen here."""
    if type(value) is not dict or value.get("type", "message") != "message":
        _other_item(value)
        return
    role = value.get("role")
    if type(role) is not str or role not in RESPONSES_ROLES:
        raise _no_role(role, RESPONSES_ROLES)
    walk(value, RESPONSES_ITEMS["message"])


RESPONSES_INPUT: Final = text_or(each(_item))
