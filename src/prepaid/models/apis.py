"""What a library's request needs of its model, and which of its extra fields the provider may be sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prepaid.errors import ApiNotSupported, InvalidRequestError
from prepaid.models.codecs.dialects import check_others, dialect_fields
from prepaid.models.codecs.fields import CHAT_FIELDS, RESPONSES_FIELDS, Fields, Kind, look_through
from prepaid.records import Api, ChatRequest, ModelInfo

__all__ = ["AGENTS_FIELDS", "check_api", "check_apis", "check_extra"]

AGENTS_FIELDS: Final[Fields] = {**RESPONSES_FIELDS, **CHAT_FIELDS}
"""For the extra fields of agents, whose models speak one of these APIs: a meter does not see which."""

_EXTRA: Final = frozenset({"function_call", "n", "response_format", "stream_options", "text", "tool_choice"})
"""What the meter reads of a request's extra fields; other fields that it reads have their own place."""


def check_extra(extra: object) -> None:
    """Refuse extra fields of another library's request that say again what was quoted.

    Raises:
        InvalidRequestError: naming the first.
    """
    if not isinstance(extra, Mapping):
        raise InvalidRequestError(
            f"Extra fields are a {type(extra).__name__}, not a dict.", remedy="Pass a dict of fields."
        )
    for name in extra:
        field = AGENTS_FIELDS.get(name)
        if field is not None and field.kind is Kind.COUNTED and name not in _EXTRA:
            raise InvalidRequestError(
                f"The extra fields of the request set {name!r}, which the meter has to set.",
                remedy="Leave it out; max_tokens of the model settings is the limit.",
            )


def check_apis(info: ModelInfo, request: ChatRequest, fields: Fields = CHAT_FIELDS) -> None:
    """Refuse a request that the model cannot answer, or that its price would not pay for.

    Its extra fields are those of ``fields`` and of the model's dialect.

    Raises:
        ApiNotSupported: naming the first thing that is missing (spec A11).
        FieldNotSupported: an extra field that nobody knows (spec P1).
        InvalidRequestError: one with a value that it cannot have.
    """
    for api in _needed(request):
        check_api(info, api)
    extra = {str(name): value for name, value in request.extra.items()}
    if not extra:
        return
    if extra.get("n") not in (None, 1):
        raise ApiNotSupported(info.name, "n", tuple(sorted(info.apis)), param="n")
    found = look_through({**fields, **dialect_fields(info, "chat")}, extra)
    check_others("chat", info, found.others, extra, fields)
    if found.unpriced:
        raise found.unpriced.refused(info)


def check_api(info: ModelInfo, api: Api, param: str | None = None) -> None:
    """Refuse a model that lacks ``api``, which the field ``param`` of the request needs.

    Raises:
        ApiNotSupported: naming what it has.
    """
    if api not in info.apis:
        raise ApiNotSupported(info.name, api, tuple(sorted(info.apis)), param=param)


def _needed(request: ChatRequest) -> Iterator[Api]:
    yield "chat"
    if request.tools or request.extra.get("tools") or request.extra.get("functions"):
        yield "tools"
    form = request.extra.get("response_format")
    if isinstance(form, Mapping) and form.get("type", "text") != "text":
        yield "structured_output"
