"""Bodies of the REST API: whose one is is known before it is read, how much it is before it is parsed.

FastAPI would parse a body on the event loop, before it asks whose it is, and then gather an error for each of
its unknown names.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final, get_args

from fastapi import Request as HttpRequest
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from prepaid.errors import InvalidRequestError
from prepaid.gateway.limits import Slot
from prepaid.gateway.parts import Parts
from prepaid.records import ApiKeyRecord

__all__ = ["SENDER", "BodyRoute", "Sender"]

SENDER: Final = "prepaid.sender"
_SHOWN_MAX: Final = 5
_NAME_LENGTH_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a body, and what of their slots its request takes; none where it is short."""

    record: ApiKeyRecord
    slot: Slot | None


class BodyRoute(APIRoute):
    """Parses a body as all that is heavy is parsed, and refuses names that its operation does not take."""

    def get_route_handler(self) -> Callable[[HttpRequest], Awaitable[Response]]:  # type: ignore[override]
        """The handler, given a request whose body is parsed."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        shape = self.body_field.field_info.annotation
        assert isinstance(shape, type), "every operation has one body, of one shape"
        assert issubclass(shape, BaseModel), "every operation has one body, of one shape"

        async def handle_read(http: HttpRequest) -> Response:
            raw = await http.body()
            if not raw or not _is_json(http.headers.get("content-type")):
                return await handle(http)
            parts: Parts = http.app.state.parts
            sender: Sender | None = http.scope.get(SENDER)
            slot = None if sender is None else sender.slot
            limit = parts.settings.gateway.rest_body_values_max
            value = await parts.heavy.read(slot, raw, lambda: _read(shape, raw), limit)
            return await handle(_Read(http, value))

        return handle_read


class _Read(HttpRequest):
    """A request whose body is parsed already."""

    def __init__(self, http: HttpRequest, value: Any) -> None:
        super().__init__(http.scope, http.receive)
        self._body = b"{}"  # Starlette keeps what was read here; it is not looked at again
        self._value = value

    async def json(self) -> Any:
        """What the body says."""
        return self._value


def _is_json(content_type: str | None) -> bool:
    """As FastAPI has it, for which another body is none."""
    if not content_type:
        return False
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )


def _read(shape: type[BaseModel], raw: bytes) -> Any:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise InvalidRequestError("The body cannot be read as JSON.", remedy="Send valid JSON.") from None
    _check_names(shape, value)
    return value


def _check_names(shape: type[BaseModel], value: object) -> None:
    """Refuse names that a shape does not have, wherever they stand; the rest pydantic tells better.

    Raises:
        InvalidRequestError: with the first few of them.
    """
    if not isinstance(value, Mapping):
        return
    unknown = [name for name in value if name not in shape.model_fields]
    if unknown:
        told = ", ".join(repr(name[:_NAME_LENGTH_MAX]) for name in unknown[:_SHOWN_MAX])
        more = f" (and {len(unknown) - _SHOWN_MAX} more)" if len(unknown) > _SHOWN_MAX else ""
        raise InvalidRequestError(
            f"The body has fields that are unknown here: {told}{more}.",
            remedy="See /api/v1/openapi.json for what it takes.",
        )
    for name, field in shape.model_fields.items():
        inner = _shape_in(field.annotation)
        if inner is not None and name in value:
            below = value[name]
            for each in below if isinstance(below, list) else (below,):
                _check_names(inner, each)


def _shape_in(annotation: object) -> type[BaseModel] | None:
    """The shape of a field: its own, or that of one of what it may be or is a list of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _shape_in(each)) is not None), None)
