"""Every field of OpenAI's APIs, and what it means for the bill.

A test compares these tables with the parameter types of the ``openai`` package. A field that is in none of
them, or differs from one only in case, is refused by name, unless the upstream's dialect has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal
from unicodedata import normalize

from prepaid.models.codecs.messages import CHAT_MESSAGES, RESPONSES_INPUT
from prepaid.models.codecs.shapes import (
    FREE,
    Check,
    Mistake,
    Uncovered,
    Unpriced,
    each,
    flag,
    one_of,
    record,
    text,
    texts,
    typed,
    unpriced,
)
from prepaid.models.codecs.tools import CHAT_TOOLS, FUNCTION_CALL, FUNCTIONS, RESPONSES_TOOLS, TOOL_CHOICE

__all__ = [
    "CHAT_FIELDS",
    "EMBEDDINGS_FIELDS",
    "FIELDS",
    "RESPONSES_FIELDS",
    "ApiName",
    "Field",
    "Fields",
    "Found",
    "Kind",
    "folded",
    "look_through",
]


class Kind(StrEnum):
    """What a field means for the bill."""

    FREE = "free"
    """Passed on as it is."""
    COUNTED = "counted"
    """Read by the meter: it is part of the prompt, or says how much may be generated."""
    PRICED = "priced"
    """Some of its values are covered by the price; others are refused."""
    REFUSED = "refused"
    """Whatever its value, the provider could bill what no price covers, or add what cannot be seen here."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its kind, and what its value has to be, if that matters."""

    kind: Kind
    check: Check | None = FREE


Fields = Mapping[str, Field]
ApiName = Literal["chat", "responses", "embeddings"]


def _free(check: Check | None = FREE) -> Field:
    return Field(Kind.FREE, check)


def _counted(check: Check | None = FREE) -> Field:
    return Field(Kind.COUNTED, check)


def _priced(check: Check) -> Field:
    return Field(Kind.PRICED, check)


_REFUSED: Final = Field(Kind.REFUSED, unpriced)


def _modalities(value: Any) -> None:
    if value not in ([], ["text"]):
        raise Unpriced(remedy='Send ["text"], or leave it out.')


def _not_later(value: Any) -> None:
    """An answer that is made later cannot be counted."""
    if value is not False:
        raise Unpriced(remedy="Send false, or leave it out.")


def _standard_mode(value: Any) -> None:
    if value != "standard":
        raise Unpriced(value=value, remedy='Send "standard", or leave it out.')


_STREAM_OPTIONS: Final = record({"include_usage": flag, "include_obfuscation": flag})
_SCHEMA: Final = {"name": FREE, "description": FREE, "schema": FREE, "strict": flag}
_RESPONSE_FORMAT: Final = typed(
    {
        "text": {"type": FREE},
        "json_object": {"type": FREE},
        "json_schema": {"type": FREE, "json_schema": record(_SCHEMA)},
    },
    "a response format",
)
_TEXT: Final = record(
    {
        "format": typed(
            {
                "text": {"type": FREE},
                "json_object": {"type": FREE},
                "json_schema": {"type": FREE, **_SCHEMA},
            },
            "a format",
        ),
        "verbosity": FREE,
    }
)
_REASONING: Final = record(
    {
        "effort": text,
        "summary": text,
        "generate_summary": text,
        "context": text,
        "mode": _standard_mode,
    }
)
_INCLUDED: Final = one_of(
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
)
_BOTH: Final[Fields] = {
    "metadata": _free(texts),
    "model": _counted(),
    "moderation": _REFUSED,
    "parallel_tool_calls": _free(),
    "prompt_cache_key": _free(),
    "prompt_cache_options": _priced(
        record(
            {
                "mode": FREE,
                "ttl": one_of("30m"),
                "prewarm": _not_later,
                "comparison_response_id": unpriced,
            }
        )
    ),
    "prompt_cache_retention": _priced(one_of("in_memory", "in-memory", "24h")),
    "safety_identifier": _free(),
    "service_tier": _priced(one_of("auto", "default", "flex")),
    "store": _free(),
    "stream": _counted(flag),
    "temperature": _free(),
    "tool_choice": _counted(TOOL_CHOICE),
    "top_logprobs": _free(),
    "top_p": _free(),
    "user": _free(),
}

