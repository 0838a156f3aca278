"""What an integration needs of a session: who pays, and the parts that its manager works with."""

from __future__ import annotations

from prepaid.errors import ValueTooLarge
from prepaid.meter import Payer
from prepaid.models.measure import text_bytes
from prepaid.sessions.leased import LeasedSession
from prepaid.sessions.session import Session
from prepaid.sessions.workspace import Workspace

__all__ = ["BODY_BYTES_MAX", "check_size", "payer_of", "workspace_of"]

BODY_BYTES_MAX = 16 * 1024 * 1024
"""One message or item of another library, as JSON."""


def workspace_of(session: Session | LeasedSession) -> Workspace:
    """The parts of the session's manager."""
    return session._workspace  # noqa: SLF001 -- handed to handles, and to nobody else


def payer_of(session: Session | LeasedSession) -> Payer:
    """Who pays for what is asked through this handle."""
    return session.payer if isinstance(session, LeasedSession) else session._payer  # noqa: SLF001 -- the same


def check_size(body: str, field: str) -> str:
    """The JSON of one message or item, if it is not too long.

    Raises:
        ValueTooLarge: over 16 MiB.
    """
    size = text_bytes(body)
    if size > BODY_BYTES_MAX:
        raise ValueTooLarge(field, size, BODY_BYTES_MAX)
    return body
