"""How a message is kept: one row, its text as it is, and JSON only where there is more than text.

``kind`` is the role, plus 8 where the body is JSON.
"""

from __future__ import annotations

import json
from typing import Final

from prepaid.records import Message, Role, ToolCall

__all__ = ["pack", "unpack"]

_ROLES: Final = (Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL)
_CODES: Final = {role: code for code, role in enumerate(_ROLES)}
_JSON: Final = 8


def pack(message: Message) -> tuple[int, str]:
    """``(kind, body)`` of a message."""
    code = _CODES[message.role]
    # PostgreSQL's text has no NUL; JSON escapes it.
    if not message.tool_calls and message.tool_call_id is None and "\0" not in message.text:
        return code, message.text
    calls = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    body = json.dumps([message.text, calls, message.tool_call_id], ensure_ascii=False, separators=(",", ":"))
    return code + _JSON, body


def unpack(kind: int, body: str) -> Message:
    """The message again."""
    role = _ROLES[kind & ~_JSON]
    if not kind & _JSON:
        return Message(role, body)
    text, calls, tool_call_id = json.loads(body)
    return Message(role, text, tuple(ToolCall(*call) for call in calls), tool_call_id)
