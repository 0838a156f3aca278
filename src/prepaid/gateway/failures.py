"""Errors as replies: the one table of HTTP statuses, and the two bodies in which errors are told."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final

from prepaid import errors
from prepaid.errors import InsufficientFunds, PrepaidError, ProviderError, ProviderFault, StoreError
from prepaid.gateway.asgi import Header, Request, to_json
from prepaid.models.failures import request_id as current_id

__all__ = [
    "STATUS",
    "defect",
    "headers_of",
    "is_retryable",
    "openai_failure",
    "problem",
    "remedy_of",
    "send_failure",
    "status_of",
]

STATUS: Final[dict[type[PrepaidError], int]] = {
    errors.PrepaidError: 500,
    errors.InvalidRequestError: 400,
    errors.ValueTooLarge: 413,
    errors.ModelNotSupported: 404,
    errors.MethodNotAllowed: 405,
    errors.CodingNotSupported: 415,
    errors.TransitionRefused: 409,
    errors.AuthenticationError: 401,
    errors.PermissionDenied: 403,
    errors.InsufficientFunds: 402,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.VersionConflict: 412,
    errors.LimitReached: 429,
    errors.RoutingError: 503,
    errors.ProviderError: 502,
    errors.ProviderTimeout: 504,
    errors.UpstreamUnavailable: 503,
    errors.StoreError: 503,
    errors.StoreReadOnly: 500,
    errors.StoreCorrupted: 500,
    errors.StoreTooNew: 500,
    errors.SessionDataUnreadable: 500,
    errors.ManagerClosed: 503,
    errors.GatewayStopping: 503,
    errors.GatewayFull: 503,
    errors.StatementInvalid: 422,
    errors.ConfigError: 500,
}
"""An error that is not here has its parent's. The table of ``docs/gateway.md`` is checked against it."""

_OPENAI_CODES: Final[dict[type[PrepaidError], str]] = {
    errors.AuthenticationError: "invalid_api_key",
    errors.InsufficientFunds: "insufficient_quota",
    errors.ModelNotSupported: "model_not_found",
    errors.FieldNotSupported: "unknown_parameter",
    errors.ConcurrencyLimitReached: "rate_limit_exceeded",
    errors.TooManyFailedKeys: "rate_limit_exceeded",
}
_REMEDIES: Final[dict[type[PrepaidError], str]] = {
    errors.ChatNotFound: "Send the id of a chat of this session, such as ses_….1.",
    errors.LeaseNotFound: "Lease a session again.",
    errors.ModelNotPriced: "Choose another model, or ask the gateway's operator for it.",
    errors.ModelNotSupported: "Choose another model; GET /v1/models lists them.",
    errors.PoolEmpty: "Wait until a lease ends.",
    errors.PoolFull: "Wait for room.",
    errors.SessionAlreadyClosed: "Open another session.",
    errors.SessionExpired: "Open another session.",
    errors.SessionNotFound: "Check the session's id and the API key.",
    errors.SessionPaused: "Resume it first.",
}
"""Where an error's own remedy is for whoever writes Python or runs the gateway."""
_RATE: Final = "rate_limit_exceeded"
_OPENAI_PARAMETERS: Final[dict[type[PrepaidError], str]] = {errors.ModelNotSupported: "model"}
_OPENAI_TYPES: Final = {401: "authentication_error", 402: "insufficient_quota", 429: "rate_limit_error"}
_PROVIDERS: Final = {ProviderFault.RATE: 429, ProviderFault.QUOTA: 503}
"""Statuses by who can do something about it; where the request itself is at fault, the provider's own."""
_OVERLOADED: Final = (503, 529)
_HELD_IN_FLIGHT: Final = "funds_held_in_flight"
_NO_RETRY: Final[Header] = (b"x-should-retry", b"false")
_PROBLEM: Final[Header] = (b"content-type", b"application/problem+json")
_SERVER_ERRORS: Final = 500

_logger = logging.getLogger("prepaid.gateway")


def status_of(error: PrepaidError) -> int:
    """The HTTP status: 429 instead of 402 where requests in flight hold what is missing."""
    if _is_held(error):
        return int(HTTPStatus.TOO_MANY_REQUESTS)
    if isinstance(error, ProviderError) and (status := _provider_status(error)) is not None:
        return status
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def is_retryable(error: PrepaidError) -> bool:
    """Whether the same request can succeed a moment later."""
    return error.retryable or _is_held(error)


def remedy_of(error: PrepaidError) -> str:
    """What a client can do about it."""
    if (
        isinstance(error, ProviderError) and error.remedy == ProviderError.remedy
    ):  # that of a class, as a rule
        return "Retry later." if is_retryable(error) else "Ask the gateway's operator."
    return _first(_REMEDIES, error) or error.remedy


