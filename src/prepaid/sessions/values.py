"""What users hand in about sessions and chats: checked once, where it enters, against size limits."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from prepaid.errors import InvalidRequestError, NotJson, ValueTooLarge

__all__ = [
    "CHATS_MAX",
    "JSON_BYTES_MAX",
    "JSON_DEPTH_MAX",
    "MESSAGES_MAX",
    "NAME_LENGTH_MAX",
    "TEXT_BYTES_MAX",
    "TOKENS_MAX",
    "as_expiry",
    "as_milliseconds",
    "as_time",
    "check_count",
    "check_flag",
    "check_id",
    "check_name",
    "check_tag",
    "check_tags",
    "check_text",
    "check_user",
    "from_json",
    "shown",
    "to_json",
]

NAME_LENGTH_MAX: Final = 256
JSON_BYTES_MAX: Final = 64 * 1024
JSON_DEPTH_MAX: Final = 64
"""Of lists and objects within each other. What writes JSON gives up at some depth, and lists fail with it."""

TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
TAGS_MAX: Final = 32
TAG_LENGTH_MAX: Final = 64
ID_LENGTH_MAX: Final = 256
MESSAGES_MAX: Final = 2**31 - 1
CHATS_MAX: Final = 2**31 - 1
TOKENS_MAX: Final = 2**31 - 1
_TAGS_READ_MAX: Final = 1_000
_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, and the separators of lines and paragraphs."""

_SHOWN_MAX: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_MS_MAX: Final = 100 * 365 * 24 * 3_600_000
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MS
"""The last time that can be told in UTC, which is before the last that can be written in some other zone."""


def check_user(user_id: str) -> str:
    """A user id: 1 to 256 printable characters, because it stands in every line of a statement.

    Raises:
        InvalidRequestError: empty, or with control characters.
        ValueTooLarge: longer.
    """
    if isinstance(user_id, str) and len(user_id) > NAME_LENGTH_MAX:
        raise ValueTooLarge("user_id", len(user_id), NAME_LENGTH_MAX, "characters")
    if not isinstance(user_id, str) or not user_id or not user_id.isprintable():
        raise InvalidRequestError(
            f"{shown(user_id)} is not a user id.", remedy="Use 1 to 256 printable characters."
        )
    return user_id


def check_name(name: str, field: str, length_max: int = NAME_LENGTH_MAX) -> str:
    """A name of at most 256 characters, in any script and with any emoji, on one line."""
    if isinstance(name, str) and len(name) > length_max:
        raise ValueTooLarge(field, len(name), length_max, "characters")
    if not isinstance(name, str) or any(unicodedata.category(letter) in _UNSEEN for letter in name):
        raise InvalidRequestError(
            f"{field} {shown(name)} is not plain text.", remedy="Leave out control characters."
        )
    return name


def check_id(found: str) -> bool:
    """Whether this can be the id of anything here: what cannot is not looked up."""
    return isinstance(found, str) and found.isascii() and found.isprintable() and len(found) <= ID_LENGTH_MAX


def check_count(count: int, field: str, least: int, most: int) -> int:
    """A whole number between two limits.

    Raises:
        InvalidRequestError: a ``bool``, a ``float``, or out of these limits.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= most:
        raise InvalidRequestError(
            f"{field} of {shown(count)} is no whole number between {least} and {most}.",
            remedy="Choose such a number.",
        )
    return count


def check_flag(flag: bool, field: str) -> bool:
    """``True`` or ``False``, and nothing that merely counts as one of them."""
    if not isinstance(flag, bool):
        raise InvalidRequestError(f"{field} of {shown(flag)} is no bool.", remedy="Pass True or False.")
    return flag


def shown(value: object) -> str:
    """A value as a message names it: short, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 -- a stranger's __repr__, or an int of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"


def check_text(text: str, field: str) -> str:
    """A prompt or message: not empty, at most 4 MiB of UTF-8."""
    if not isinstance(text, str):
        raise InvalidRequestError(f"{field} is a {type(text).__name__}, not text.", remedy="Pass a str.")
    if not text:
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
    """At most 32 tags of 1 to 64 characters, each once, in the order given."""
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        raise InvalidRequestError(f"tags is {shown(tags)}.", remedy='Pass a list: ["work"].')
    unique: dict[str, None] = {}
    for tag in islice(tags, _TAGS_READ_MAX):
        unique[check_tag(tag)] = None
        if len(unique) > TAGS_MAX:
            raise ValueTooLarge("tags", len(unique), TAGS_MAX, "entries or more")
    return tuple(unique)


