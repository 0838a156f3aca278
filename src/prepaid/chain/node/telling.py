"""Errors as logs tell them: ours have nothing secret in them, of others only the kind is told."""

from __future__ import annotations

from prepaid.errors import PrepaidError

__all__ = ["told_of"]


def told_of(error: BaseException) -> dict[str, str]:
    """What a log line says of an error."""
    if isinstance(error, PrepaidError):
        return {"kind": error.code, "error": error.what}
    return {"kind": type(error).__name__}