def headers_of(error: PrepaidError) -> list[Header]:
    """``Retry-After`` where waiting helps; ``x-should-retry: false``, which clients obey, elsewhere."""
    headers = [_retry_after(error) if is_retryable(error) else _NO_RETRY]
    if isinstance(error, errors.MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, errors.CodingNotSupported):
        headers.append((b"accept-encoding", ", ".join(error.allowed).encode()))
    if isinstance(error, errors.AuthenticationError):
        headers.append((b"www-authenticate", b'Bearer realm="prepaid"'))
    return headers


def openai_failure(error: PrepaidError) -> dict[str, Any]:
    """OpenAI's error body. What it has no field for stands under ``prepaid``."""
    status, what, remedy = status_of(error), *_words(error)
    own = {"code": error.code, "retryable": is_retryable(error), "remedy": remedy}
    told = {
        "message": f"{what} {remedy}".strip(),
        "type": _OPENAI_TYPES.get(status) or _openai_type(status),
        "param": getattr(error, "param", None) or _first(_OPENAI_PARAMETERS, error),
        "code": _openai_code(error),
        "prepaid": own | _numbers(error),
    }
    if isinstance(error, ProviderError):
        told |= error.told
    return {"error": told}


def problem(error: PrepaidError, request_id: str) -> dict[str, Any]:
    """Problem details (RFC 9457), with our code, whether to retry, the remedy, and the error's own values."""
    status, what, remedy = status_of(error), *_words(error)
    told = {
        "type": f"urn:prepaid:error:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": status,
        "detail": what,
        "instance": f"urn:prepaid:request:{request_id}",
        "code": error.code,
        "retryable": is_retryable(error),
        "remedy": remedy,
    }
    return _numbers(error) | told


def defect(request: Request) -> PrepaidError:
    """What a client is told of an error that is our own fault: nothing but where to ask."""
    return PrepaidError("The gateway failed.", remedy=f"Tell its operator the request's id: {request.id}.")


async def send_failure(request: Request, error: PrepaidError) -> None:
    """The error as a reply: OpenAI's body below ``/v1/``, problem details elsewhere."""
    request.error = error.code
    status, headers = status_of(error), headers_of(error)
    if request.path.startswith("/v1/"):
        await request.reply_json(status, openai_failure(error), headers)
        return
    await request.reply(status, [_PROBLEM, *headers], to_json(problem(error, request.id)))


def _words(error: PrepaidError) -> tuple[str, str]:
    """What clients are told of it, and its remedy.

    What a database says of files, hosts and users goes to the log; whoever asks finds it there by the
    request's id.
    """
    if not isinstance(error, StoreError):
        return error.what, remedy_of(error)
    if error.what != error.public:
        _logger.error("the database failed a request: %s", error, extra={"error": error.code})
    if is_retryable(error):
        return error.public, "Retry in a moment, with the same idempotency key: nothing is done twice."
    named = f" the request's id: {current_id.get()}" if current_id.get() else ""
    return error.public, f"Tell the gateway's operator{named}."


def _provider_status(error: ProviderError) -> int | None:
    """``None``: the class has it."""
    if error.fault is ProviderFault.REQUEST:
        return error.status
    if error.status in _OVERLOADED and error.fault is ProviderFault.PROVIDER:
        return int(HTTPStatus.SERVICE_UNAVAILABLE)
    return _PROVIDERS.get(error.fault)


def _retry_after(error: PrepaidError) -> Header:
    """What a provider asks for is what its client is told."""
    seconds = None
    if isinstance(error, ProviderError | errors.TooManyFailedKeys):
        seconds = error.after_seconds
    return b"retry-after", b"%d" % max(math.ceil(seconds or 1), 1)


def _is_held(error: PrepaidError) -> bool:
    return isinstance(error, InsufficientFunds) and error.is_held


def _openai_code(error: PrepaidError) -> str:
    if _is_held(error):
        return _HELD_IN_FLIGHT
    if isinstance(error, ProviderError) and error.fault is ProviderFault.RATE:
        return _RATE
    return _first(_OPENAI_CODES, error) or error.code


def _openai_type(status: int) -> str:
    return "server_error" if status >= _SERVER_ERRORS else "invalid_request_error"


def _first(table: dict[type[PrepaidError], str], error: PrepaidError) -> str | None:
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)


def _numbers(error: PrepaidError) -> dict[str, Any]:
    """What the error was made with, for programs: the amounts, the limit, the id."""
    if isinstance(error, StoreError):
        return {}
    if isinstance(error, ProviderError):  # the rest of it is between the provider and the operator
        return {} if error.after_seconds is None else {"after_seconds": error.after_seconds}
    shown = {name: value for name, value in vars(error).items() if isinstance(value, int | float | str)}
    return {name: value for name, value in shown.items() if name not in {"what", "remedy", "status"}}
