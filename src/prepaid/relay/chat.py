"""OpenAI's chat completions, as far as the relay looks into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import to_json

from prepaid.errors import InvalidRequestError
from prepaid.models.codecs.chat_stream import ChatStream
from prepaid.models.codecs.fields import CHAT_FIELDS, ApiName, look_through
from prepaid.models.codecs.output import output_of, texts_of
from prepaid.models.usage import CHAT_USAGE
from prepaid.records import Api, Message, Role, Usage
from prepaid.relay.reader import Reader
from prepaid.relay.wire import (
    REPLY_VALUES_MAX,
    Asked,
    Body,
    add_image,
    answered,
    count_of,
    data_lines,
    flag_of,
    listed,
    model_of,
    object_of,
    objects_of,
    schema_texts,
    texts_as_sent,
    tool_texts,
)

__all__ = ["CHAT"]

CHOICES_MAX: Final = 128
_MORE_TEXTS: Final = (
    "refusal",
    "function_call",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
)
"""What an answer may have beside its content and comes back with it, as text or as objects."""
_LIMIT_FIELDS: Final = ("max_tokens", "max_completion_tokens")
_TEXT_ONLY: Final[frozenset[Api]] = frozenset({"chat"})


class ChatApi:
    """``/chat/completions``."""

    name: ApiName = "chat"
    path = "/chat/completions"
    reply_field = "choices"
    reply_values_max = REPLY_VALUES_MAX
    usage = CHAT_USAGE

    def read(self, body: Body) -> Asked:
        """What matters in a request."""
        model = model_of(body)
        found = look_through(CHAT_FIELDS, body)
        messages = listed(body.get("messages"), "messages")
        if not messages:
            raise InvalidRequestError("messages is empty.", remedy="Send one message at least.")
        limits = [count_of(body, name) for name in _LIMIT_FIELDS]
        options = object_of(body, "stream_options")
        asked = Asked(
            model,
            is_stream=flag_of(body, "stream"),
            wants_usage=options.get("include_usage") is True,
            choices=count_of(body, "n", CHOICES_MAX) or 1,
            limit=min((limit for limit in limits if limit is not None), default=None),
            messages=len(messages),
            apis=_TEXT_ONLY,
            unpriced=found.unpriced,
            others=found.others,
        )
        for message in messages:
            if type(message.get("content")) is list:
                _count_images(asked, message["content"])
        if objects_of(body, "tools") or objects_of(body, "functions"):
            asked.has_tools = True
            asked.apis |= {"tools"}
        form = body.get("response_format")
        if isinstance(form, dict) and form.get("type", "text") != "text":
            asked.apis |= {"structured_output"}
        return asked

    def texts(self, body: Body) -> Iterator[str]:
        """The texts of a request."""
        for message in body["messages"]:
            yield from texts_of(message.get("content"))
            yield from _sent_back(message.get("tool_calls"))
            for name in _MORE_TEXTS:
                if message.get(name):
                    yield from texts_as_sent(message[name])
        for tool in body.get("tools") or ():
            kind = tool.get("type")
            yield from tool_texts(tool.get(kind) if type(kind) is str else None)
        for function in body.get("functions") or ():
            yield from tool_texts(function)
        yield from schema_texts(body.get("response_format"))

    def sent(self, body: Body, model: str, limit: int, limit_field: str | None) -> Body:
        """The request as an upstream gets it: with its limit in a field that the upstream reads.

        One that knows only the other field would ignore the limit.
        """
        named = [name for name in _LIMIT_FIELDS if body.get(name) is not None]
        sent = {name: value for name, value in body.items() if name not in _LIMIT_FIELDS}
        fields = [limit_field] if limit_field else named or ["max_tokens"]
        sent |= {"model": model, **dict.fromkeys(fields, limit)}
        if body.get("stream") is True:
            sent["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return sent

    def reply_texts(self, reply: Body) -> Iterator[str]:
        """All output in a whole reply."""
        for choice in _choices(reply):
            yield output_of(_message(choice))

    def reply_least(self, reply: Body) -> int:
        """Characters of texts and tools' arguments."""
        return _whole(reply).least_characters

    def reply_message(self, reply: Body) -> Message:
        """The first choice."""
        answer = _whole(reply)
        return Message(Role.ASSISTANT, answer.text, answer.calls)

    def question(self, body: Body) -> tuple[Message, ...]:
        """What comes after the last answer."""
        asked: list[Message] = []
        for message in reversed(body["messages"]):
            role = message.get("role")
            if role == Role.ASSISTANT:
                break
            if role in (Role.USER, Role.TOOL):
                text = "".join(texts_of(message.get("content")))
                call_id = message.get("tool_call_id") if role == Role.TOOL else None
                asked.append(Message(Role(role), text, tool_call_id=call_id))
        return tuple(reversed(asked))

    def reader(self, upstream: str, asked: Asked) -> Reader[Any]:
        """A reader of one streamed reply."""
        return ChatReader(upstream, asked)

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """As OpenAI's clients expect it."""
        return b"data: " + to_json(error) + b"\n\n"


