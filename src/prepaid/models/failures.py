"""Upstream failures as errors: what may be billed, who can help, and which words clients may have.

What a provider says goes to the log, secrets masked and without what it repeats of the request, and never
into an error's message (spec P12): what is wrong with a request is told in words of ours (``refusals``).
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
from prepaid.models.echoes import ASKED_BYTES_MAX, parsed, without_echoes
from prepaid.models.hiding import Hidden
from prepaid.models.refusals import KNOWN_CODES, Explained, explained

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

_REQUESTS_FAULT: Final = frozenset({400, 413, 415, 422})
_RETRYABLE_BELOW_500: Final = frozenset({408, 425, 429})
_UNKNOWN: Final = 502
"""Stands for the status of an error in an answer that has none."""
_NUMBER_MAX: Final = 100_000
_RESENT: Final = frozenset({429, 503})
"""All that is sent again: the provider says that it has not begun."""
_UNBILLED: Final = frozenset({301, 302, 307, 308, *range(400, 500), 500, 501, 503, 529}) - {408}
"""Refused before there was an answer. Other statuses may come from something in between that gave up."""
_FILTERED: Final = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
"""Codes of prompts that were read and refused, which some providers bill as input."""
_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""What providers call an empty account in ``code`` or ``type``; with 429 it is no matter of waiting."""
_STREAM_CODES: Final = KNOWN_CODES | {"rate_limit_exceeded", "server_error"}
"""Codes in a stream's error event that say nothing but what OpenAI documents."""
_LOGGED_CODES: Final = (
    _STREAM_CODES | _QUOTA | {"invalid_api_key", "invalid_request_error", "model_not_found"}
)
"""Codes and types that are logged although nobody knows what the request said."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")

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
_SAYS_BY_STATUS: Final = {413: "it is too large", 415: "it does not take this kind of content"}
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
    error, words = _error_of(body), _reason(body)
    fields = [text for name in ("code", "type") if isinstance(text := error.get(name), str)]
    is_quota = not _QUOTA.isdisjoint(fields)
    about = " ".join([words, *fields])
    is_known = not KNOWN_CODES.isdisjoint(fields)
    if status in _REQUESTS_FAULT and (is_known or not hidden.is_about_us(about, _text(asked))):
        made = _the_requests_fault(upstream, status, explained(error, words, parsed(asked)))
    else:
        made = _in_our_words(upstream, _kind(status, is_quota=is_quota), status)
    made.may_bill = MayBill.NOTHING if status in _UNBILLED else MayBill.UNKNOWN
    if not _FILTERED.isdisjoint(fields):
        made.may_bill = MayBill.DELIVERED
    made.can_resend = status in _RESENT and not is_quota
    made.detail = f"status {status}{_logged(error, words, hidden, asked)}"
    return with_retry(made, retryable=is_retryable(status) and not is_quota, after_seconds=after_seconds)


def refused_in_stream(upstream: str, error: Any) -> ProviderError:
    """The error for one that came inside an answer, after status 200; some put the real status in its code.

    Its message goes nowhere, not even to the log: by then there is no telling what it is about, and it may
    repeat a prompt. Known codes, its type and its length do.
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
    number = f", code {code}" if type(code) is int and abs(code) < _NUMBER_MAX else ""
    names = "".join(f", {name} {text}" for name, text in named.items() if text in _LOGGED_CODES)
    made.detail = f"an error inside its answer{number}{names}: ({len(words)} characters)"
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


def _the_requests_fault(upstream: str, status: int, about: Explained) -> ProviderError:
    says = about.says or _SAYS_BY_STATUS.get(status, "")
    told = (
        f"refused the request (status {status}): {says}"
        if says
        else f"refused the request as wrong (status {status})"
    )
    whom = (
        f"the gateway's operator can look up what it said by the request's id: {request_id.get()}"
        if request_id.get()
        else "the log prepaid.upstream has what it said"
    )
    remedy = "Correct the request." if says else f"Correct the request; {whom}."
    error = ProviderError(f"Upstream {upstream!r} {told}.", status=status, remedy=remedy)
    error.fault = ProviderFault.REQUEST
    error.told = about.told
    return error


def _logged(error: dict[str, Any], words: str, hidden: Hidden, asked: bytes) -> str:
    """Code, type and words of a provider's error, as far as they are no secret and no prompt."""
    named = {name: text for name in ("code", "type") if isinstance(text := error.get(name), str)}
    names = "".join(
        f", {name} {without_echoes(hidden.masked(text), asked)}"
        for name, text in named.items()
        if _NAME.fullmatch(text)
    )
    return f"{names}: {without_echoes(hidden.masked(words), asked)}"


def _reason(body: bytes) -> str:
    """The provider's own words, from OpenAI's error shape or whatever text there is."""
    text = body.decode("utf-8", "replace")
    return " ".join((_message(_parsed(body)) or text).split()).rstrip(".")


def _text(asked: bytes) -> str:
    """A request's body as far as a message can be compared with it."""
    return asked.decode("utf-8", "replace") if len(asked) <= ASKED_BYTES_MAX else ""


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
