"""Upstream failures as errors: which may be retried, after how long, and what the operator can do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from prepaid.errors import ProviderError

__all__ = ["is_retryable", "refused", "refused_in_stream", "retry_after", "retry_after_seconds", "with_retry"]

_REASON_LENGTH_MAX: Final = 300
_TOLD_LENGTH_MAX: Final = 100
_RETRYABLE_BELOW_500: Final = frozenset({408, 425, 429})
_REMEDIES: Final = {
    400: "Correct the request; the provider's reason is above.",
    401: "Check the upstream's api_key.",
    402: "Top up the account at the provider.",
    403: "Check what the upstream's api_key may do.",
    404: "Check the upstream's base_url and the model's name.",
    413: "Send less.",
    429: "Retry later, or raise the limits at the provider.",
}


def refused(
    upstream: str, status: int, body: bytes, after_seconds: float | None, secret: str | None
) -> ProviderError:
    """The error for an HTTP ``status`` of 300 or more; ``secret`` never appears in it."""
    reason = _reason(body)
    if secret:
        reason = reason.replace(secret, "***")
    error = ProviderError(
        f"Upstream {upstream!r} answered with status {status}{': ' + reason if reason else ''}.",
        status=status,
        remedy=_REMEDIES.get(status),
    )
    error.told = _told(body, secret)
    return with_retry(error, retryable=is_retryable(status), after_seconds=after_seconds)


def refused_in_stream(upstream: str, error: Any, secret: str | None) -> ProviderError:
    """The error for one that came inside a stream, after status 200; some put the real one in its code."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if type(code) is int and 300 <= code <= 599 else 502  # noqa: PLR2004 -- HTTP's range of failures
    return refused(upstream, status, json.dumps({"error": error}).encode(), None, secret)


def is_retryable(status: int) -> bool:
    """Whether the same request can succeed later."""
    return status in _RETRYABLE_BELOW_500 or status >= 500  # noqa: PLR2004 -- 500 and above is the server's fault


def with_retry(error: ProviderError, *, retryable: bool, after_seconds: float | None = None) -> ProviderError:
    """``error`` with its own answer to "may this be retried, and when"."""
    # The class says what is usual, and declares it as a constant; this one instance differs.
    vars(error).update(retryable=retryable, after_seconds=after_seconds)
    return error


def retry_after(error: BaseException) -> float | None:
    """Seconds that the provider asked to wait; ``None`` if it did not."""
    seconds = vars(error).get("after_seconds")
    return float(seconds) if seconds is not None else None


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """The ``Retry-After`` header, seconds or a date, as seconds from ``now``. Source: RFC 9110, 10.2.3."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max((aware - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _reason(body: bytes) -> str:
    """The provider's own words, from OpenAI's error shape or whatever text there is."""
    text = body.decode("utf-8", "replace")
    return " ".join((_message(_parsed(body)) or text).split())[:_REASON_LENGTH_MAX].rstrip(".")


def _told(body: bytes, secret: str | None) -> dict[str, str]:
    """The provider's own type, parameter and code for it, where it speaks of errors as OpenAI does."""
    error = _parsed(body).get("error")
    fields = error if isinstance(error, dict) else {}
    told = {name: text for name in ("type", "param", "code") if isinstance(text := fields.get(name), str)}
    return {
        name: text
        for name, text in told.items()
        if len(text) <= _TOLD_LENGTH_MAX and (not secret or secret not in text)
    }


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
