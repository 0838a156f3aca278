"""What an upstream says a request used, as far as it can be true."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from prepaid.errors import ProviderUsageInvalid
from prepaid.records import Usage

__all__ = ["CHAT_USAGE", "RESPONSES_USAGE", "USAGE_TOKENS_MAX", "UsageFields", "told_usage"]

USAGE_TOKENS_MAX: Final = 100_000_000
"""No context window comes near; more tokens than this in one answer are a lie."""


class UsageFields(NamedTuple):
    """What one of OpenAI's APIs calls the counts."""

    input: str
    output: str | None
    """``None`` where an API has no output that is counted."""
    details: str


CHAT_USAGE: Final = UsageFields("prompt_tokens", "completion_tokens", "prompt_tokens_details")
RESPONSES_USAGE: Final = UsageFields("input_tokens", "output_tokens", "input_tokens_details")


def told_usage(upstream: str, told: Any, names: UsageFields) -> Usage:
    """The usage of one answer. What a provider leaves out of the output, but not of the total, is output.

    Raises:
        ProviderUsageInvalid: counts that cannot be.
    """
    if not isinstance(told, dict):
        raise _lie(upstream, f"it is a {type(told).__name__}")
    input_tokens = _count(upstream, told, names.input)
    output_tokens = _count(upstream, told, names.output) if names.output else 0
    total_tokens = _count(upstream, told, "total_tokens", optional=True)
    details = told.get(names.details) or {}
    if not isinstance(details, dict):
        raise _lie(upstream, f"{names.details} is a {type(details).__name__}")
    cached = _count(upstream, details, "cached_tokens", optional=True)
    written = _count(upstream, details, "cache_write_tokens", optional=True)
    if cached + written > input_tokens:
        raise _lie(upstream, f"{cached + written} of {input_tokens} input tokens are cached")
    if names.output:
        output_tokens = max(output_tokens, total_tokens - input_tokens)
    return Usage(input_tokens, output_tokens, cached, written)


def _count(upstream: str, told: dict[str, Any], name: str, *, optional: bool = False) -> int:
    count = told.get(name)
    if count is None and optional:
        return 0
    if type(count) is not int or not 0 <= count <= USAGE_TOKENS_MAX:  # a bool is no count
        raise _lie(upstream, f"{name} is {str(count)[:40]}")
    return count


def _lie(upstream: str, what: str) -> ProviderUsageInvalid:
    return ProviderUsageInvalid(
        f"Upstream {upstream!r} claims a usage that cannot be: {what};"
        f" the limit is {USAGE_TOKENS_MAX} tokens."
    )