class ChatReader(Reader[ChatStream]):
    """Follows the chunks of one streamed answer."""

    def __init__(self, upstream: str, asked: Asked) -> None:
        super().__init__(upstream, ChatStream(asked.choices))
        self._asked = asked
        self._last: Body = {}

    @property
    def is_answer(self) -> bool:
        """There was a choice."""
        return self._answer.is_answer

    def see(self, event: Body) -> tuple[str, bool]:
        """The output in a chunk, and whether the client gets it: not its usage, unless it asked for that."""
        text = self._answer.see(event)
        if text:
            self.texts.append(text)
        if self._answer.error:
            raise self._failed_with(self._answer.error)
        self._last = event
        if event.get("choices"):
            return text, True
        is_chunk = "choices" in event and event.get("usage") is None
        return text, is_chunk or (event.get("usage") is not None and self._asked.wants_usage)

    def written(self, data: bytes) -> bytes:
        """A chunk has no name."""
        return data_lines(data)

    def cut(self, usage: Usage) -> bytes:
        """A chunk that ends the choices which are open, and the usage where it was asked for."""
        chunk = {name: value for name, value in self._last.items() if name not in ("choices", "usage")}
        ends = [
            {"index": index, "delta": {}, "finish_reason": "length"} for index in self._answer.open_choices
        ]
        events = [b"data: " + to_json({**chunk, "choices": ends}) + b"\n\n"]
        if self._asked.wants_usage:
            told = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
            }
            events.append(b"data: " + to_json({**chunk, "choices": [], "usage": told}) + b"\n\n")
        return b"".join(events)

    def message(self) -> Message:
        """The first choice, as far as it came."""
        return Message(Role.ASSISTANT, self._answer.text, self._answer.calls)


def _count_images(asked: Asked, parts: list[Any]) -> None:
    for part in parts:
        if type(part) is dict and part.get("type") == "image_url":
            add_image(asked, part.get("image_url"))


def _sent_back(calls: Any) -> Iterator[str]:
    """The texts of calls that an answer had, of functions and of custom tools."""
    for call in calls if type(calls) is list else ():
        for kind in ("function", "custom") if type(call) is dict else ():
            called = call.get(kind)
            if type(called) is dict:
                texts = (called.get(name) for name in ("name", "arguments", "input"))
                yield from (text for text in texts if type(text) is str)


def _whole(reply: Body) -> ChatStream:
    answer = ChatStream()
    for index, choice in enumerate(_choices(reply)):
        answer.see({"choices": [{"index": index, "message": _message(choice)}]})
    return answer


def _message(choice: Body) -> Body:
    message = choice.get("message")
    return message if type(message) is dict else {}


def _choices(reply: Body) -> list[Body]:
    choices = reply.get("choices")
    return [] if choices is None else answered("choices", choices)


CHAT: Final = ChatApi()
