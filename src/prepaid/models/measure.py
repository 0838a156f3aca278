"""The size of texts: in UTF-8 bytes, as prices per byte count them (spec A10), and in likely tokens."""

from __future__ import annotations

import json
import re
from typing import Final

from prepaid.records import ChatRequest, ModelEvent, TextDelta, ToolCall, Usage

__all__ = [
    "BYTES_PER_TOKEN_LIKELY",
    "CUT_BYTES_PER_TOKEN",
    "TOKENS_FOR_TOOLS",
    "TOKENS_PER_MESSAGE",
    "event_bytes",
    "likely_tokens",
    "likely_usage",
    "request_bytes",
    "text_bytes",
]

BYTES_PER_TOKEN_LIKELY: Final = 4

CUT_BYTES_PER_TOKEN: Final = 6
"""A stream of others' models with more bytes than this per token of its limit is cut, as in ``turns``."""

TOKENS_PER_MESSAGE: Final = 8
"""Role markers and separators that a provider's chat template puts around each message, at most."""

TOKENS_FOR_TOOLS: Final = 1_024
"""The hidden prompt that some providers add when a request has tools, at most."""
_SAMPLED_CHARACTERS: Final = 262_144
_SAMPLES: Final = 16
_SAMPLE_CHARACTERS: Final = 8_192
_PIECE: Final = re.compile(
    r" ?[A-Z]?[a-z]{1,8}| ?[A-Z]{1,4}| ?[0-9]{1,3}"
    r"|([!-/:-@\[-`{-~])\1{3,63}| ?[!-/:-@\[-`{-~]{1,4}"
    r"|\s+|[\x00-\x1f\x7f]"
)
"""What the vocabularies of OpenAI's and most open models have as one token in plain English and code: a word
with the space before it, up to three digits, a few signs or a line of one sign, white space."""

_ALPHABETS: Final = re.compile("[\u0080-\u07ff]")
"""Letters of two bytes: Cyrillic, Greek, Arabic, Hebrew, accents. A token has about four."""
_SYLLABLES: Final = re.compile("[\u0800-\u1fff]")
"""Scripts of India and South-East Asia. A token has about two."""


def likely_tokens(text: str) -> int:
    """The likely tokens of ``text`` in today's vocabularies: an estimate, for where nobody tells better.

    A token for every four bytes, or one for each short word where that is less: English has five bytes a
    word, and who pays by our count must not pay above the truth (spec P3). Of a long text some pieces are
    counted, so that nobody waits for it.
    """
    if len(text) > _SAMPLED_CHARACTERS:
        step = len(text) // _SAMPLES
        sample = "".join(text[at : at + _SAMPLE_CHARACTERS] for at in range(0, step * _SAMPLES, step))
        return -(-likely_tokens(sample) * len(text) // len(sample))
    by_bytes = -(-text_bytes(text) // BYTES_PER_TOKEN_LIKELY)
    plain = text if text.isascii() else text.encode("ascii", "ignore").decode()
    by_words = sum(1 for _ in _PIECE.finditer(plain))
    if not text.isascii():
        letters, syllables = len(_ALPHABETS.findall(text)), len(_SYLLABLES.findall(text))
        rest = text_bytes(text) - len(plain) - 2 * letters - 3 * syllables
        by_words += -(-letters // 4) - (-syllables // 2) - (-rest // BYTES_PER_TOKEN_LIKELY)
    return min(by_bytes, by_words)


def likely_usage(input_bytes: int, output_bytes: int, output_tokens_max: int | None = None) -> Usage:
    """What so many bytes likely are, the output at most ``output_tokens_max``."""
    output_tokens = -(-output_bytes // BYTES_PER_TOKEN_LIKELY)
    return Usage(
        input_tokens=-(-input_bytes // BYTES_PER_TOKEN_LIKELY),
        output_tokens=output_tokens if output_tokens_max is None else min(output_tokens, output_tokens_max),
        input_bytes=input_bytes,
        output_bytes=output_bytes,
    )


def text_bytes(text: str) -> int:
    """UTF-8 bytes of ``text``; half a surrogate pair, which JSON can carry, counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def request_bytes(request: ChatRequest) -> int:
    """Bytes of the request's texts, tool calls and tool definitions; the wire format around them is free."""
    size = 0
    for message in request.messages:
        size += text_bytes(message.text)
        for call in message.tool_calls:
            size += event_bytes(call)
    for tool in request.tools:
        schema = json.dumps(dict(tool.parameters), ensure_ascii=False, separators=(",", ":"))
        size += text_bytes(tool.name) + text_bytes(tool.description) + text_bytes(schema)
    return size


def event_bytes(event: ModelEvent) -> int:
    """Bytes of one piece of an answer: its text, or a tool call's name and arguments."""
    match event:
        case TextDelta(text):
            return text_bytes(text)
        case ToolCall(_, name, arguments):
            return text_bytes(name) + text_bytes(arguments)
        case _:
            return 0
