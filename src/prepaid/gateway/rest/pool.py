"""The shared pool over REST (spec B7, B8)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from prepaid.gateway.rest.access import Caller, IdempotencyKey
from prepaid.gateway.rest.bodies import BodyRoute
from prepaid.gateway.rest.shapes import LeaseWanted, PoolOffer
from prepaid.records import KeyKind
from prepaid.sessions.leased import LeasedSession

__all__ = ["router"]

router = APIRouter(tags=["pool"], route_class=BodyRoute)


class PoolData(BaseModel):
    """How many sessions are pooled, how many of them on lease, and how many there may be."""

    pooled: int = Field(examples=[3])
    leased: int = Field(examples=[1])
    capacity: int = Field(examples=[5])


class LeaseData(BaseModel):
    """A pooled session in the caller's hands. Send ``lease_id`` as ``X-Prepaid-Lease``."""

    lease_id: str = Field(examples=["lease_01m7y6qkv88hxy3a7ak1pr"])
    session_id: str = Field(examples=["ses_01m7y6qkv88hxy3a7ak1pr"])
    cap: int | None = Field(examples=[500_000])
    spent: int = Field(examples=[0])
    currency: str = Field(examples=["USD"])
    expires_at: datetime = Field(examples=["2030-01-01T12:00:00Z"])

    @classmethod
    def of(cls, leased: LeasedSession) -> Self:
        """The lease as it is now."""
        return cls(
            lease_id=leased.lease.lease_id,
            session_id=leased.session_id,
            cap=leased.lease.cap,
            spent=leased.spent,
            currency=leased.asset,
            expires_at=leased.expires_at,
        )


@router.get("/pool")
async def get_pool_status(caller: Caller) -> PoolData:
    """How full the pool is."""
    return PoolData(**asdict(caller.manager.get_pool_status()))


@router.put("/sessions/{session_id}/pool")
async def add_to_pool(
    caller: Caller, session_id: str, offer: PoolOffer, key: IdempotencyKey = None
) -> PoolData:
    """Share a session: others may lease it."""
    await caller.sharing(session_id).add_to_pool(cap=offer.cap, key=key)
    return PoolData(**asdict(caller.manager.get_pool_status()))


@router.delete("/sessions/{session_id}/pool", status_code=204)
async def remove_from_pool(caller: Caller, session_id: str, key: IdempotencyKey = None) -> None:
    """Stop sharing it; a lease that runs ends at its deadline."""
    await caller.owned(session_id).remove_from_pool(key=key)


@router.post("/pool/leases", status_code=201)
async def take_from_pool(caller: Caller, wanted: LeaseWanted, key: IdempotencyKey = None) -> LeaseData:
    """Lease the session that has waited longest."""
    caller.require(KeyKind.USER)
    leased = await caller.manager.get_from_pool(caller.record.owner, lasts=wanted.lasts_seconds, key=key)
    return LeaseData.of(leased)


@router.get("/sessions/{session_id}/leases/{lease_id}")
async def get_lease(caller: Caller, session_id: str, lease_id: str) -> LeaseData:
    """A lease of the caller's, as long as it runs."""
    caller.require(KeyKind.USER)
    return LeaseData.of(caller.manager.lease_of(caller.record, session_id, lease_id))


@router.delete("/sessions/{session_id}/leases/{lease_id}", status_code=204)
async def give_back(caller: Caller, session_id: str, lease_id: str, key: IdempotencyKey = None) -> None:
    """End a lease; the next taker may have the session."""
    caller.require(KeyKind.USER)
    await caller.manager.give_back(caller.record.owner, session_id, lease_id, key=key)
