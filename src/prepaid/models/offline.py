"""The built-in model: answers without a network, the same to the same question, and says so.

It needs no key (spec C14), counts its tokens exactly, and can be scripted, which makes it the model
for tests and demos:

- ``count to 50`` is answered with exactly 50 tokens: the numbers from 1 to 50.
- ``draw a cat`` is answered with a small picture, as a ``data:`` URI.
- ``what did I say`` is answered with the user's message before, from the same chat.
- A request for JSON (``response_format``) is answered with JSON of its schema.
- ``use add with 2 and 3`` calls the tool ``add`` of the request; its result is then the answer. Where
  the request has ``tool_choice: "required"`` and names none, the last tool is called.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from prepaid.errors import ProviderError
from prepaid.models.arguments import fit_arguments
from prepaid.models.drawing import DRAW, drawn
from prepaid.models.measure import event_bytes, request_bytes
from prepaid.records import (
    ChatRequest,
    Finish,
    FinishReason,
    Message,
    ModelEvent,
    ModelInfo,
    Price,
    Role,
    TextDelta,
    Tool,
    ToolCall,
    Unit,
    Usage,
)

__all__ = ["OfflineModel", "Part", "Reply", "count_tokens"]

Part = str | ToolCall | ProviderError | Usage | Finish
"""A piece of a scripted reply: text, a tool call, an error to raise at that point, a usage to claim
instead of the true one, or the whole end (``Finish("stop", None)`` for a provider that tells no usage)."""

Reply = Part | Sequence[Part]
"""One scripted reply: a part, or several in order: ``("Half an ans", ProviderStreamBroken("gone"))``."""

_CONTEXT_TOKENS_MAX: Final = 1_000_000
_OUTPUT_TOKENS_MAX: Final = 100_000
_QUOTE_LENGTH_MAX: Final = 400
_TOKENS_PER_BREATH: Final = 32
_DIMENSIONS: Final = 256
_REMEMBERED_LENGTH_MAX: Final = 1_024
_TOKEN = re.compile(r"\s*(?:\w{1,16}|[^\w\s])|\s+")
_COUNT_TO = re.compile(r"\bcount to (\d{1,9})\b", re.IGNORECASE)
_WHAT_DID_I_SAY = re.compile(r"\bwhat did I (?:just )?(?:say|ask|tell)", re.IGNORECASE)


def count_tokens(text: str) -> int:
    """The offline model's tokens in ``text``: a word of up to 16 characters, or one other character.

    White space belongs to the token after it; at the end of a text it is a token of its own. A text
    that is cut between two tokens has as many tokens as its pieces together.
    """
    return _remembered(text) if len(text) <= _REMEMBERED_LENGTH_MAX else len(_TOKEN.findall(text))


@lru_cache(maxsize=4_096)
def _remembered(text: str) -> int:
    """Short texts are counted once: a chat's history comes back with every turn, and twice in each."""
    return len(_TOKEN.findall(text))


class OfflineModel:
    """A ``Model`` that answers by itself.

    ``script`` is a queue of replies, one for each request; when it is used up the model answers by
    itself again. ``delay_seconds`` passes before each token. By default one input token costs one base
    unit of ``asset`` and one output token two.
    """

    def __init__(
        self,
        asset: str = "USD",
        *,
        name: str = "offline",
        price: Price | None = None,
        delay_seconds: float = 0,
        script: Iterable[Reply] = (),
    ) -> None:
        self._info = ModelInfo(
            name=name,
            price=price or Price.flat(asset, Unit.TOKEN, 1_000_000, 2_000_000),
            context_tokens_max=_CONTEXT_TOKENS_MAX,
            output_tokens_max=_OUTPUT_TOKENS_MAX,
            apis=frozenset({"chat", "tools", "structured_output", "embeddings"}),
            provider="offline",
        )
        self.delay_seconds = delay_seconds
        self.script: deque[Reply] = deque(script)

    @property
    def info(self) -> ModelInfo:
        """Name, price and limits."""
        return self._info

    def input_tokens_max(self, request: ChatRequest) -> int:
        """Exactly the input tokens that the answer's usage will say."""
        size = 0
        for message in request.messages:
            size += count_tokens(message.text)
            for call in message.tool_calls:
                size += _call_tokens(call)
        return size + sum(_tool_tokens(tool) for tool in request.tools)

    def estimate_tokens(self, text: str) -> int:
        """Exactly ``count_tokens``."""
        return count_tokens(text)

    def embed(self, text: str, dimensions: int | None) -> list[float]:
        """A vector of length 1 in which texts are near each other that share words. Nobody trained it."""
        vector = [0.0] * (dimensions or _DIMENSIONS)
        for word in _TOKEN.findall(text.lower()):
            number = int.from_bytes(
                blake2b(word.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest()
            )
            vector[number % len(vector)] += 1.0 if number >> 63 else -1.0
        length = math.hypot(*vector)
        return [each / length for each in vector] if length else [1.0, *vector[1:]]

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ModelEvent]:
        """The scripted reply, or the model's own, token by token.

        Raises:
            ProviderError: only where the script has one.
        """
        asked = request.output_tokens_max
        limit = _OUTPUT_TOKENS_MAX if asked is None else min(asked, _OUTPUT_TOKENS_MAX)
        reply = _parts(self.script.popleft()) if self.script else _own_reply(request)
        tally = _Tally(request, self.input_tokens_max(request))
        async for event in self._spoken(reply, limit, tally):
            yield event
        yield tally.finish()

    async def _spoken(self, reply: Iterable[Part], limit: int, tally: _Tally) -> AsyncGenerator[ModelEvent]:
        for part in reply:
            match part:
                case ProviderError():
                    raise part
                case Usage():
                    tally.claimed = part
                case Finish():
                    tally.end = part
                case _:
                    for event, tokens in _events(part):
                        if tally.tokens + tokens > limit:
                            tally.reason = "length"
                            return
                        await self._breathe(tally.tokens)
                        tally.add(event, tokens)
                        yield event

    async def _breathe(self, tokens: int) -> None:
        """Waits, and lets others run now and then even where there is nothing to wait for."""
        if self.delay_seconds or tokens % _TOKENS_PER_BREATH == 0:
            await asyncio.sleep(self.delay_seconds)


