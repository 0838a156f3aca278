"""Statistics and configuration over REST (spec A7, B10, B11, C9, D4)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from prepaid.gateway.rest import listing
from prepaid.gateway.rest.access import Access, Caller, IdempotencyKey, IfMatch, unquoted
from prepaid.gateway.rest.bodies import BodyRoute
from prepaid.gateway.rest.shapes import ConfigChange
from prepaid.records import KeyKind

__all__ = ["router"]

router = APIRouter(tags=["reports"], route_class=BodyRoute)


class ConfigData(BaseModel):
    """The configuration that can be changed while we run. Its ETag changes with it."""

    minimum_balance: int = Field(examples=[0])
    session_timeout_seconds: float = Field(examples=[86_400])
    pool_size: int = Field(examples=[5])
    currency: str = Field(examples=["USD"])


@router.get("/stats")
async def get_system_stats(caller: Caller) -> dict[str, Any]:
    """All active sessions in numbers; the operator's to see."""
    caller.require(KeyKind.OPERATOR)
    with caller.reporting():
        return asdict(await caller.manager.get_system_stats())


@router.get("/users/{user_id}/activity")
async def get_user_activity(caller: Caller, user_id: str) -> dict[str, Any]:
    """One user's sessions in numbers."""
    whose = caller.user(user_id)
    with caller.reporting():
        return asdict(await caller.manager.get_user_activity(whose))


@router.get("/usage", response_model=list[dict[str, Any]])
async def get_usage(
    caller: Caller,
    user_id: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
    days: Annotated[int, Query(ge=1, le=3_650, description="Of the last so many days (UTC).")] = 30,
) -> Response:
    """What the caller's sessions spent by day and model; for the operator everybody's, or a user's."""
    owner = caller.anybody(user_id)
    return await listing.report(caller, lambda: caller.manager.get_usage(owner, days=days), listing.listed)


@router.get("/config")
async def get_config(caller: Caller, response: Response) -> ConfigData:
    """The configuration, with its ETag; the operator's to see."""
    caller.require(KeyKind.OPERATOR)
    return _config(caller, response)


@router.patch("/config")
async def update_config(
    caller: Caller,
    change: ConfigChange,
    response: Response,
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> ConfigData:
    """Change the configuration for every process from now on (spec B11)."""
    caller.require(KeyKind.OPERATOR)
    seconds = change.session_timeout_seconds
    await caller.manager.update_config(
        minimum_balance=change.minimum_balance,
        session_timeout=None if seconds is None else timedelta(seconds=seconds),
        pool_size=change.pool_size,
        version=unquoted(if_match),
        key=key,
    )
    return _config(caller, response)


@router.get("/audit")
async def audit_books(caller: Caller) -> dict[str, Any]:
    """Whether the whole database says one thing. Reads all of it; the operator's to ask."""
    caller.require(KeyKind.OPERATOR)
    with caller.reporting():
        report = await caller.manager.audit()
    return {
        "is_clean": report.is_clean,
        "accounts": report.accounts,
        "lines": report.lines,
        "findings": [str(finding) for finding in report.findings],
    }


def _config(caller: Access, response: Response) -> ConfigData:
    running = caller.manager.get_config()
    response.headers["ETag"] = f'"{running.version}"'
    return ConfigData(
        minimum_balance=running.minimum_balance,
        session_timeout_seconds=running.session_timeout.total_seconds(),
        pool_size=running.pool_size,
        currency=caller.manager.settings.currency,
    )
