"""Errors of the REST API: problem details (RFC 9457), whatever went wrong and wherever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from prepaid.errors import InvalidRequestError, MethodNotAllowed, PrepaidError, RouteNotFound
from prepaid.gateway.asgi import REQUEST, Request, to_json
from prepaid.gateway.failures import defect, headers_of, problem, status_of

__all__ = ["PROBLEM_RESPONSES", "add_handlers", "problem_of"]

_MEDIA_TYPE: Final = "application/problem+json"
_SHOWN_MAX: Final = 5
_PLACE_LENGTH_MAX: Final = 80

_EXAMPLE: Final = {
    "type": "urn:prepaid:error:insufficient_funds",
    "title": "Insufficient funds",
    "status": 402,
    "detail": "Insufficient balance: 1200 base units needed, 400 available.",
    "instance": "urn:prepaid:request:req_0f6d1d1f4c6b4b0a9d2c7a31",
    "code": "insufficient_funds",
    "retryable": False,
    "remedy": "Fund the session with at least 800 more, or ask for less.",
    "needed": 1200,
    "available": 400,
    "held": 0,
}
_SCHEMA: Final = {
    "type": "object",
    "description": "Problem details (RFC 9457); beside these, the numbers and names that the error is about.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "Stable; docs/errors.md lists them."},
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
        "remedy": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "code", "retryable", "remedy"],
}
PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "What went wrong, and what to do about it.",
        "content": {_MEDIA_TYPE: {"schema": _SCHEMA, "example": _EXAMPLE}},
    }
}
"""Every operation may fail in every way that docs/errors.md names."""


def add_handlers(app: FastAPI) -> None:
    """Tell errors of ours, of validation and of routing in one form; others are the gateway's to tell."""
    app.add_exception_handler(PrepaidError, _tell)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(Exception, _tell_defect)


def problem_of(http: HttpRequest, error: PrepaidError) -> dict[str, Any]:
    """The problem details of an error."""
    request: Request = http.scope[REQUEST]
    return problem(error, request.id)


async def _tell_defect(http: HttpRequest, _: Exception) -> Response:
    """FastAPI raises the error again once this is sent, and the gateway logs it."""
    return await _tell(http, defect(http.scope[REQUEST]))


async def _tell(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, PrepaidError), "it is registered for these"
    http.scope[REQUEST].error = error.code
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    body = to_json(problem_of(http, error))
    return Response(body, status_of(error), headers, media_type=_MEDIA_TYPE)


async def _tell_invalid(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "it is registered for these"
    return await _tell(http, _invalid(error.errors()))


def _invalid(details: Sequence[Mapping[str, Any]]) -> InvalidRequestError:
    """Where the request is wrong and why. What was sent is not repeated: it may be a secret or a prompt."""
    told = [f"{_place(detail['loc'])}: {detail['msg']}" for detail in details[:_SHOWN_MAX]]
    more = f" (and {len(details) - _SHOWN_MAX} more)" if len(details) > _SHOWN_MAX else ""
    return InvalidRequestError(
        f"{'; '.join(told)}{more}.", remedy="See /api/v1/openapi.json for what it takes."
    )


def _place(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location)[:_PLACE_LENGTH_MAX]


async def _tell_http(http: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "it is registered for these"
    path = http.url.path
    if error.status_code == HTTPStatus.NOT_FOUND:
        return await _tell(http, RouteNotFound(path))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return await _tell(http, MethodNotAllowed(path, tuple(allowed.split(", "))))
    return await _tell(
        http, InvalidRequestError("The body cannot be read as JSON.", remedy="Send valid JSON.")
    )
