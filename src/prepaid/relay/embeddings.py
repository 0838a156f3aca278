"""OpenAI's embeddings, as far as the relay looks into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prepaid.errors import InvalidRequestError
from prepaid.models.codecs.fields import EMBEDDINGS_FIELDS, ApiName, look_through
from prepaid.models.usage import UsageFields
from prepaid.records import Api, Message, Role
from prepaid.relay.reader import Reader
from prepaid.relay.wire import Asked, Body, model_of

__all__ = ["EMBEDDINGS"]

INPUTS_MAX: Final = 2_048
_EMBEDDINGS_ONLY: Final[frozenset[Api]] = frozenset({"embeddings"})


class EmbeddingsApi:
    """``/embeddings``: input only."""

    name: ApiName = "embeddings"
    path = "/embeddings"
    reply_field = "data"
    reply_values_max = 10_000_000
    """Vectors are numbers, which cost little."""
    usage = UsageFields("prompt_tokens", None, "prompt_tokens_details")

    def read(self, body: Body) -> Asked:
        """What matters in a request."""
        given = body.get("input")
        inputs = given if type(given) is list else [given]
        if not 1 <= len(inputs) <= INPUTS_MAX or not all(_is_input(each) for each in inputs):
            raise InvalidRequestError(
                "input is neither text nor tokens, nor a list of these.",
                remedy=f"Send 1 to {INPUTS_MAX} texts.",
            )
        found = look_through(EMBEDDINGS_FIELDS, body)
        return Asked(
            model_of(body), choices=0, messages=len(inputs), apis=_EMBEDDINGS_ONLY, others=found.others
        )

    def texts(self, body: Body) -> Iterator[str]:
        """The texts of a request."""
        given = body["input"]
        for each in given if type(given) is list else [given]:
            yield each if type(each) is str else str(each)

    def sent(self, body: Body, model: str, limit: int, limit_field: str | None) -> Body:  # noqa: ARG002 -- it has no output to limit
        """The request as an upstream gets it."""
        return {**body, "model": model}

    def reply_texts(self, reply: Body) -> Iterator[str]:  # noqa: ARG002 -- vectors are no texts
        """None: the input is what is paid for."""
        return iter(())

    def reply_least(self, reply: Body) -> int:  # noqa: ARG002 -- as above
        """No text."""
        return 0

    def reply_message(self, reply: Body) -> Message:  # noqa: ARG002 -- as above
        """Nothing was said."""
        return Message(Role.ASSISTANT, "")

    def question(self, body: Body) -> tuple[Message, ...]:  # noqa: ARG002 -- as above
        """Nothing that a chat keeps."""
        raise InvalidRequestError(f"{self.path} is no part of a chat.", remedy="Leave X-Prepaid-Chat out.")

    def reader(self, upstream: str, asked: Asked) -> Reader[Any]:  # noqa: ARG002 -- as above
        """There are no streams here."""
        raise AssertionError(f"{upstream} was asked for a stream of embeddings")

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """There are no streams here."""
        raise AssertionError(f"no stream can end with {error}")


def _is_input(value: Any) -> bool:
    if type(value) is list:
        return all(type(token) is int for token in value)
    return type(value) is str or type(value) is int


EMBEDDINGS: Final = EmbeddingsApi()
