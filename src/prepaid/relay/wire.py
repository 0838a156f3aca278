"""What the relay needs to know of one of OpenAI's APIs, and nothing else of what is sent through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic_core import to_json

from prepaid.errors import InvalidRequestError, ProviderResponseInvalid
from prepaid.models.codecs.fields import ApiName
from prepaid.models.codecs.shapes import Misshapen, Uncovered
from prepaid.models.usage import UsageFields
from prepaid.records import Api, Message
from prepaid.relay.reader import Reader

__all__ = [
    "REPLY_VALUES_MAX",
    "Asked",
    "Body",
    "Picture",
    "WireApi",
    "add_image",
    "answered",
    "count_of",
    "data_lines",
    "flag_of",
    "listed",
    "model_of",
    "object_of",
    "objects_of",
    "schema_texts",
    "texts_as_sent",
    "tool_texts",
]

Body = dict[str, Any]
"""A request's or reply's JSON object. What is not named here goes on as it came."""

REPLY_VALUES_MAX: Final = 400_000

COUNT_MAX = 100_000_000
_AS_OPENAI: Final = "Send it as OpenAI's API has it."


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a request, as far as its price depends on it."""

    data_url: str | None
    """The image itself; ``None`` where the provider is to fetch it."""
    detail: str | None
    """How finely it is to be looked at, where the client says."""


@dataclass(slots=True)
class Asked:
    """As much of a request as its price and its way depend on."""

    model: str
    is_stream: bool = False
    wants_usage: bool = False
    """Whether a stream's usage is to be told to the client."""
    choices: int = 1
    """How many answers; each may be as long as the limit."""
    limit: int | None = None
    """Output tokens of one answer, where the client says."""
    messages: int = 0
    has_tools: bool = False
    images: list[Picture] = field(default_factory=list)
    image_bytes: int = 0
    """Of the body; paid for by the image, not by the byte."""
    apis: frozenset[Api] = frozenset()
    """What the model must be able to do."""
    unpriced: Uncovered | None = None
    """What in it no price covers, if anything; then it is refused."""
    others: tuple[str, ...] = ()
    """Its fields that not every model's upstream may be sent (``codecs.dialects``)."""


class WireApi(Protocol):
    """One API: where it is, what a request asks for, what a reply says."""

    name: ApiName
    path: str
    usage: UsageFields
    reply_field: str
    """The list that every whole reply has."""
    reply_values_max: int
    """So many parts a reply or an event may have: a parser in C stops everybody while it makes them."""

    def read(self, body: Body) -> Asked:
        """What matters in a request; refused fields that are null are taken out of it.

        Raises:
            FieldNotSupported: something inside its fields that no list knows.
            InvalidRequestError: it is not a request of this API.
        """

    def texts(self, body: Body) -> Iterator[str]:
        """The texts of a request, as prices per byte count them."""

    def sent(self, body: Body, model: str, limit: int, limit_field: str | None) -> Body:
        """The request as an upstream gets it: its name for the model, and a limit that the hold pays for."""

    def reply_texts(self, reply: Body) -> Iterator[str]:
        """All output in a whole reply."""

    def reply_least(self, reply: Body) -> int:
        """Characters of a whole reply's output in fields that are known to hold nothing else."""

    def reply_message(self, reply: Body) -> Message:
        """The answer of a whole reply, to be kept in a chat."""

    def question(self, body: Body) -> tuple[Message, ...]:
        """What is new since the last answer: the messages that a turn begins with."""

    def reader(self, upstream: str, asked: Asked) -> Reader[Any]:
        """A reader of one streamed reply."""

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """OpenAI's error body as the last event of a stream that failed."""


def data_lines(data: bytes) -> bytes:
    """The data of an event as lines, and the blank line behind them."""
    return b"data: " + data.replace(b"\r", b"").replace(b"\n", b"\ndata: ") + b"\n\n"


def count_of(body: Body, name: str, limit: int = COUNT_MAX) -> int | None:
    """A count from 1 to ``limit``, or ``None`` where it is left out.

    Raises:
        InvalidRequestError: it is something else.
    """
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= limit:  # a bool is no count
        raise _misshapen(
            name, f"is {str(value)[:40]}", f"Send an integer from 1 to {limit}, or leave it out."
        )
    return value


def flag_of(body: Body, name: str) -> bool:
    """Whether it is set. An upstream could take for true what is neither true nor false.

    Raises:
        InvalidRequestError: it is neither.
    """
    value = body.get(name)
    if value is None:
        return False
    if type(value) is not bool:
        raise _misshapen(name, f"is {str(value)[:40]}", "Send true or false.")
    return value


def object_of(body: Body, name: str) -> Body:
    """A JSON object, empty where it is left out.

    Raises:
        InvalidRequestError: it is something else.
    """
    value = body.get(name)
    if value is None:
        return {}
    if type(value) is not dict:
        raise _misshapen(name, "is not an object", _AS_OPENAI)
    return value


def objects_of(body: Body, name: str) -> list[Body]:
    """A list of JSON objects, empty where it is left out.

    Raises:
        InvalidRequestError: it is something else.
    """
    value = body.get(name)
    return [] if value is None else listed(value, name)


def listed(value: Any, name: str) -> list[Body]:
    """A list of JSON objects.

    Raises:
        InvalidRequestError: it is something else.
    """
    if not isinstance(value, list) or not all(type(each) is dict for each in value):
        raise _misshapen(name, "is not a list of objects", _AS_OPENAI)
    return value


def answered(name: str, value: Any) -> list[Body]:
    """A list of JSON objects in an upstream's answer.

    Raises:
        ProviderResponseInvalid: it is something else.
    """
    if type(value) is not list or not all(type(each) is dict for each in value):
        raise ProviderResponseInvalid(f"The upstream's {name} are not a list of objects.")
    return value


def model_of(body: Body) -> str:
    """The model's name.

    Raises:
        InvalidRequestError: there is none.
    """
    model = body.get("model")
    if type(model) is not str or not model:
        error = InvalidRequestError("The request names no model.", remedy="Send model as a string.")
        error.param = "model"
        raise error
    return model


def _misshapen(name: str, what: str, remedy: str) -> InvalidRequestError:
    mistake = Misshapen(what, remedy)
    mistake.inside(name)
    return mistake.told()


def texts_as_sent(value: Any) -> Iterator[str]:
    """A text as it is, anything else as its JSON."""
    yield value if type(value) is str else to_json(value).decode()


def schema_texts(form: Any) -> Iterator[str]:
    """The texts of a form that an answer is to have: its schema is a part of the prompt."""
    if type(form) is dict and form.get("type") == "json_schema":
        yield from texts_as_sent(form)


def tool_texts(function: Any) -> Iterator[str]:
    """The texts of a tool's definition."""
    if type(function) is not dict:
        return
    for name in ("name", "description"):
        if type(function.get(name)) is str:
            yield function[name]
    for name in ("parameters", "format"):
        if function.get(name):
            yield to_json(function[name]).decode()


def add_image(asked: Asked, image: Any, detail: Any = None) -> None:
    """Counts an image, given by its URL or by an object with that."""
    url = image
    if type(image) is dict:
        url, detail = image.get("url"), image.get("detail")
    data_url = url if type(url) is str and url[:5].lower() == "data:" else None
    asked.apis |= {"images"}
    asked.images.append(Picture(data_url, detail if type(detail) is str else None))
    asked.image_bytes += len(data_url or "")
