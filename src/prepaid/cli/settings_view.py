"""Settings as the operator sees them: name, value without secrets, and where the value comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prepaid.config.problems import ENV_PREFIX, masked_url, read_toml
from prepaid.money import format_amount

if TYPE_CHECKING:
    from prepaid.config import Settings

__all__ = ["Line", "effective"]

_MASK: Final = "********"
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@]*@")
_STORED: Final = {
    "minimum_balance": "minimum_balance",
    "sessions.session_timeout": "session_timeout_ms",
    "sessions.pool_size": "pool_size",
}
"""Settings that ``update_config`` changes, and what the database calls them."""

Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One setting."""

    name: str
    value: object
    source: str


def effective(settings: Settings, stored: Mapping[str, str], *, is_named: bool) -> list[Line]:
    """Every setting with the value that counts; ``stored`` is what the database keeps."""
    file = _file()
    content = read_toml(file) if file is not None else {}
    lines = []
    for path, value in _leaves((), settings.model_dump()):
        name = ".".join(path)
        source = "--database" if is_named and name == "database" else _source(path, file, content)
        if (kept := stored.get(_STORED.get(name, ""))) is not None:
            value = timedelta(milliseconds=int(kept)) if name.endswith("timeout") else int(kept)  # noqa: PLW2901
            source = "database (prepaid config set)"
        shown = (
            format_amount(int(value), settings.asset) if name == "minimum_balance" else _shown(path, value)
        )
        lines.append(Line(name, shown, source))
    return lines


def _leaves(path: Path_, value: object) -> Iterator[tuple[Path_, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner)
    else:
        yield path, value


def _shown(path: Path_, value: Any) -> object:
    """A value as JSON can carry it; keys, and credentials in URLs, are masked."""
    if value is None:
        return None
    if path[-1] == "api_key":
        return _MASK
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple | frozenset | set):
        return ", ".join(sorted(map(str, value)) if not isinstance(value, tuple) else map(str, value))
    if isinstance(value, bool | int | float):
        return value
    return masked_url(value) if path[-1] == "base_url" else _CREDENTIALS.sub(f"{_MASK}@", str(value))


def _source(path: Path_, file: Path | None, content: Mapping[str, Any]) -> str:
    names = {name.upper(): name for name in os.environ}
    for length in range(len(path), 0, -1):
        variable = ENV_PREFIX + "__".join(path[:length]).upper()
        if variable in names:
            return f"environment ({names[variable]})"
    node: Any = content
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return "default"
        node = node[key]
    return str(file)


def _file() -> Path | None:
    named = os.environ.get("PREPAID_CONFIG")
    found = Path(named or "prepaid.toml")
    return found if named or found.is_file() else None