def check_tag(tag: str) -> str:
    """A tag of 1 to 64 characters on one line."""
    if not check_name(tag, "tag", TAG_LENGTH_MAX):
        raise InvalidRequestError("A tag is empty.", remedy="Leave it out.")
    return tag


def to_json(value: Mapping[str, Any] | None, field: str) -> str:
    """Metadata or preferences as JSON text of at most 64 KiB, ``JSON_DEPTH_MAX`` levels deep.

    Raises:
        NotJson: something in it JSON cannot carry.
        ValueTooLarge: more than that, or deeper.
    """
    if value is None:
        return "{}"
    if not isinstance(value, Mapping):
        raise NotJson(f"{field} is a {type(value).__name__}, not a dict.")
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
        _check_inside(value, field)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(f"{field} cannot be kept as JSON: {error}.") from None
    if size > JSON_BYTES_MAX:
        raise ValueTooLarge(field, size, JSON_BYTES_MAX)
    return text


def _check_inside(value: object, field: str, depth: int = 1) -> None:
    """JSON would make text of other keys without a word, and of two keys the same one."""
    if not isinstance(value, Mapping | list | tuple):
        return
    if depth > JSON_DEPTH_MAX:
        raise ValueTooLarge(field, depth, JSON_DEPTH_MAX, "levels or more")
    for inner in value:
        if isinstance(value, Mapping):
            if not isinstance(inner, str):
                raise NotJson(f"{field} has the key {shown(inner)}, which is no text.")
            _check_inside(value[inner], field, depth + 1)
        else:
            _check_inside(inner, field, depth + 1)


def from_json(text: str) -> dict[str, Any]:
    """What ``to_json`` kept. Older versions kept what is deeper, too: of that, null is told."""
    try:
        kept: dict[str, Any] = json.loads(text)
    except RecursionError:
        return {}
    if text.count("{") + text.count("[") <= JSON_DEPTH_MAX:
        return kept
    return {name: _cut(inner, 2) for name, inner in kept.items()}


def _cut(value: Any, depth: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if depth > JSON_DEPTH_MAX:
        return None
    if isinstance(value, dict):
        return {name: _cut(inner, depth + 1) for name, inner in value.items()}
    return [_cut(inner, depth + 1) for inner in value]


def as_milliseconds(duration: timedelta | float, field: str, most_ms: int = _MS_MAX) -> int:
    """A duration, as ``timedelta`` or in seconds, in whole milliseconds above zero."""
    if isinstance(duration, bool) or not isinstance(duration, timedelta | int | float):
        raise InvalidRequestError(
            f"{field} {shown(duration)} is not a duration.", remedy="Pass seconds or a timedelta."
        )
    if isinstance(duration, float) and not math.isfinite(duration):
        raise InvalidRequestError(f"{field} {duration!r} is not finite.", remedy="Pass a finite duration.")
    most = timedelta(milliseconds=most_ms)
    if isinstance(duration, timedelta):
        ms = duration // _MS
    else:
        ms = int(duration * 1000) if abs(duration) <= most_ms else -1
    if not 0 < ms <= most_ms:
        raise InvalidRequestError(
            f"{field} of {shown(duration)} is not between a millisecond and {most}.",
            remedy="Pass such a duration.",
        )
    return ms


def as_expiry(expires_at: datetime | timedelta | None, now_ms: int) -> int | None:
    """A point in time, or a span from now, as milliseconds since the epoch; it must lie ahead.

    Raises:
        InvalidRequestError: it does not, has no zone, or is after the year 9999 in UTC.
    """
    if expires_at is None:
        return None
    if isinstance(expires_at, timedelta):
        return now_ms + as_milliseconds(expires_at, "expires_at")
    if not isinstance(expires_at, datetime) or expires_at.utcoffset() is None:
        raise InvalidRequestError(
            f"expires_at {shown(expires_at)} is not a time with a time zone.",
            remedy="Use datetime.now(UTC) + …",
        )
    ms = (expires_at - _EPOCH) // _MS
    if ms <= now_ms:
        raise InvalidRequestError(f"expires_at {expires_at} is in the past.", remedy="Choose a later time.")
    if ms > _LAST_MS:
        raise InvalidRequestError(
            f"expires_at {expires_at} is after the year 9999 in UTC.", remedy="Choose an earlier time."
        )
    return ms


def as_time(ms: int) -> datetime:
    """Milliseconds since the epoch as a time in UTC, at most the last that can be told."""
    return _EPOCH + min(ms, _LAST_MS) * _MS
