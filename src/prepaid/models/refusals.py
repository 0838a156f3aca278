"""What clients are told of a request that an upstream refuses: in our words, with facts that are safe.

A provider's words name files, hosts, accounts and projects in more ways than any pattern finds. So none of
them pass: what is known to be wrong with requests has a sentence of ours, and into it go numbers, parameters
that the request has or that OpenAI's API knows, and values and types out of lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from prepaid.models.codecs.fields import FIELDS

__all__ = ["KNOWN_CODES", "Explained", "explained"]

_LOOKED_AT: Final = 2_000
"""So much of a provider's words is looked through."""
_PLACE_LENGTH_MAX: Final = 120
_INDEX_DIGITS_MAX: Final = 4
_VALUES_MAX: Final = 12

_CONTEXT: Final = "context_length_exceeded"
_CONTENT: Final = "its content is against the upstream's policy"
_IMAGE: Final = "an image in it cannot be used"
_LARGE: Final = "a value is too large"
_LITTLE: Final = "a value is too small"
_LONG: Final = "a text is too long"
_MANY: Final = "a list is too long"
_EMPTY: Final = "something in it is empty that must not be"
_SCHEMA: Final = "a schema in it is invalid, or has what the model does not take"
_JSON: Final = "it is not JSON that the upstream can read"

_SAYS: Final[Mapping[str, str]] = {
    _CONTEXT: "it is too long for the model",
    "string_above_max_length": _LONG,
    "string_below_min_length": _EMPTY,
    "empty_string": _EMPTY,
    "array_above_max_length": _MANY,
    "array_below_min_length": _EMPTY,
    "empty_array": _EMPTY,
    "object_above_max_properties": "an object has too many properties",
    "object_below_min_properties": _EMPTY,
    "integer_above_max_value": _LARGE,
    "integer_below_min_value": _LITTLE,
    "decimal_above_max_value": _LARGE,
    "decimal_below_min_value": _LITTLE,
    "invalid_value": "a value is not one that the model takes",
    "unsupported_value": "a value is not one that the model takes",
    "invalid_type": "a value is of the wrong type",
    "unknown_parameter": "it has a parameter that the upstream does not know",
    "unsupported_parameter": "it has a parameter that the model does not take",
    "missing_required_parameter": "it lacks a parameter that is required",
    "invalid_function_parameters": _SCHEMA,
    "invalid_json_schema": _SCHEMA,
    "invalid_json": _JSON,
    "json_invalid": _JSON,
    "invalid_image": _IMAGE,
    "invalid_image_format": _IMAGE,
    "invalid_image_url": _IMAGE,
    "invalid_base64_image": _IMAGE,
    "image_parse_error": _IMAGE,
    "image_too_large": "an image in it is too large",
    "image_too_small": "an image in it is too small",
    "image_file_too_large": "an image in it is too large",
    "empty_image_file": "an image in it is empty",
    "unsupported_image_media_type": "an image in it is of a format that the model does not take",
    "failed_to_download_image": "an image that it links cannot be fetched",
    "image_file_not_found": "an image that it links cannot be found",
    "image_content_policy_violation": _CONTENT,
    "content_filter": _CONTENT,
    "content_policy_violation": _CONTENT,
    "invalid_prompt": _CONTENT,
}
"""What OpenAI documents as wrong with a request, by its code. No code says anything of an account."""

KNOWN_CODES: Final = frozenset(_SAYS)

_TYPES: Final = frozenset({"invalid_request_error", "image_generation_user_error", "BadRequestError"})
"""What clients may be told as the error's type."""

_N: Final = r"-?(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,12})(?!\d)(?:\.\d{1,6})?"


class _Seen(NamedTuple):
    """What a message without a code is about, and which code it would have."""

    pattern: re.Pattern[str]
    code: str | None
    says: str = ""


def _seen(pattern: str, code: str | None, says: str = "") -> _Seen:
    return _Seen(re.compile(pattern, re.IGNORECASE | re.DOTALL), code, says or _SAYS.get(code or "", ""))


