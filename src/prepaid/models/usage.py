"""What a request used: as its provider tells it where that can be true, else by our own count.

Providers leave counts out, send ``null``, zero, text or floats, call one thing by several names, or tell what
cannot be. An answer that was delivered is neither free for that nor an error: each part that cannot be
believed is replaced by our own count of that part. Source: spec P5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from prepaid.records import Usage

__all__ = [
    "CHAT_USAGE",
    "RESPONSES_USAGE",
    "USAGE_TOKENS_MAX",
    "ReadUsage",
    "UsageFields",
    "least_output_tokens",
    "read_usage",
    "reasoning_tokens",
    "told_cost_micros",
]

USAGE_TOKENS_MAX: Final = 100_000_000
"""No context window comes near; more tokens than this in one answer are a lie."""

SEARCHES_MAX: Final = 10_000
"""More searches than this for one answer are a lie."""

TOKEN_BYTES_MAX: Final = 128
"""No token of a known vocabulary is longer in UTF-8; the longest of OpenAI's are 128 spaces."""


HIDDEN_TIMES: Final = 2
HIDDEN_MORE: Final = 50
"""A sum of more tokens than these make of our own counts has output in it that was not shown."""

COST_MICROS_MAX: Final = 10**12
"""A million dollars; no answer costs as much."""

_NUMBER_LENGTH_MAX: Final = 40
_TICKS_PER_MICRO: Final = 10_000
"""xAI tells its cost in ticks, of which a dollar has 10,000,000,000."""

_MICROS: Final = 1_000_000
_Path = tuple[str, ...]


class UsageFields(NamedTuple):
    """What one of OpenAI's APIs calls the counts."""

    input: str
    output: str | None
    """``None`` where an API has no output that is counted."""
    details: str


CHAT_USAGE: Final = UsageFields("prompt_tokens", "completion_tokens", "prompt_tokens_details")
RESPONSES_USAGE: Final = UsageFields("input_tokens", "output_tokens", "input_tokens_details")

_INPUTS: Final = ("prompt_tokens", "input_tokens")
_OUTPUTS: Final = ("completion_tokens", "output_tokens")
"""An API's own name comes first; the other's is read where that is missing."""

_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "prompt_token_details")

_CACHED: Final[tuple[_Path, ...]] = (
    ("cached_tokens",),  # Moonshot
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("cache_read_input_tokens",),  # Anthropic, and those who pass its usage on
)
_CACHED_IN_DETAILS: Final = ("cached_tokens", "cache_read_input_tokens", "cache_read_tokens")

_WRITTEN: Final[tuple[_Path, ...]] = (("cache_creation_input_tokens",), ("cache_write_tokens",))
_WRITTEN_IN_DETAILS: Final = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")

_BY_DURATION: Final = ("cache_creation", "cache_creation_token_details")
"""Anthropic's object, and LiteLLM's in the details."""
_FOR_MINUTES, _FOR_AN_HOUR = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"

_OUTPUT_DETAILS: Final = frozenset({"completion_tokens_details", "output_tokens_details"})
_PLAIN_DETAILS: Final = {"cached_tokens", "audio_tokens", "text_tokens", "image_tokens"}
"""What OpenAI tells; whatever else is there is looked at closely."""

_SEARCHES: Final[tuple[_Path, ...]] = (
    ("server_tool_use", "web_search_requests"),  # Anthropic, LiteLLM
    ("server_tool_use_details", "web_search_requests"),  # OpenRouter
    ("server_side_tool_usage_details", "web_search_calls"),  # xAI
    ("tool_calls_details", "search_web", "invocation"),  # Perplexity's responses
    ("num_search_queries",),  # Perplexity's chats
    ("web_search_requests",),
    ("prompt_tokens_details", "web_search_requests"),  # LiteLLM for Gemini
)


@dataclass(frozen=True, slots=True)
class ReadUsage:
    """A usage that is charged."""

    usage: Usage
    repaired: str = ""
    """What was odd, in words for a log line; empty where all that was told was believed."""
    is_told: bool = True
    """Whether a count of input or output is the provider's; if not, both are ours."""


