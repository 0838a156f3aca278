"""What users hand in about sessions and chats: checked once, where it enters, against size limits."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prepaid.errors import InvalidRequestError, NotJson, ValueTooLarge

__all__ = [
    "JSON_BYTES_MAX",
    "NAME_LENGTH_MAX",
    "TEXT_BYTES_MAX",
    "as_milliseconds",
    "as_time",
    "check_name",
    "check_tags",
    "check_text",
    "check_user",
    "to_json",
]

NAME_LENGTH_MAX: Final = 256
JSON_BYTES_MAX: Final = 64 * 1024
TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
TAGS_MAX: Final = 32
TAG_LENGTH_MAX: Final = 64
_MS: Final = timedelta(milliseconds=1)
_MS_MAX: Final = 100 * 365 * 24 * 3_600_000


def check_user(user_id: str) -> str:
    """A user id: 1 to 256 printable characters.

    Raises:
        InvalidRequestError: empty, or with control characters.
        ValueTooLarge: longer.
    """
    if not isinstance(user_id, str) or not user_id or not user_id.isprintable():
        raise InvalidRequestError(
            f"{user_id!r} is not a user id.", remedy="Use 1 to 256 printable characters."
        )
    return check_name(user_id, "user_id")


def check_name(name: str, field: str) -> str:
    """A name of at most 256 characters without control characters."""
    if not isinstance(name, str) or not all(letter.isprintable() for letter in name):
        raise InvalidRequestError(
            f"{field} {name!r} is not plain text.", remedy="Leave out control characters."
        )
    if len(name) > NAME_LENGTH_MAX:
        raise ValueTooLarge(field, len(name), NAME_LENGTH_MAX, "characters")
    return name


def check_text(text: str, field: str) -> str:
    """A prompt or message: not empty, at most 4 MiB of UTF-8."""
    if not isinstance(text, str) or not text:
        raise InvalidRequestError(f"{field} is empty.", remedy="Say something.")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"{field} has half a surrogate pair.", remedy="Send valid Unicode."
        ) from None
    if size > TEXT_BYTES_MAX:
        raise ValueTooLarge(field, size, TEXT_BYTES_MAX)
    return text


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """At most 32 tags of 64 characters, each once, in the order given."""
    if isinstance(tags, str):
        raise InvalidRequestError(f"tags is the text {tags[:32]!r}.", remedy='Pass a list: ["work"].')
    unique = tuple(dict.fromkeys(tags))
    if len(unique) > TAGS_MAX:
        raise ValueTooLarge("tags", len(unique), TAGS_MAX, "entries")
    for tag in unique:
        check_name(tag, "tag")
        if len(tag) > TAG_LENGTH_MAX:
            raise ValueTooLarge("tag", len(tag), TAG_LENGTH_MAX, "characters")
    return unique


def to_json(value: Mapping[str, Any] | None, field: str) -> str:
    """Metadata or preferences as JSON text of at most 64 KiB.

    Raises:
        NotJson: something in it JSON cannot carry.
        ValueTooLarge: more than that.
    """
    if value is None:
        return "{}"
    if not isinstance(value, Mapping):
        raise NotJson(f"{field} is a {type(value).__name__}, not a dict.")
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(f"{field} cannot be kept as JSON: {error}.") from None
    if size > JSON_BYTES_MAX:
        raise ValueTooLarge(field, size, JSON_BYTES_MAX)
    return text


def as_milliseconds(duration: timedelta | float, field: str) -> int:
    """A duration, as ``timedelta`` or in seconds, in whole milliseconds above zero."""
    if isinstance(duration, bool) or not isinstance(duration, timedelta | int | float):
        raise InvalidRequestError(
            f"{field} {duration!r} is not a duration.", remedy="Pass seconds or a timedelta."
        )
    if not isinstance(duration, timedelta) and not math.isfinite(duration):
        raise InvalidRequestError(f"{field} {duration!r} is not finite.", remedy="Pass a finite duration.")
    ms = duration // _MS if isinstance(duration, timedelta) else int(duration * 1000)
    if not 0 < ms <= _MS_MAX:
        raise InvalidRequestError(
            f"{field} of {duration} is not between a millisecond and 100 years.",
            remedy="Pass such a duration.",
        )
    return ms


def as_expiry(expires_at: datetime | timedelta | None, now_ms: int) -> int | None:
    """A point in time, or a span from now, as milliseconds since the epoch; it must lie ahead."""
    if expires_at is None:
        return None
    if isinstance(expires_at, timedelta):
        return now_ms + as_milliseconds(expires_at, "expires_at")
    if not isinstance(expires_at, datetime) or expires_at.tzinfo is None:
        raise InvalidRequestError(
            f"expires_at {expires_at!r} is not a time with a time zone.", remedy="Use datetime.now(UTC) + …"
        )
    ms = int(expires_at.timestamp() * 1000)
    if ms <= now_ms:
        raise InvalidRequestError(f"expires_at {expires_at} is in the past.", remedy="Choose a later time.")
    return ms


def as_time(ms: int) -> datetime:
    """Milliseconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)
