"""OpenAI's responses, as far as the relay looks into them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import to_json

from prepaid.errors import InvalidRequestError
from prepaid.models.codecs.chat_stream import whole_text
from prepaid.models.codecs.fields import RESPONSES_FIELDS, ApiName, look_through
from prepaid.models.codecs.output import texts_of
from prepaid.models.codecs.responses_stream import ResponsesStream, item_output
from prepaid.models.usage import RESPONSES_USAGE
from prepaid.records import Api, Message, Role, ToolCall, Usage
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
    objects_of,
    schema_texts,
    tool_texts,
)

__all__ = ["RESPONSES"]

_EVENT_NAME: Final = re.compile(r"response\.[a-z0-9_.]{1,100}")

_ITEM_TEXTS: Final = ("name", "arguments", "output", "input")
_REASONING_TEXTS: Final = ("summary", "encrypted_content")
_TEXT_ONLY: Final[frozenset[Api]] = frozenset({"chat"})


class ResponsesApi:
    """``/responses``."""

    name: ApiName = "responses"
    path = "/responses"
    reply_field = "output"
    reply_values_max = REPLY_VALUES_MAX
    usage = RESPONSES_USAGE

    def read(self, body: Body) -> Asked:
        """What matters in a request."""
        model = model_of(body)
        found = look_through(RESPONSES_FIELDS, body)
        asked = Asked(
            model,
            is_stream=flag_of(body, "stream"),
            limit=count_of(body, "max_output_tokens"),
            apis=_TEXT_ONLY,
            unpriced=found.unpriced,
            others=found.others,
        )
        asked.messages = 1 + len(_items(body))
        for item in _items(body):
            _count_images(asked, item)
        if objects_of(body, "tools"):
            asked.has_tools = True
            asked.apis |= {"tools"}
        form = body.get("text")
        form = form.get("format") if type(form) is dict else None
        if type(form) is dict and form.get("type", "text") != "text":
            asked.apis |= {"structured_output"}
        return asked

    def texts(self, body: Body) -> Iterator[str]:
        """The texts of a request."""
        yield from texts_of(body.get("instructions"))
        yield from texts_of(body["input"] if type(body["input"]) is str else None)
        for item in _items(body):
            yield from texts_of(item.get("content"))
            for name in (*_ITEM_TEXTS, *_REASONING_TEXTS):
                yield from texts_of(item.get(name))
        for tool in body.get("tools") or ():
            yield from tool_texts(tool)
        form = body.get("text")
        yield from schema_texts(form.get("format") if type(form) is dict else None)

    def sent(self, body: Body, model: str, limit: int, limit_field: str | None) -> Body:  # noqa: ARG002 -- it has one name here
        """The request as an upstream gets it."""
        return {**body, "model": model, "max_output_tokens": limit}

    def reply_texts(self, reply: Body) -> Iterator[str]:
        """All output in a whole reply."""
        for item in _output(reply):
            yield item_output(item)

    def reply_least(self, reply: Body) -> int:
        """Characters of messages and tools' arguments."""
        message = self.reply_message(reply)
        return len(message.text) + sum(len(call.arguments) for call in message.tool_calls)

    def reply_message(self, reply: Body) -> Message:
        """Its texts and the calls of tools."""
        text: list[str] = []
        calls: list[ToolCall] = []
        for item in _output(reply):
            if item.get("type") == "message":
                text += texts_of(item.get("content"))
            elif item.get("type") == "function_call":
                parts = (item.get("call_id"), item.get("name"), item.get("arguments"))
                calls.append(ToolCall(*(whole_text(part) if type(part) is str else "" for part in parts)))
        return Message(Role.ASSISTANT, whole_text("".join(text)), tuple(calls))

    def question(self, body: Body) -> tuple[Message, ...]:
        """What comes after the last answer."""
        if type(body["input"]) is str:
            return (Message(Role.USER, body["input"]),)
        asked: list[Message] = []
        for item in reversed(_items(body)):
            kind = item.get("type", "message")
            if kind in ("function_call", "reasoning") or item.get("role") == Role.ASSISTANT:
                break
            if kind == "function_call_output":
                text = "".join(texts_of(item.get("output")))
                asked.append(Message(Role.TOOL, text, tool_call_id=str(item.get("call_id") or "")))
            elif item.get("role") == Role.USER:
                asked.append(Message(Role.USER, "".join(texts_of(item.get("content")))))
        return tuple(reversed(asked))

    def reader(self, upstream: str, asked: Asked) -> Reader[Any]:  # noqa: ARG002 -- usage is always told
        """A reader of one streamed reply."""
        return ResponsesReader(upstream)

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """As OpenAI's clients expect it."""
        told = error["error"]
        event = {"type": "error", "sequence_number": 0} | {
            name: told.get(name) for name in ("code", "message", "param")
        }
        return b"event: error\ndata: " + to_json({**event, "error": told}) + b"\n\n"


class ResponsesReader(Reader[ResponsesStream]):
    """Follows the events of one streamed response."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, ResponsesStream())
        self._name = ""

    @property
    def is_answer(self) -> bool:
        """There was a response."""
        return bool(self._answer.response) or self.least_characters > 0

    def see(self, event: Body) -> tuple[str, bool]:
        """The output in an event; the client gets those of responses, but for the upstream's own errors."""
        kind = event.get("type")
        self._name = kind if type(kind) is str and _EVENT_NAME.fullmatch(kind) else ""
        text = self._answer.see(event)
        if text:
            self.texts.append(text)
        response = event.get("response")
        failure = event.get("error") or (response.get("error") if type(response) is dict else None)
        if failure or kind == "error":
            raise self._failed_with(failure or event)
        return text, bool(self._name)

    def written(self, data: bytes) -> bytes:
        """Events are named by their types."""
        return b"event: " + self._name.encode() + b"\n" + data_lines(data)

    def cut(self, usage: Usage) -> bytes:
        """The event that ends a response at its limit."""
        said = {"type": "output_text", "text": "".join(self._answer.said), "annotations": []}
        message = {
            "id": "msg_cut",
            "type": "message",
            "role": "assistant",
            "status": "incomplete",
            "content": [said],
        }
        response = {
            **self._answer.response,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [message],
            "usage": {
                "input_tokens": usage.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.input_tokens + usage.output_tokens,
            },
        }
        event = {
            "type": "response.incomplete",
            "sequence_number": self._answer.number + 1,
            "response": response,
        }
        return b"event: response.incomplete\ndata: " + to_json(event) + b"\n\n"

    def message(self) -> Message:
        """The whole answer where it came to its end, else its text so far."""
        if self.is_ended:
            return RESPONSES.reply_message(self._answer.response)
        return Message(Role.ASSISTANT, whole_text("".join(self._answer.said)))


def _items(body: Body) -> list[Body]:
    given = body.get("input")
    if type(given) is str:
        return []
    if not given:
        raise InvalidRequestError("input is empty.", remedy="Send a text, or one item at least.")
    return listed(given, "input")


def _count_images(asked: Asked, item: Body) -> None:
    for content in (item.get("content"), item.get("output")):
        for part in content if type(content) is list else ():
            if type(part) is dict and part.get("type") == "input_image":
                add_image(asked, part.get("image_url"), part.get("detail"))


def _output(reply: Body) -> list[Body]:
    output = reply.get("output")
    return [] if output is None else answered("output", output)


RESPONSES: Final = ResponsesApi()
