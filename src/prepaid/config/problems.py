"""Turns what is wrong with the configuration into one message: where, what value, which limit, what to do."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from prepaid.errors import ConfigError

__all__ = ["ENV_PREFIX", "QUERIES_SHOWN", "explain", "masked_url", "read_toml", "where"]

ENV_PREFIX: Final = "PREPAID_"
_VALUE_LENGTH_MAX: Final = 80
_SHOWN_MAX: Final = 5
_MASK: Final = "********"

QUERIES_SHOWN: Final = frozenset({"api-version"})
"""All parts of a URL's query that are no secret."""
_SECRETS: Final = frozenset({"api_key", "api_key_env", "kubo_rpc_url"})
"""Settings whose value is never shown; ``api_key_env`` in case somebody put the key itself there."""

Location = tuple[str, ...]


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content.

    Raises:
        ConfigError: if it cannot be read or is not TOML, with the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}.", remedy="Correct PREPAID_CONFIG or the file's permissions."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is not UTF-8 text.", remedy="Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}.", remedy="Correct the line; see https://toml.io.") from None


def explain(
    error: ValidationError,
    path: Path | None,
    arguments: Mapping[str, Any],
    known: Mapping[str, Sequence[str]],
) -> ConfigError:
    """One ``ConfigError`` for all that ``error`` found; no secret is shown.

    ``known`` lists the keys that exist, by table ("" is the top), to suggest the right one for a typo.
    """
    details = error.errors(include_url=False)
    lines = [_problem(detail, path, arguments) for detail in details[:_SHOWN_MAX]]
    if len(details) > _SHOWN_MAX:
        lines.append(f"… and {len(details) - _SHOWN_MAX} more.")
    return ConfigError("\n".join(lines), remedy=_remedy(details[0], known))


def _problem(detail: ErrorDetails, path: Path | None, arguments: Mapping[str, Any]) -> str:
    location = _location(detail)
    name = ".".join(location) or "settings"
    place = where(location, path, arguments)
    if detail["type"] == "missing":
        return f"{place}: {name} is missing."
    if detail["type"] == "extra_forbidden":
        return f"{place}: {name} is not a setting."
    reason = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{place}: {name}{_value(detail, location)}: {reason[:1].lower()}{reason[1:]}."


def _location(detail: ErrorDetails) -> Location:
    """The key at fault; a check over several keys names its own in the error's context."""
    named = detail.get("ctx", {}).get("location")
    return tuple(named) if named else tuple(str(part) for part in detail["loc"])


def _value(detail: ErrorDetails, location: Location) -> str:
    """`` is <value>`` where a scalar can be shown; secrets and URLs with credentials never are."""
    value = detail.get("ctx", {}).get("value", detail["input"])
    secret = not location or not _SECRETS.isdisjoint(location)
    if secret or not isinstance(value, str | int | float) or not {"@", "?"}.isdisjoint(str(value)):
        return ""
    return f" is {repr(value)[:_VALUE_LENGTH_MAX]}"


def masked_url(url: str) -> str:
    """``url`` without its credentials, and without the values of its query."""
    head, mark, query = url.partition("?")
    scheme, slashes, rest = head.rpartition("://")
    credentials, at, place = rest.rpartition("@")
    shown = scheme + slashes + (f"{_MASK}@" if at and credentials else "") + place
    if not mark:
        return shown
    pairs = [pair.partition("=") for pair in query.split("&")]
    return f"{shown}?" + "&".join(
        f"{name}={value if name in QUERIES_SHOWN else _MASK}" for name, _, value in pairs
    )


def where(location: Location, path: Path | None, arguments: Mapping[str, Any]) -> str:
    """The place that says what a setting is: an argument, a variable, or a line of the file."""
    if location and location[0] in arguments:
        return "argument"
    for length in range(len(location), 0, -1):
        variable = ENV_PREFIX + "__".join(location[:length]).upper()
        found = next((name for name in os.environ if name.upper() == variable), None)
        if found is not None:
            return f"environment variable {found}"
    if path is None:
        return "configuration"
    line = _line_of(location, path.read_text(encoding="utf-8"))
    return f"{path} line {line}" if line else str(path)


def _line_of(location: Location, text: str) -> int | None:
    """The line that defines ``location``, or else its nearest enclosing table."""
    best: int | None = None
    best_length = 0
    table: Location = ()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            found = table = _key_path(stripped.split("#")[0].strip("[] \t"))
        elif "=" in stripped:
            found = table + _key_path(stripped.split("=")[0])
        else:
            continue
        if len(found) > best_length and location[: len(found)] == found:
            best, best_length = number, len(found)
    return best


def _key_path(key: str) -> Location:
    """``prices."gpt-4o"`` as its parts; TOML's own parser knows the quoting."""
    try:
        node: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts: list[str] = []
    while isinstance(node, dict) and node:
        part, node = next(iter(node.items()))
        parts.append(part)
    return tuple(parts)


def _remedy(detail: ErrorDetails, known: Mapping[str, Sequence[str]]) -> str:
    location = _location(detail)
    match detail["type"]:
        case "missing":
            return f"Add {location[-1]}."
        case "extra_forbidden":
            table = location[0] if len(location) > 1 else ""
            names = known.get(table, ())
            close = difflib.get_close_matches(location[-1], names, n=1)
            return f"Did you mean {close[0]}?" if close else f"Remove it; known here: {', '.join(names)}."
        case _:
            return f"Correct {'.'.join(location) or 'it'} and start again."