def read_usage(
    told: Any,
    names: UsageFields,
    counted: Usage,
    *,
    floor_output_tokens: int = 0,
    output_tokens_max: int | None = None,
) -> ReadUsage:
    """The usage of one answer; it reads any JSON value, and never raises.

    What is told and plausible is taken, part by part. A part is ``counted``, our own count, where it is
    missing or no number from 0 to ``USAGE_TOKENS_MAX``, and where 0 is told though we counted some. Numbers
    may come as text or as floats. A part that is missing, but follows from the total and the other one, is
    their difference. What a provider leaves out of the output, but not of the total, is output; a total that
    is less than its parts is ignored. Cached tokens are part of the input, and cut to it.

    ``floor_output_tokens`` is what was delivered at the very least (``least_output_tokens``, never an
    estimate): less output than that cannot be. ``output_tokens_max`` is what the request allowed, for all
    choices together: more than that is not read out of a total. Where the provider tells it itself, it is
    believed: who pays for it is the caller's to say.
    """
    plain = _plain(told, names, counted, floor_output_tokens)
    if plain is not None:
        return ReadUsage(plain)
    if type(told) is not dict:
        what = "no usage was told" if told is None else f"usage is {_shown(told)}"
        return ReadUsage(counted, what, is_told=False)
    reader = _Reader(told, names, counted, floor_output_tokens, output_tokens_max)
    usage = reader.usage()
    return ReadUsage(usage, "; ".join(reader.odd), reader.is_told)


def _plain(told: Any, names: UsageFields, counted: Usage, floor: int) -> Usage | None:
    """The usage where nothing is odd or unusual about it, which is nearly always; ``None``: look closer."""
    if type(told) is not dict or names.output is None:
        return None
    if not told.keys() <= {names.input, names.output, "total_tokens", names.details, *_OUTPUT_DETAILS}:
        return None
    into, out = told.get(names.input), told.get(names.output)
    cached = _plain_cached(told.get(names.details))
    if type(into) is not int or type(out) is not int or type(cached) is not int:
        return None
    is_plausible = max(cached, 1) <= into <= USAGE_TOKENS_MAX and max(floor, 1) <= out <= USAGE_TOKENS_MAX
    if not is_plausible or cached < 0 or told.get("total_tokens", into + out) != into + out:
        return None
    return Usage(into, out, cached, 0, counted.input_bytes, counted.output_bytes, searches=counted.searches)


def _plain_cached(details: Any) -> Any:
    """The cached tokens in OpenAI's details; ``None`` where these hold more than OpenAI's."""
    if details is None:
        return 0
    if type(details) is not dict or not details.keys() <= _PLAIN_DETAILS:
        return None
    return details.get("cached_tokens", 0)


