"""Money over REST: funding sessions, and users' deposits (spec A1, A2, B6).

To say that money has come, or is paid out, is the operator's.
"""

from __future__ import annotations

from fastapi import APIRouter

from prepaid.gateway.rest.access import Access, Caller, IdempotencyKey
from prepaid.gateway.rest.answers import FundedData
from prepaid.gateway.rest.bodies import BodyRoute
from prepaid.gateway.rest.shapes import Funding, OwnerFunding
from prepaid.records import KeyKind
from prepaid.store.operations import Funded

__all__ = ["router"]

router = APIRouter(tags=["money"], route_class=BodyRoute)


@router.post("/sessions/{session_id}/fund")
async def fund_session(
    caller: Caller, session_id: str, money: Funding, key: IdempotencyKey = None
) -> FundedData:
    """Add money to a session, which counts as use of it (spec B6)."""
    session = caller.session(session_id)
    caller.require(KeyKind.OPERATOR)
    return _told(caller, await session.fund(money.amount, key=key))


@router.post("/deposits")
async def deposit(caller: Caller, money: OwnerFunding, key: IdempotencyKey = None) -> FundedData:
    """Put money aside for a user, to start sessions from."""
    caller.require(KeyKind.OPERATOR)
    return _told(caller, await caller.manager.deposit(money.user_id, money.amount, key=key))


@router.post("/withdrawals")
async def withdraw(caller: Caller, money: OwnerFunding, key: IdempotencyKey = None) -> FundedData:
    """Pay out of a user's deposit."""
    caller.require(KeyKind.OPERATOR)
    return _told(caller, await caller.manager.withdraw(money.user_id, money.amount, key=key))


@router.get("/deposits/{user_id}")
async def get_deposit(caller: Caller, user_id: str) -> FundedData:
    """What a user has in deposit."""
    return _told(caller, caller.manager.get_deposit(caller.user(user_id)))


def _told(caller: Access, funded: Funded) -> FundedData:
    currency = caller.manager.settings.currency
    return FundedData(available=funded.available, funded=funded.funded, currency=currency)
