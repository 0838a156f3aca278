"""Upstream failures as errors: what may be billed, who can help, and which words clients may have.

What a provider says of the operator's affairs (keys, accounts, organisations, addresses) goes to the log,
never into an error's message (spec P12). Its words pass only where it refuses the request itself, and only if
nothing of the operator's is in them.
"""

from __future__ import annotations

import json
import logging
import math
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from prepaid.errors import MayBill, ProviderError, ProviderFault
from prepaid.models.hiding import Hidden

__all__ = [
    "RETRY_AFTER_SECONDS_MAX",
    "is_retryable",
    "log_failure",
    "refused",
    "refused_in_stream",
    "request_id",
    "retry_after",
    "retry_after_seconds",
    "with_retry",
]

RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""Whoever asks for a longer pause is taken to have asked for this one."""

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The gateway's id of the request that is being answered, for the log and for whoever is to ask about it."""

_REASON_LENGTH_MAX: Final = 300
_TOLD_LENGTH_MAX: Final = 100
_ECHO_LENGTH: Final = 12
_ASKED_BYTES_MAX: Final = 262_144
_OK: Final = range(200, 300)
_REQUESTS_FAULT: Final = frozenset({400, 413, 415, 422})
_RETRYABLE_BELOW_500: Final = frozenset({408, 425, 429})
_UNKNOWN: Final = 502
"""Stands for the status of an error in an answer that has none."""
_RESENT: Final = frozenset({429, 503})
"""All that is sent again: the provider says that it has not begun."""
_UNBILLED: Final = frozenset({301, 302, 307, 308, *range(400, 500), 500, 501, 503, 529})
"""Refused before there was an answer. Other statuses may come from something in between that gave up."""
_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""What providers call an empty account in ``code`` or ``type``; with 429 it is no matter of waiting."""
_STREAM_CODES: Final = frozenset(
    {
        "context_length_exceeded",
        "content_filter",
        "content_policy_violation",
        "invalid_prompt",
        "invalid_image",
        "rate_limit_exceeded",
        "server_error",
        "string_above_max_length",
    }
)
"""Codes in a stream's error event that say nothing but what OpenAI documents."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.\[\]\- ]+")

_logger = logging.getLogger("prepaid.upstream")
_logger.addHandler(logging.NullHandler())  # silent where nobody has set up logs: the error says enough


class _Kind(NamedTuple):
    """How clients are told of a kind of refusal. The remedy is the operator's, outside of a gateway."""

    fault: ProviderFault
    words: str
    remedy: str | None = None


_KEY = _Kind(ProviderFault.ACCESS, "refused the configured credentials", "Check the upstream's api_key.")
_EMPTY = _Kind(
    ProviderFault.QUOTA, "reports that its account has no quota left", "Top up the account at the provider."
)
_KINDS: Final = {
    401: _KEY,
    403: _KEY,
    402: _EMPTY,
    404: _Kind(
        ProviderFault.ACCESS,
        "does not know this model, or is not where it was looked for",
        "Check the upstream's base_url and the model's name.",
    ),
    429: _Kind(
        ProviderFault.RATE,
        "allows no more requests for now",
        "Retry later, or raise the limits at the provider.",
    ),
}
_REDIRECT = _Kind(
    ProviderFault.ACCESS, "answered with a redirect, and is not followed", "Correct the upstream's base_url."
)
_ABOUT_US = _Kind(
    ProviderFault.ACCESS, "refused, but not because of the request itself", "See the log for what it said."
)
_REFUSED = _Kind(ProviderFault.PROVIDER, "refused the request")
_FAILED = _Kind(ProviderFault.PROVIDER, "failed")


def refused(
    upstream: str,
    status: int,
    body: bytes,
    after_seconds: float | None,
    hidden: Hidden,
    asked: bytes = b"",
) -> ProviderError:
    """The error for an HTTP ``status`` that is no success, and the ``body`` that came with it.

    ``asked`` is the request's body: what a client wrote itself is not hidden from it.
    """
    error, words, request = _error_of(body), _reason(body), _text(asked)
    fields = [text for name in ("code", "type") if isinstance(text := error.get(name), str)]
    is_quota = not _QUOTA.isdisjoint(fields)
    is_theirs = status in _REQUESTS_FAULT and not hidden.is_about_us(" ".join([words, *fields]), request)
    if is_theirs:
        made = _the_requests_fault(upstream, status, "" if hidden.has_places(words, request) else words)
        made.told = _told(error, hidden, request)
    else:
        made = _in_our_words(upstream, _kind(status, is_quota=is_quota), status)
    made.may_bill = MayBill.NOTHING if status in _UNBILLED else MayBill.UNKNOWN
    made.can_resend = status in _RESENT and not is_quota
    made.detail = hidden.masked(f"status {status}: {_without_echoes(words, asked)}")
    return with_retry(made, retryable=is_retryable(status) and not is_quota, after_seconds=after_seconds)


