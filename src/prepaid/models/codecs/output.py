"""The output in a provider's answer, whatever field it is in (spec P3, P6).

Providers put what they bill into fields of their own: reasoning under half a dozen names, tools' input, parts
of content. All of it counts. Reasoning that several fields repeat counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["call_parts", "output_of", "shows_hidden_output", "strings_in", "texts_of"]

_MARKS: Final = frozenset(
    {"id", "type", "index", "role", "object", "status", "format", "signature", "data", "encrypted_content"}
    | {"call_id", "item_id", "tool_call_id", "url", "file_id", "mime_type", "media_type"}
    | {"annotations", "logprobs", "results"}
)
"""Keys whose text names, marks or encrypts something, and is not output itself."""

_NOT_OUTPUT: Final = frozenset(
    {"role", "annotations", "citations", "images", "audio", "tool_call_id", "name", "provider"}
)
"""Fields of a message without any text by the model."""

_SAID: Final = ("content", "refusal")
_CALLS: Final = ("tool_calls", "function_call")


def output_of(message: dict[str, Any]) -> str:
    """All output in a chat message, or in the delta of one."""
    text = ""
    beside = ""
    for name, value in message.items():
        if not value or name in _NOT_OUTPUT or _is_mark(name):
            continue
        if name in _SAID:
            text += value if type(value) is str else "".join(strings_in(value))
        elif name in _CALLS:
            text += "".join(_call_texts(value))
        else:
            # `reasoning`, `reasoning_content` and `reasoning_details` give the same words in three ways.
            beside = max(beside, value if type(value) is str else "".join(strings_in(value)), key=len)
    return text + beside


def texts_of(content: Any) -> Iterator[str]:
    """What a message's content says to its reader, without the thinking that some providers put there.

    Content is a string or a list of parts.
    """
    if type(content) is str:
        yield content
    for part in content if type(content) is list else ():
        if type(part) is dict:
            text = part.get("text", part.get("refusal"))
            if type(text) is str:
                yield text


def call_parts(call: dict[str, Any]) -> tuple[str, str, str]:
    """The id, name and input of a tool call or of a part of one; empty where they are missing."""
    inner = call.get("function") or call.get("custom") or {}
    if type(inner) is not dict:
        return _text(call.get("id")), "", ""
    given = inner.get("arguments", inner.get("input"))
    return _text(call.get("id")), _text(inner.get("name")), _text(given)


def strings_in(value: Any) -> Iterator[str]:
    """Every string in a JSON value, in order, without ``_MARKS``; it never recurses."""
    waiting: list[Any] = [value]
    while waiting:
        found = waiting.pop()
        if type(found) is str:
            yield found
        elif type(found) is list:
            waiting += reversed(found)
        elif type(found) is dict:
            waiting += [each for name, each in reversed(found.items()) if not _is_mark(name)]


def shows_hidden_output(message: dict[str, Any]) -> bool:
    """Whether a chat message, or the delta of one, holds reasoning that cannot be read."""
    details = message.get("reasoning_details") or message.get("thinking_blocks")
    return type(details) is list and any(
        type(each) is dict and (each.get("data") or each.get("type") == "redacted_thinking")
        for each in details
    )


def _is_mark(name: str) -> bool:
    return name in _MARKS or "signature" in name or "cited" in name or "citation" in name


def _call_texts(calls: Any) -> Iterator[str]:
    for call in calls if type(calls) is list else [calls]:
        if type(call) is dict:
            yield from strings_in(call)


def _text(value: Any) -> str:
    return value if type(value) is str else ""