CHAT_FIELDS: Final[Fields] = {
    **_BOTH,
    "audio": _REFUSED,
    "frequency_penalty": _free(),
    "function_call": _counted(FUNCTION_CALL),
    "functions": _counted(FUNCTIONS),
    "logit_bias": _free(),
    "logprobs": _free(),
    "max_completion_tokens": _counted(),
    "max_tokens": _counted(),
    "messages": _counted(CHAT_MESSAGES),
    "modalities": _priced(_modalities),
    "n": _counted(),
    "prediction": _REFUSED,
    "presence_penalty": _free(),
    "reasoning_effort": _free(),
    "response_format": _counted(_RESPONSE_FORMAT),
    "seed": _free(),
    "stop": _free(),
    "stream_options": _counted(_STREAM_OPTIONS),
    "tools": _counted(CHAT_TOOLS),
    "verbosity": _free(),
    "web_search_options": _REFUSED,
}

RESPONSES_FIELDS: Final[Fields] = {
    **_BOTH,
    "access_programs": _REFUSED,
    "background": _priced(_not_later),
    "context_management": _REFUSED,
    "conversation": _REFUSED,
    "image": _REFUSED,
    "include": _free(each(_INCLUDED)),
    "input": _counted(RESPONSES_INPUT),
    "instructions": _counted(text),
    "max_output_tokens": _counted(),
    "max_tool_calls": _free(),
    "previous_response_id": _REFUSED,
    "prompt": _REFUSED,
    "reasoning": _priced(_REASONING),
    "stream_options": _free(_STREAM_OPTIONS),
    "text": _counted(_TEXT),
    "tools": _counted(RESPONSES_TOOLS),
    "truncation": _free(),
}

EMBEDDINGS_FIELDS: Final[Fields] = {
    "dimensions": _free(),
    "encoding_format": _free(),
    "input": _counted(),
    "model": _counted(),
    "user": _free(),
}

FIELDS: Final[Mapping[ApiName, Fields]] = {
    "chat": CHAT_FIELDS,
    "responses": RESPONSES_FIELDS,
    "embeddings": EMBEDDINGS_FIELDS,
}


@dataclass(slots=True)
class Found:
    """What a request has beside the fields that may always pass."""

    others: tuple[str, ...] = ()
    """Fields that are refused, or in no table; a target's dialect or its operator may allow them."""
    unpriced: Uncovered | None = None
    """The first thing in it that no price covers."""


def look_through(fields: Fields, body: dict[str, Any]) -> Found:
    """Check every field of a request, and remove refused ones that are null, as good as absent.

    Raises:
        FieldNotSupported: an object inside has an unknown key.
        InvalidRequestError: a field has a value that it cannot have.
    """
    found = Found()
    others: list[str] = []
    nulls: list[str] = []
    for name, value in body.items():
        field = fields.get(name)
        if field is None or field.kind is Kind.REFUSED:
            (others if field is None or value is not None else nulls).append(name)
            continue
        if value is None or field.check is None:
            continue
        try:
            field.check(value)
        except Unpriced as mistake:
            mistake.inside(name)
            found.unpriced = found.unpriced or mistake.uncovered()
        except Mistake as mistake:
            mistake.inside(name)
            raise mistake.told() from None
    for name in nulls:
        del body[name]
    found.others = tuple(others)
    return found


def folded(name: str) -> str:
    """The name as a reader that ignores case sees it; the Kelvin sign is a k for some, the long s an s."""
    return normalize("NFKC", name).casefold()
