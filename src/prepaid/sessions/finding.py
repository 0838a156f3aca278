"""Finding sessions: by id, by user, tag and status (spec A5, C7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prepaid.config import Settings
from prepaid.errors import InvalidRequestError, SessionNotFound
from prepaid.meter import Payer
from prepaid.records import SessionState
from prepaid.sessions.session import Session
from prepaid.sessions.values import check_count, check_id, check_tag, check_user, shown
from prepaid.sessions.workspace import Workspace

__all__ = ["Finding"]

_PAGE_MAX: Final = 1000
_LIVE: Final = frozenset({SessionState.ACTIVE, SessionState.PAUSED})


class Finding:
    """The part of ``SessionManager`` that looks sessions up."""

    _workspace: Workspace

    @property
    def settings(self) -> Settings:
        """The configuration, as it was read when the manager was made."""
        return self._workspace.settings

    def get_session(self, session_id: str, user_id: str | None = None) -> Session:
        """A session by id. Pass the user whenever a user asked: somebody else's does not exist (spec A5).

        Raises:
            SessionNotFound: unknown, or not this user's.
        """
        found = self._workspace.store.reads.owned(session_id) if check_id(session_id) else None
        if found is None or (user_id is not None and found.owner != user_id):
            raise SessionNotFound(session_id)
        return self._session(found.session_id, found.owner, found.asset)

    async def get_user_sessions(
        self,
        user_id: str,
        *,
        status: str | None = None,
        tag: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Session]:
        """A page of a user's sessions, newest first; ``before`` is the last id of the one before.

        ``status`` is active, paused, closed or expired. One past its ``expires_at`` is neither active nor
        paused any more; it is listed as expired when the clean-up has closed and refunded it.
        """
        return self._page(check_user(user_id), _states(status), tag, limit, before)

    async def get_all_active_sessions(
        self, *, tag: str | None = None, limit: int = 100, before: str | None = None
    ) -> list[Session]:
        """A page of all users' active sessions, newest first."""
        return self._page(None, (SessionState.ACTIVE,), tag, limit, before)

    async def list_sessions(
        self,
        *,
        status: str | None = None,
        tag: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Session]:
        """A page of all users' sessions, newest first."""
        return self._page(None, _states(status), tag, limit, before)

    def _page(
        self,
        user_id: str | None,
        states: Sequence[SessionState],
        tag: str | None,
        limit: int,
        before: str | None,
    ) -> list[Session]:
        if before is not None and not check_id(before):
            raise InvalidRequestError(f"before is {shown(before)}.", remedy="Pass the last id of a page.")
        found = self._workspace.store.reads.sessions(
            owner=user_id,
            states=states,
            tag=None if tag is None else check_tag(tag),
            before=before,
            limit=check_count(limit, "limit", 1, _PAGE_MAX),
            live_at_ms=self._workspace.store.clock() if set(states) <= _LIVE else None,
        )
        return [self._session(each.session_id, each.owner, each.asset) for each in found]

    def _session(self, session_id: str, owner: str, asset: str, api_key: str | None = None) -> Session:
        return Session(self._workspace, Payer(session_id, owner, asset), api_key)


def _states(status: str | None) -> tuple[SessionState, ...]:
    if status is None:
        return (SessionState.ACTIVE, SessionState.PAUSED, SessionState.CLOSED, SessionState.EXPIRED)
    for state in (SessionState.ACTIVE, SessionState.PAUSED, SessionState.CLOSED, SessionState.EXPIRED):
        if state.label == status:
            return (state,)
    raise InvalidRequestError(
        f"{shown(status)} is not a status.", remedy="Use active, paused, closed or expired."
    )