_FEATURES: Final = {
    "tool": "tools",
    "function call": "tools",
    "image": "images",
    "vision": "images",
    "multimodal": "images",
    "audio": "audio",
    "json": "JSON as its response_format",
    "structured output": "JSON as its response_format",
    "response_format": "JSON as its response_format",
    "system": "system messages",
    "developer": "developer messages",
    "stream": "streams",
    "logprobs": "logprobs",
    "reasoning": "reasoning",
    "thinking": "reasoning",
    "embedding": "embeddings",
    "chat": "chat completions",
}
_FEATURE: Final = re.compile(
    r"\b(?:does not|doesn't|do not|not|no) support(?:ed|s)?(?: for| the| any| an?)?"
    rf"[\s'\"`:]+(?P<feature>{'|'.join(_FEATURES)})",
    re.IGNORECASE,
)
_MESSAGES: Final[tuple[_Seen, ...]] = (
    _seen(
        r"context (?:length|window|size|limit)|(?:prompt|input|sequence|request) (?:is )?too long\b"
        r"|maximum prompt length|token count.{0,40}exceeds|too large for model with|reduce the length",
        _CONTEXT,
    ),
    _seen(
        rf"max(?:imum)?_\w*tokens\b.{{0,20}}(?:too (?:large|high|big)|: {_N} >)"
        rf"|supports at most {_N} \w+ tokens",
        "invalid_value",
        "the output may not be so long",
    ),
    _seen(
        r"tool_calls?\W.{0,80}must be (?:followed|a response)|must be a response to a prece+ding message"
        r"|roles? must alternate|tool_use.{0,80}tool_result|no tool (?:output|call) found",
        None,
        "its messages are not in an order that the model takes: each tool call needs its result after it, and"
        " roles may have to alternate",
    ),
    _seen(
        r"must contain the word .{0,3}json",
        None,
        "with JSON as its response_format the messages have to say JSON",
    ),
    _seen(
        r"invalid (?:json )?schema|schema.{0,60}(?:invalid|not supported|not permitted)",
        "invalid_json_schema",
    ),
    _seen(
        r"(?:could not|couldn't|unable to|failed to|cannot|can't) (?:parse|decode|read).{0,40}json"
        r"|invalid json|not valid json|json parse error",
        "invalid_json",
    ),
    _seen(
        r"(?:invalid|unsupported|corrupt|could not|cannot|unable to|failed to|too large).{0,40}\bimage"
        r"|\bimages?\b.{0,60}(?:invalid|unsupported|not supported|corrupt|too large|exceed)",
        "invalid_image",
    ),
    _seen(r"content (?:management )?(?:policy|filter)|safety system|flagged|moderation", "content_filter"),
    _seen(r"unsupported parameter|not supported with this model", "unsupported_parameter"),
    _seen(
        r"unknown parameter|unrecognized request argument|extra inputs are not permitted|unknown field"
        r"|additional properties are not",
        "unknown_parameter",
    ),
    _seen(
        r"field required|missing required|required (?:property|parameter|field)", "missing_required_parameter"
    ),
    _seen(r"non-?empty|(?:must not|cannot|can't) be empty|at least one message", "empty_string"),
    _seen(r"string (?:too long|should have at most)|maximum length", "string_above_max_length"),
    _seen(
        r"less than or equal to|above maximum|<= ?\d|greater than or equal to|below minimum|>= ?\d"
        r"|must be between",
        "invalid_value",
    ),
    _seen(
        r"invalid type|should be a valid (?:string|integer|number|boolean|list|dictionary|object|array)",
        "invalid_type",
    ),
    _seen(r"unsupported value", "unsupported_value"),
    _seen(r"invalid value|must be one of|supported values", "invalid_value"),
)
"""How providers say it that have no codes; the first that is found counts."""