def least_output_tokens(output_bytes: int) -> int:
    """The least tokens that ``output_bytes`` of text can be."""
    return -(-output_bytes // TOKEN_BYTES_MAX)


def reasoning_tokens(told: Any) -> int:
    """The reasoning in the output, where the provider tells of it; 0 elsewhere. It never raises."""
    for details in _OUTPUT_DETAILS:
        count = _number(_at(told, (details, "reasoning_tokens")), USAGE_TOKENS_MAX)
        if count:
            return int(count)
    return 0


def told_cost_micros(told: Any) -> int | None:
    """The provider's own cost in millionths of a dollar, rounded up; ``None`` where it tells none.

    OpenRouter's ``cost``, with what a key of one's own is billed elsewhere, DeepInfra's ``estimated_cost``,
    Perplexity's ``cost.total_cost``, xAI's ticks. It never raises.
    """
    if type(told) is not dict:
        return None
    ticks = _number(told.get("cost_in_usd_ticks"), COST_MICROS_MAX * _TICKS_PER_MICRO)
    if ticks is not None:
        return math.ceil(ticks / _TICKS_PER_MICRO)
    for path in (("cost", "total_cost"), ("cost",), ("estimated_cost",)):
        dollars = _number(_at(told, path), COST_MICROS_MAX // _MICROS)
        if dollars is not None:
            if told.get("is_byok") is True:
                elsewhere = _at(told, ("cost_details", "upstream_inference_cost"))
                dollars += _number(elsewhere, COST_MICROS_MAX // _MICROS) or 0
            return math.ceil(dollars * _MICROS)
    return None


class _Reader:
    """Reads one usage, and notes what is odd."""

    def __init__(
        self, told: dict[str, Any], names: UsageFields, counted: Usage, floor: int, output_max: int | None
    ) -> None:
        self.odd: list[str] = []
        self.is_told = False
        self._told = told
        self._names = names
        self._counted = counted
        self._floor = floor
        self._output_max = USAGE_TOKENS_MAX if output_max is None else output_max

    def usage(self) -> Usage:
        """All parts together."""
        cached = self._first_of(_in_details(self._names, _CACHED_IN_DETAILS, _CACHED)) or 0
        minutes, hour = self._written_by_duration()
        written = self._first_of(_in_details(self._names, _WRITTEN_IN_DETAILS, _WRITTEN)) or minutes + hour
        searches = self._first_of(_SEARCHES, SEARCHES_MAX) or self._counted.searches
        input_tokens, output_tokens = self._sides(cached + written)
        if cached + written > input_tokens and self._is_beside():
            input_tokens += cached + written
        if cached + written > input_tokens:
            self.odd.append(f"{cached} cached and {written} written of {input_tokens} input tokens")
        cached = min(cached, input_tokens)
        written = min(written, input_tokens - cached)
        return replace(
            self._counted,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=min(hour, written),
            searches=searches,
        )

    def _is_beside(self) -> bool:
        """Whether cached tokens are told as Anthropic does, which counts them beside the input."""
        return any(name in self._told for name in ("cache_read_input_tokens", "cache_creation_input_tokens"))

    def _sides(self, beside: int) -> tuple[int, int]:
        """Input and output. ``beside`` are the cached tokens, which Anthropic counts beside the input."""
        total = self._count("total_tokens", is_needed=False)
        told_input = self._input()
        if self._names.output is None:
            return self._whole_input(told_input, total), 0
        told_output = self._output()
        if told_input is None and told_output is None:
            return self._from_total(total)
        self.is_told = True
        if told_output is None:
            assert told_input is not None
            return told_input, self._missing_output(total, told_input)
        if told_input is None:
            return self._missing_input(total, told_output), told_output
        return self._with_the_rest(total or 0, told_input, told_output, beside)

    def _whole_input(self, told: int | None, total: int | None) -> int:
        """The input of an API that has nothing else."""
        found = told or total
        self.is_told = bool(found)
        return found or self._counted.input_tokens

    def _from_total(self, total: int | None) -> tuple[int, int]:
        """Both sides where only their sum is known.

        Our own count of the smaller side is off by less; the other one is the rest. A sum far above both our
        counts has output in it that nobody saw.
        """
        into, out = self._counted.input_tokens, self._counted.output_tokens
        if not total or total <= min(into, out):
            return into, out
        self.is_told = True
        hides_output = total > (into + out) * HIDDEN_TIMES + HIDDEN_MORE
        if out and into < total and (into <= out or hides_output):
            return into, total - into
        return total - min(out, total), min(out, total)

    def _missing_output(self, total: int | None, told_input: int) -> int:
        """What the total leaves for it, if that can be; else our own count."""
        rest = (total or 0) - told_input
        return rest if 0 < rest <= self._output_max and self._is_output(rest) else self._counted.output_tokens

    def _missing_input(self, total: int | None, told_output: int) -> int:
        rest = (total or 0) - told_output
        return rest if rest > 0 else self._counted.input_tokens

    def _with_the_rest(self, total: int, told_input: int, told_output: int, beside: int) -> tuple[int, int]:
        """Both sides as told, with what only the total counts."""
        rest = total - told_input - told_output
        if rest > 0 and rest == beside:
            return told_input + beside, told_output
        if rest > 0 and told_output + rest <= self._output_max:
            return told_input, told_output + rest
        if rest and total:
            self.odd.append(f"total_tokens is {total} with {told_input} in and {told_output} out")
        return told_input, told_output

    def _input(self) -> int | None:
        name = self._name_of(self._names.input, _INPUTS)
        count = self._count(name)
        if count == 0 and self._counted.input_tokens:
            self.odd.append(f"{name} is 0 with about {self._counted.input_tokens} sent")
            return None
        return count

    def _output(self) -> int | None:
        assert self._names.output is not None
        name = self._name_of(self._names.output, _OUTPUTS)
        count = self._count(name)
        if count is None or self._is_output(count):
            return count
        about = self._counted.output_tokens
        self.odd.append(f"{name} is {count} with about {about} delivered")
        return None

    def _is_output(self, count: int) -> bool:
        """Whether so little output can be."""
        return count >= self._floor and not (count == 0 and self._counted.output_tokens)

    def _name_of(self, name: str, others: tuple[str, ...]) -> str:
        """The name under which it is told: the API's own, where several are."""
        return next((each for each in (name, *others) if self._told.get(each) is not None), name)

    def _count(self, name: str, *, is_needed: bool = True) -> int | None:
        value = self._told.get(name)
        if value is None and not is_needed:
            return None
        count = _number(value, USAGE_TOKENS_MAX)
        if count is None:
            self.odd.append(f"{name} is {_shown(value)}")
        return None if count is None else int(count)

    def _first_of(self, paths: tuple[_Path, ...], limit: int = USAGE_TOKENS_MAX) -> int:
        """The first that is above 0, else 0."""
        for path in paths:
            value = _at(self._told, path)
            if value is None:
                continue
            count = _number(value, limit)
            if count is None:
                self.odd.append(f"{'.'.join(path)} is {_shown(value)}")
            elif int(count):
                return int(count)
        return 0

    def _written_by_duration(self) -> tuple[int, int]:
        places: list[_Path] = [(name,) for name in _BY_DURATION]
        places += [(details, name) for details in _details_of(self._names) for name in _BY_DURATION]
        minutes = self._first_of(tuple((*place, _FOR_MINUTES) for place in places))
        return minutes, self._first_of(tuple((*place, _FOR_AN_HOUR) for place in places))


def _details_of(names: UsageFields) -> Iterator[str]:
    yield names.details
    yield from (name for name in _DETAILS if name != names.details)


def _in_details(names: UsageFields, fields: tuple[str, ...], others: tuple[_Path, ...]) -> tuple[_Path, ...]:
    inside = tuple((details, field) for details in _details_of(names) for field in fields)
    return inside + others


def _at(told: Any, path: _Path) -> Any:
    """What stands there; ``None`` where nothing does."""
    for name in path:
        if type(told) is not dict:
            return None
        told = told.get(name)
    return told


def _number(value: Any, limit: int) -> Decimal | None:
    """A number from 0 to ``limit``, of whatever type; ``None`` where it is none."""
    if type(value) is int:
        return Decimal(value) if 0 <= value <= limit else None
    if type(value) is not float and (type(value) is not str or len(value) > _NUMBER_LENGTH_MAX):
        return None
    try:
        number = Decimal(str(value))  # a float as it was written, and not as it is stored
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 <= number <= limit else None


def _shown(value: Any) -> str:
    """A value in few words, whatever it is."""
    if value is None or type(value) is bool:
        return {None: "missing", True: "true", False: "false"}[value]
    if type(value) is int and value.bit_length() > _NUMBER_LENGTH_MAX:
        return "a number beyond all limits"
    if type(value) is str:
        return repr(value[:_NUMBER_LENGTH_MAX])
    return str(value) if type(value) in (int, float) else f"a {type(value).__name__}"