def refused_in_stream(upstream: str, error: Any, secret: str | None) -> ProviderError:
    """The error for one that came inside an answer, after status 200; some put the real status in its code.

    Its message goes to the log only: by then there is no telling what it is about.
    """
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code")
    told = code if type(code) is int and 300 <= code <= 599 else None  # noqa: PLR2004 -- HTTP's range of failures
    status = told or _UNKNOWN
    named = {name: text for name in ("code", "type") if isinstance(text := fields.get(name), str)}
    kind = _kind(status, is_quota=not _QUOTA.isdisjoint(named.values()))
    if status in _REQUESTS_FAULT:
        kind = _Kind(ProviderFault.REQUEST, "refused the request in the middle of its answer")
    if named.get("code") in _STREAM_CODES:
        kind = kind._replace(words=f"{kind.words} ({named['code']})")
    made = _in_our_words(upstream, kind, told)
    made.told = {"code": named["code"]} if named.get("code") in _STREAM_CODES else {}
    made.may_bill = MayBill.DELIVERED
    with_retry(made, retryable=is_retryable(status) and kind.fault is not ProviderFault.QUOTA)
    words = _reason(json.dumps({"error": error}, default=str).encode())
    which = "" if code is None else f", code {code}"
    made.detail = Hidden(secret).masked(f"an error inside its answer{which}: {words}")
    log_failure(upstream, made)
    return made


def is_retryable(status: int) -> bool:
    """Whether the same request can succeed later."""
    return status in _RETRYABLE_BELOW_500 or status >= 500  # noqa: PLR2004 -- 500 and above is the server's fault


def with_retry(error: ProviderError, *, retryable: bool, after_seconds: float | None = None) -> ProviderError:
    """``error`` with its own answer to "may this be retried, and when"."""
    # The class says what is usual, and declares it as a constant; this one instance differs.
    vars(error).update(retryable=retryable, after_seconds=after_seconds)
    return error


def log_failure(upstream: str, error: ProviderError, model: str = "") -> None:
    """Tell the operator what clients are not told."""
    _logger.warning(
        "upstream %s failed: %s",
        upstream,
        error.detail or error.what,
        extra={
            "upstream": upstream,
            **({"model": model} if model else {}),
            "error": error.code,
            "may_bill": error.may_bill.value,
        },
    )


def retry_after(error: ProviderError) -> float | None:
    """Seconds that the provider asked to wait; ``None`` if it did not."""
    return error.after_seconds


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """The ``Retry-After`` header, seconds or a date, as seconds from ``now``. Source: RFC 9110, 10.2.3."""
    if header is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,18}(?:\.[0-9]{1,18})?\s*", header):
        return min(float(header), RETRY_AFTER_SECONDS_MAX)
    try:
        date = parsedate_to_datetime(header)
        aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        seconds = (aware - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX) if math.isfinite(seconds) else None


def _kind(status: int, *, is_quota: bool) -> _Kind:
    if is_quota:
        return _EMPTY
    if status in _KINDS:
        return _KINDS[status]
    if status in _REQUESTS_FAULT:
        return _ABOUT_US
    if status < 400:  # noqa: PLR2004 -- below are redirects
        return _REDIRECT
    return _FAILED if status >= 500 else _REFUSED  # noqa: PLR2004 -- as above


def _in_our_words(upstream: str, kind: _Kind, status: int | None) -> ProviderError:
    remedy = kind.remedy
    if kind.fault in (ProviderFault.ACCESS, ProviderFault.QUOTA) and request_id.get():
        remedy = f"Tell the gateway's operator the request's id: {request_id.get()}."
    elif kind.fault is ProviderFault.RATE and request_id.get():
        remedy = "Retry later."
    told = "" if status is None else f" (status {status})"
    error = ProviderError(f"Upstream {upstream!r} {kind.words}{told}.", status=status, remedy=remedy)
    error.fault = kind.fault
    return error


def _the_requests_fault(upstream: str, status: int, words: str) -> ProviderError:
    remedy = "Correct the request; the provider's reason is above." if words else "Correct the request."
    told = f"Upstream {upstream!r} answered with status {status}{': ' + words if words else ''}."
    error = ProviderError(told, status=status, remedy=remedy)
    error.fault = ProviderFault.REQUEST
    return error


def _told(error: dict[str, Any], hidden: Hidden, asked: str) -> dict[str, str]:
    """The provider's own type, parameter and code for it, where it speaks of errors as OpenAI does."""
    told = {name: text for name in ("type", "param", "code") if isinstance(text := error.get(name), str)}
    return {
        name: text
        for name, text in told.items()
        if len(text) <= _TOLD_LENGTH_MAX
        and _PLAIN.fullmatch(text)
        and not hidden.is_about_us(text, asked)
        and not hidden.has_places(text, asked)
    }


def _reason(body: bytes) -> str:
    """The provider's own words, from OpenAI's error shape or whatever text there is."""
    text = body.decode("utf-8", "replace")
    return " ".join((_message(_parsed(body)) or text).split())[:_REASON_LENGTH_MAX].rstrip(".")


def _without_echoes(words: str, asked: bytes) -> str:
    """``words`` for the log, without what they repeat of the request: logs never have prompts."""
    if len(asked) > _ASKED_BYTES_MAX:  # looking through it would hold everybody up
        return f"({len(words)} characters about a long request)" if words else ""
    request = _text(asked)
    kept, at = [], 0
    while at < len(words):
        end = at + _ECHO_LENGTH
        if end <= len(words) and words[at:end] in request:
            while end < len(words) and words[at : end + 1] in request:
                end += 1
            kept.append("[…]")
            at = end
        else:
            kept.append(words[at])
            at += 1
    return "".join(kept)


def _text(asked: bytes) -> str:
    """A request's body as far as a message can be compared with it."""
    return asked.decode("utf-8", "replace") if len(asked) <= _ASKED_BYTES_MAX else ""


def _error_of(body: bytes) -> dict[str, Any]:
    error = _parsed(body).get("error")
    return error if isinstance(error, dict) else {}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _message(content: dict[str, Any]) -> str | None:
    """``{"error": {"message": …}}``, ``{"error": …}`` or ``{"message": …}``."""
    error = content.get("error", content)
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else None