_OF_CONTEXT: Final = (
    rf"maximum (?:context|prompt|input|sequence) length (?:is|of) (?P<limit>{_N})"
    rf"(?:.{{0,80}}?(?:requested|resulted in|contains|has)(?: about| approximately)? (?P<count>{_N}) )?"
)
_TOKENS: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"too large: (?P<count>{_N}).{{0,60}}length is (?P<limit>{_N})",
        rf"(?:prompt is too long|tokens): (?P<count>{_N})(?: tokens)? > (?P<limit>{_N})",
        rf"context limit: (?P<count>{_N} \+ {_N}) > (?P<limit>{_N})",
        rf"token count \(?(?P<count>{_N})\)? exceeds .{{0,60}}? \(?(?P<limit>{_N})",
        rf"contains (?P<count>{_N}) tokens.{{0,60}}model with (?P<limit>{_N}) maximum",
        rf"at most (?P<limit>{_N}) \w+ tokens.{{0,60}}?(?:provided|requested) (?P<count>{_N})",
        _OF_CONTEXT,
        rf"(?P<count>{_N}) tokens.{{0,60}}context (?:size|length|window).{{0,10}}?\(?(?P<limit>{_N})",
    )
)
_PARTS: Final = re.compile(
    rf"\((?P<prompt>{_N}) in (?:the messages|your prompt)[;,] (?P<answer>{_N}) (?:in|for) the completion\)"
)
_BOUNDS: Final = (
    (
        "at most {} is taken",
        re.compile(rf"(?:<=|less than or equal to|at most|maximum (?:length|of)) ?({_N})"),
    ),
    (
        "at least {} is taken",
        re.compile(rf"(?:>=|greater than or equal to|at least|minimum (?:length|of)) ?({_N})"),
    ),
    ("this has {}", re.compile(rf"but got (?:an? \w+ (?:with|of) length )?({_N}) instead")),
)
_EXPECTED: Final = re.compile(r"(?:expected|should be)(?: one of)? (.{1,80}?)(?:, but got (.{1,30})|[.;]|$)")
_KINDS: Final = frozenset(
    {"string", "integer", "number", "boolean", "array", "object", "null", "list", "dictionary", "decimal"}
)
_LISTED: Final = re.compile(
    r"(?:supported values? (?:is|are)|must be one of|should be)[:\s]+(.{1,300})", re.IGNORECASE
)
_VALUES: Final = frozenset(
    re.findall(
        r"\S+",
        """
        none minimal low medium high xhigh auto required default flex concise detailed text json_object
        json_schema user assistant system developer tool function input_text input_image output_text
        image_url input_file file float base64 original png jpeg jpg gif webp image/png image/jpeg
        image/gif image/webp true false
        """,
    )
)
"""Values that OpenAI's API knows. Others may be names that an operator gave."""
_INSTEAD: Final = re.compile(r"use ['\"`](\w+)['\"`] instead", re.IGNORECASE)
_QUOTED: Final = re.compile(r"['\"`]([A-Za-z_][\w.\[\]]{0,119})['\"`]")
_AT_FRONT: Final = re.compile(r"([a-z_][\w.\[\]]*): ")
_STEP: Final = re.compile(r"[^.\[\]]+")
_FIELDS: Final = frozenset[str]().union(*FIELDS.values())
_INNER: Final = frozenset(
    re.findall(
        r"\S+",
        """
        arguments content description detail effort enum file function id image_url input_image input_text
        items json_schema name output parameters properties refusal required role schema strict summary
        text tool_call_id tool_calls type url verbosity format
        """,
    )
)
"""Names within fields, that a request may lack."""


class Explained(NamedTuple):
    """What is wrong with a request in our words, if we know; and OpenAI's fields for it."""

    says: str
    told: dict[str, str]


