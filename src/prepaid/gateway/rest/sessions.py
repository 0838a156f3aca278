"""Sessions over REST: opened, found, paused, closed, and what they say (spec A2-A8, B1-B6, C2-C8)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from prepaid.gateway.rest import listing
from prepaid.gateway.rest.access import Caller, IdempotencyKey
from prepaid.gateway.rest.answers import ClosedData, NewSessionData, Page, SessionData
from prepaid.gateway.rest.bodies import BodyRoute
from prepaid.gateway.rest.paging import Cursor, Limit, after_of
from prepaid.gateway.rest.shapes import NewSession, StartedSession
from prepaid.records import KeyKind
from prepaid.sessions.session import Session

__all__ = ["router"]

router = APIRouter(tags=["sessions"], route_class=BodyRoute)

Status = Literal["active", "paused", "closed", "expired"]


@router.post("/sessions", status_code=201)
async def create_session(caller: Caller, wanted: NewSession, key: IdempotencyKey = None) -> NewSessionData:
    """Open a session with money from outside. A user opens empty ones; only the operator funds them."""
    owner = caller.user(wanted.user_id)
    if wanted.fund is not None:
        caller.require(KeyKind.OPERATOR)
    session = await caller.manager.create_session(
        owner,
        wanted.fund,
        session_name=wanted.name,
        metadata=wanted.metadata,
        preferences=wanted.preferences,
        tags=wanted.tags,
        expires_at=wanted.expires_at,
        auto_save=wanted.auto_save,
        key=key,
        issuer=caller.record,
    )
    return NewSessionData.of(session)


@router.post("/sessions/start", status_code=201)
async def start_session(caller: Caller, wanted: StartedSession, key: IdempotencyKey = None) -> NewSessionData:
    """Open a session with the user's deposit, or a part of it."""
    owner = caller.user(wanted.user_id)
    made = await caller.manager.start_user_session(owner, wanted.amount, key=key, issuer=caller.record)
    return NewSessionData.of(made)


@router.get("/sessions", response_model=Page[SessionData])
async def list_sessions(
    caller: Caller,
    user_id: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
    status: Status | None = None,
    tag: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The caller's sessions, newest first; for the operator everybody's, or a user's."""
    owner = caller.anybody(user_id)

    async def fetch(before: str | None, rows: int) -> list[Session]:
        if owner is None:
            return await caller.manager.list_sessions(status=status, tag=tag, limit=rows, before=before)
        return await caller.manager.get_user_sessions(
            owner, status=status, tag=tag, limit=rows, before=before
        )

    before = after_of(cursor, "sessions")
    return await listing.page(
        caller, fetch, SessionData.of, lambda each: each.session_id, before, limit, "sessions"
    )


@router.get("/sessions/{session_id}")
async def get_session(caller: Caller, session_id: str) -> SessionData:
    """A session and its balances."""
    return SessionData.of(caller.session(session_id))


@router.post("/sessions/{session_id}/pause")
async def pause_session(caller: Caller, session_id: str, key: IdempotencyKey = None) -> SessionData:
    """Let it spend nothing until it is resumed."""
    session = caller.owned(session_id)
    await session.pause(key=key)
    return SessionData.of(session)


@router.post("/sessions/{session_id}/resume")
async def resume_session(caller: Caller, session_id: str, key: IdempotencyKey = None) -> SessionData:
    """Let it spend again."""
    session = caller.owned(session_id)
    await session.resume(key=key)
    return SessionData.of(session)


@router.post("/sessions/{session_id}/close")
async def close_session(caller: Caller, session_id: str, key: IdempotencyKey = None) -> ClosedData:
    """End it: what is free is refunded at once, what is held as soon as it settles."""
    closed = await caller.owned(session_id).close(key=key)
    return ClosedData(session_id=closed.session_id, refunded=closed.refunded, held=closed.held)


@router.post("/sessions/{session_id}/restart", status_code=201)
async def restart_session(caller: Caller, session_id: str, key: IdempotencyKey = None) -> NewSessionData:
    """Close it, and open another with what it refunds, in one."""
    session = caller.owned(session_id)
    made = await caller.manager.restart_session(
        session.session_id, session.user_id, key=key, issuer=caller.record
    )
    return NewSessionData.of(made)


@router.get("/sessions/{session_id}/stats")
async def get_session_stats(caller: Caller, session_id: str) -> dict[str, Any]:
    """A session in numbers (spec B10, C8)."""
    return asdict(await caller.session(session_id).get_stats())


@router.get("/sessions/{session_id}/usage", response_model=list[dict[str, Any]])
async def get_session_usage(caller: Caller, session_id: str) -> Response:
    """What it spent by day, chat, model and spender (spec A7)."""
    session = caller.session(session_id)
    return await listing.report(caller, session.get_usage, listing.listed)


@router.get("/sessions/{session_id}/statement", response_class=JSONResponse)
async def get_statement(caller: Caller, session_id: str) -> Response:
    """Every movement of its money, chained by hash: `prepaid verify` checks the file (spec D4)."""
    session = caller.owned(session_id)
    named = {"Content-Disposition": f'attachment; filename="{session_id}.statement.json"'}
    return await listing.report(caller, session.get_statement, listing.statement, named)
