"""How an id that others chose is kept: as it is, unless PostgreSQL's text could not have it.

Ids of other libraries' conversations may have the character NUL in them. Both databases keep such a one in
hexadecimal, behind a character that Unicode leaves to programs' own use, so that rows are the same in both.
"""

from __future__ import annotations

from typing import Final, overload

__all__ = ["ID_BYTES_MAX", "pack_id", "unpack_id"]

ID_BYTES_MAX: Final = 1_024
"""In UTF-8. PostgreSQL finds ids by an index, whose rows have 2,704 bytes, and hexadecimal doubles an id."""

_MARK: Final = "\ufdd0"


@overload
def pack_id(text: str) -> str: ...
@overload
def pack_id(text: str | None) -> str | None: ...
def pack_id(text: str | None) -> str | None:
    """What stands in the row. Two ids are never kept as the same."""
    if text is None or ("\0" not in text and not text.startswith(_MARK)):
        return text
    return _MARK + text.encode().hex().upper()


@overload
def unpack_id(kept: str) -> str: ...
@overload
def unpack_id(kept: str | None) -> str | None: ...
def unpack_id(kept: str | None) -> str | None:
    """The id again."""
    if kept is None or not kept.startswith(_MARK):
        return kept
    return bytes.fromhex(kept[len(_MARK) :]).decode()