def explained(error: Mapping[str, Any], words: str, asked: Any) -> Explained:
    """What a client may know of a provider's ``error`` and ``words``; ``asked`` is the request, parsed."""
    words = words[:_LOOKED_AT]
    named = {name: text for name in ("code", "type") if isinstance(text := error.get(name), str)}
    place = _place_of(error.get("param"), words, asked)
    code, says = _kind(named, words)
    told = {"type": named["type"]} if named.get("type") in _TYPES else {}
    told |= ({"param": place} if place else {}) | ({"code": code} if code else {})
    if not says:
        return Explained(f"it names {place}" if place else "", told)
    facts = _facts(error, words, code)
    return Explained(f"{f'{place}: ' if place else ''}{says}{''.join(f'; {fact}' for fact in facts)}", told)


def _kind(named: Mapping[str, str], words: str) -> tuple[str | None, str]:
    """The code of what is wrong, and our words for it."""
    for code in named.values():
        if code in _SAYS:
            return code, _SAYS[code]
    if named.get("type") == "exceed_context_size_error":  # llama.cpp
        return _CONTEXT, _SAYS[_CONTEXT]
    if feature := _FEATURE.search(words):
        return None, f"the model does not support {_FEATURES[feature['feature'].lower()]}"
    found = next((each for each in _MESSAGES if each.pattern.search(words)), None)
    return (found.code, found.says) if found else (None, "")


def _facts(error: Mapping[str, Any], words: str, code: str | None) -> list[str]:
    tokens = _tokens(error, words)
    if tokens or code == _CONTEXT:
        return tokens
    facts = [told.format(found[1]) for told, pattern in _BOUNDS if (found := pattern.search(words))]
    if listed := _LISTED.search(words):
        values = [value for value in re.findall(r"[\w./-]+", listed[1]) if value in _VALUES]
        facts += [f"it takes {', '.join(values[:_VALUES_MAX])}"] if values else []
    if code == "invalid_type" and (expected := _EXPECTED.search(words)):
        kinds, got = (
            [kind for kind in _KINDS if kind in (part or "").split()[:8]] for part in expected.groups()
        )
        facts += [f"it takes {' or '.join(sorted(kinds))}"] if kinds else []
        facts += [f"this is {got[0]}"] if got else []
    if (instead := _INSTEAD.search(words)) and instead[1] in _FIELDS:
        facts.append(f"use {instead[1]}")
    return facts


def _tokens(error: Mapping[str, Any], words: str) -> list[str]:
    limit, count = error.get("n_ctx"), error.get("n_prompt_tokens")  # llama.cpp
    if type(limit) is int and type(count) is int:
        return [f"it takes {limit} tokens", f"this has {count}"]
    found = next((found for each in _TOKENS if (found := each.search(words))), None)
    if found is None:
        return []
    facts = [f"it takes {found['limit']} tokens"]
    if found["count"]:
        parts = _PARTS.search(words)
        inside = (
            f" ({parts['prompt']} in the messages, {parts['answer']} for the completion)" if parts else ""
        )
        facts.append(f"this has {found['count']}{inside}")
    return facts


def _place_of(param: Any, words: str, asked: Any) -> str:
    """Where it is wrong: the parameter that is named, in words if nowhere else."""
    given = [param] if isinstance(param, str) else []
    if front := _AT_FRONT.match(words):
        given.append(front[1])
    given += _QUOTED.findall(words)
    return next((place for each in given if (place := _place(each, asked))), "")


def _place(path: str, asked: Any) -> str:
    """``path`` if each of its steps is in the request, or is known to OpenAI's API; else nothing."""
    steps: list[str] = _STEP.findall(path)
    known = _FIELDS.union(asked) if isinstance(asked, dict) else _FIELDS
    if len(path) > _PLACE_LENGTH_MAX or not steps or steps[0] not in known:
        return ""
    here: Any = asked
    told = steps[0]
    for at, step in enumerate(steps):
        is_index = step.isascii() and step.isdecimal() and len(step) <= _INDEX_DIGITS_MAX
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and is_index:
            here = here[int(step)] if int(step) < len(here) else None
        elif at == 0 or is_index or step in _INNER:
            here = None
        else:
            return ""
        if at:
            told += f"[{step}]" if is_index else f".{step}"
    return told
