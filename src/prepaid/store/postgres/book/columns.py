"""Columns of values as array literals.

asyncpg looks at every element of an array for arrays inside it, which costs more than all else that a batch
does here. So arrays are sent as text, which PostgreSQL reads in a fraction of that time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

__all__ = ["LITERALS", "numbers", "texts"]


def numbers(values: Sequence[int | None]) -> str:
    """Of integers or truth values."""
    if None in values:
        return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"
    return "{" + ",".join(map(str, values)) + "}"


def texts(values: Sequence[str | None]) -> str:
    """Of texts; of at least one."""
    if None in values:
        return "{" + ",".join("NULL" if value is None else _quoted(value) for value in values) + "}"
    joined = '","'.join(values)  # type: ignore[arg-type]  # there is no None
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        return "{" + ",".join(map(_quoted, values)) + "}"  # type: ignore[arg-type]
    return '{"' + joined + '"}'


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _bytes(values: Sequence[bytes]) -> str:
    return '{"\\\\x' + '","\\\\x'.join(value.hex() for value in values) + '"}'


LITERALS: Final[dict[str, Callable[[Sequence[Any]], str]]] = {
    "bigint": numbers,
    "boolean": numbers,  # it reads "True" too
    "bytea": _bytes,
    "text": texts,
}
"""How a column of each type is written."""
