"""Tools that the caller runs, and how a request chooses among them.

What the provider runs (a search, a sandbox) is billed besides the tokens, so a tool has to say what it is:
some providers take one without a type for a search.
"""

from __future__ import annotations

from typing import Any, Final

from prepaid.models.codecs.shapes import (
    FREE,
    Keys,
    Misshapen,
    each,
    flag,
    one_of,
    record,
    shown,
    text_or,
    typed,
)

__all__ = ["CACHE_CONTROL", "CHAT_TOOLS", "FUNCTIONS", "FUNCTION_CALL", "RESPONSES_TOOLS", "TOOL_CHOICE"]

CACHE_CONTROL: Final = record({"type": one_of("ephemeral"), "ttl": one_of("5m", "1h")})
"""Writing to a provider's cache is priced by how long it keeps it."""

_FUNCTION: Final[Keys] = {"name": FREE, "description": FREE, "parameters": FREE, "strict": flag}
_NAMED: Final = record({"name": FREE})
_CUSTOM: Final[Keys] = {
    "name": FREE,
    "description": FREE,
    "format": typed(
        {
            "text": {"type": FREE},
            "grammar": {
                "type": FREE,
                "grammar": record({"definition": FREE, "syntax": FREE}),
                "definition": FREE,
                "syntax": FREE,
            },
        },
        "a format",
    ),
}

CHAT_TOOLS: Final = each(
    typed(
        {
            "function": {
                "type": FREE,
                "function": record({**_FUNCTION, "cache_control": CACHE_CONTROL}),
                "cache_control": CACHE_CONTROL,
            },
            "custom": {"type": FREE, "custom": record(_CUSTOM)},
        },
        "a tool",
    )
)

_CALLED: Final[Keys] = {"type": FREE, "allowed_callers": FREE, "defer_loading": flag}
"""What else may call it: the provider's programs and searches, which are refused as tools."""

RESPONSES_TOOLS: Final = each(
    typed(
        {
            "function": {**_CALLED, **_FUNCTION, "output_schema": FREE},
            "custom": {**_CALLED, **_CUSTOM},
        },
        "a tool",
    )
)

FUNCTIONS: Final = each(record({"name": FREE, "description": FREE, "parameters": FREE}))
FUNCTION_CALL: Final = text_or(_NAMED)

_CHOSEN: Final[Keys] = {"type": FREE, "name": FREE}
_ALLOWED: Final = each(
    typed(
        {"function": {**_CHOSEN, "function": _NAMED}, "custom": {**_CHOSEN, "custom": _NAMED}},
        "a tool choice",
    )
)
_CHOICES: Final = ("none", "auto", "required", "any")


def _other_choice(value: Any) -> None:
    if type(value) is str:
        raise Misshapen(
            f"is {shown(value)!r}", f"Use one of: {', '.join(_CHOICES)}; or an object that names a function."
        )
    _object_choice(value)


_object_choice: Final = typed(
    {
        "function": {**_CHOSEN, "function": _NAMED},
        "custom": {**_CHOSEN, "custom": _NAMED},
        "allowed_tools": {
            "type": FREE,
            "mode": FREE,
            "tools": _ALLOWED,
            "allowed_tools": record({"mode": FREE, "tools": _ALLOWED}),
        },
    },
    "a tool choice",
)
TOOL_CHOICE: Final = one_of(*_CHOICES, or_else=_other_choice)
"""For chat completions and for responses, whose choices are flat."""