class _Tally:
    """What one answer has used so far, and how it ends."""

    def __init__(self, request: ChatRequest, input_tokens: int) -> None:
        self.tokens = 0
        self.reason: FinishReason = "stop"
        self.claimed: Usage | None = None
        self.end: Finish | None = None
        self._bytes = 0
        self._input_bytes = request_bytes(request)
        self._input_tokens = input_tokens

    def add(self, event: ModelEvent, tokens: int) -> None:
        self.tokens += tokens
        self._bytes += event_bytes(event)
        if isinstance(event, ToolCall):
            self.reason = "tool_calls"

    def finish(self) -> Finish:
        if self.end is not None and self.reason != "length":
            return self.end
        used = Usage(
            input_tokens=self._input_tokens,
            output_tokens=self.tokens,
            input_bytes=self._input_bytes,
            output_bytes=self._bytes,
        )
        return Finish(self.reason, self.claimed or used)


def _parts(reply: Reply) -> Iterable[Part]:
    if isinstance(reply, str | ToolCall | ProviderError | Usage | Finish):
        return (reply,)
    return reply


def _events(part: str | ToolCall) -> Iterator[tuple[ModelEvent, int]]:
    if isinstance(part, ToolCall):
        yield part, _call_tokens(part)
        return
    for match in _TOKEN.finditer(part):
        yield TextDelta(match.group()), 1


def _call_tokens(call: ToolCall) -> int:
    return count_tokens(call.name) + count_tokens(call.arguments)


def _tool_tokens(tool: Tool) -> int:
    schema = json.dumps(dict(tool.parameters), ensure_ascii=False)
    return count_tokens(tool.name) + count_tokens(tool.description) + count_tokens(schema)


def _own_reply(request: ChatRequest) -> Iterable[Part]:
    users = [message.text for message in request.messages if message.role is Role.USER]
    question = users[-1] if users else ""
    is_answered = bool(request.messages) and request.messages[-1].role is Role.TOOL
    tool = None if is_answered else _named_tool(request.tools, question)
    if tool is None and request.tools and request.extra.get("tool_choice") == "required":
        tool = request.tools[-1]  # where an answer must be a call, callers list the one for answers last
    if tool is None and is_answered:
        return (_tool_answer(request.messages),)
    if tool is not None:
        calls = sum(len(message.tool_calls) for message in request.messages)
        return (ToolCall(f"call_{calls + 1}", tool.name, fit_arguments(tool.parameters, question)),)
    form = request.extra.get("response_format")
    if isinstance(form, Mapping) and form.get("type", "text") != "text":
        return (_structured(form, question),)
    if (count := _COUNT_TO.search(question)) is not None:
        return (str(n) if n == 1 else f" {n}" for n in range(1, int(count[1]) + 1))
    if DRAW.match(question):
        return (drawn(question),)
    return (_answer(request.messages, users),)


def _structured(form: Mapping[str, Any], question: str) -> str:
    """JSON as the request wants it, with the values that the question mentions."""
    described = form.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if not isinstance(schema, Mapping):
        schema = {"type": "object", "properties": {"offline_model_heard": {"type": "string"}}}
    return fit_arguments(schema, question)


def _named_tool(tools: tuple[Tool, ...], question: str) -> Tool | None:
    """The tool that is named first in ``question``."""
    found = [(match.start(), tool) for tool in tools if (match := _name_in(tool.name, question)) is not None]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _name_in(name: str, question: str) -> re.Match[str] | None:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", question)


def _tool_answer(messages: tuple[Message, ...]) -> str:
    """Says what the tools answered that the model asked last."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    results: list[str] = []
    for message in reversed(messages):
        if message.role is not Role.TOOL:
            break
        results.append(f"{names.get(message.tool_call_id or '', 'The tool')} says: {message.text}")
    return "Offline model: " + "; ".join(reversed(results))


def _answer(messages: tuple[Message, ...], users: list[str]) -> str:
    sentences = ["This is prepaid's built-in offline model; no provider was asked."]
    systems = [message.text for message in messages if message.role is Role.SYSTEM]
    if systems:
        sentences.append(f"I follow my instructions: {_quoted(systems[-1])}.")
    if not users:
        sentences.append("Nobody has said anything yet.")
    elif _WHAT_DID_I_SAY.search(users[-1]):
        before = (
            f"Before that you said: {_quoted(users[-2])}." if len(users) > 1 else "You said nothing before."
        )
        sentences.append(before)
    else:
        sentences.append(f"You said: {_quoted(users[-1])}.")
    return " ".join(sentences)


def _quoted(text: str) -> str:
    shown = text if len(text) <= _QUOTE_LENGTH_MAX else text[:_QUOTE_LENGTH_MAX] + "…"
    return f"“{shown}”"
