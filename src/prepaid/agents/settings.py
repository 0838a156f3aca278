"""Which settings of pydantic-ai's models may reach a provider: by the same lists as the fields of a body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, get_type_hints

from pydantic_ai.settings import ModelSettings

from prepaid.errors import FieldNotSupported

__all__ = ["openai_fields"]

_RENAMED: Final = {
    "conversation_id": "conversation",
    "native_tools": "tools",
    "text_verbosity": "verbosity",
}
"""What pydantic-ai calls by another name than OpenAI."""


def _named(prefix: str, names: Iterable[str]) -> set[str]:
    return {f"{prefix}_{name}" for name in names}


_FREE: Final = frozenset(
    set(get_type_hints(ModelSettings))
    | _named(
        "openai",
        (
            *("cache_instructions", "continuous_usage_stats", "reasoning_context", "reasoning_summary"),
            *("send_reasoning_ids", "transport", "include_raw_annotations", "include_unmapped_response_data"),
            *("include_code_execution_outputs", "include_file_search_results", "include_web_search_sources"),
        ),
    )
    | _named(
        "openrouter",
        ("reasoning", "cache_instructions", "cache_messages", "cache_tool_definitions"),
    )
    | _named(
        "anthropic",
        (
            *("thinking", "effort", "metadata", "eager_input_streaming"),
            *("cache", "cache_instructions", "cache_messages", "cache_tool_definitions"),
        ),
    )
    | _named("google", ("safety_settings", "thinking_config", "labels", "logprobs", "top_logprobs"))
    | _named(
        "bedrock", ("request_metadata", "cache_instructions", "cache_messages", "cache_tool_definitions")
    )
    | _named("groq", ("reasoning_effort", "reasoning_format"))
    | _named("cerebras", ("disable_reasoning", "clear_thinking"))
    | _named("xai", ("logprobs", "top_logprobs", "user", "reasoning_effort", "include_encrypted_content"))
    | {"mistral_prompt_cache_key"}
)
"""Settings that change nothing but tokens on a bill, or are checked elsewhere, as ``extra_body`` is."""


def openai_fields(settings: Mapping[str, Any], allowed: Iterable[str]) -> dict[str, Any]:
    """The settings that are fields of OpenAI's APIs, by their names there, to be looked up in the tables.

    Raises:
        FieldNotSupported: a setting that is neither in a list nor in ``allowed``.
    """
    known = _FREE.union(allowed)
    fields: dict[str, Any] = {}
    for name, value in settings.items():
        if name in known:
            continue
        field = name.removeprefix("openai_")
        if field == name:
            raise FieldNotSupported(name)
        if field == "reasoning_mode":
            fields["reasoning"] = {"mode": value}
        else:
            fields[_RENAMED.get(field, field)] = value
    return fields
