"""API keys over REST: made, listed, rotated, revoked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from prepaid.gateway.rest.access import Access, Caller, IdempotencyKey
from prepaid.gateway.rest.answers import Page
from prepaid.gateway.rest.bodies import BodyRoute
from prepaid.gateway.rest.paging import Cursor, Limit, number_of, page_of
from prepaid.gateway.rest.shapes import NewKey, Rotation
from prepaid.records import ApiKeyRecord, KeyKind
from prepaid.sessions.key_ring import IssuedKey
from prepaid.sessions.values import as_time

__all__ = ["router"]

router = APIRouter(tags=["keys"], route_class=BodyRoute)

_ID = "pp_ses_01m7y6qkv88hxy3a7ak1pr.2"


class KeyData(BaseModel):
    """An API key without its secret. ``spent`` and ``reserved`` are counted where there is a ``cap``."""

    key_id: str = Field(examples=[_ID])
    kind: str = Field(examples=["session"])
    user_id: str | None = Field(examples=["ann"])
    session_id: str | None = Field(examples=["ses_01m7y6qkv88hxy3a7ak1pr"])
    name: str = Field(examples=["notebook"])
    cap: int | None = Field(examples=[500_000])
    reserved: int = Field(examples=[0])
    spent: int = Field(examples=[2_000])
    models: list[str] | None = Field(examples=[["offline"]])
    created_at: datetime = Field(examples=["2030-01-01T12:00:00Z"])
    expires_at: datetime | None = Field(examples=[None])
    revoked_at: datetime | None = Field(examples=[None])

    @classmethod
    def of(cls, record: ApiKeyRecord) -> Self:
        """A key as it is kept."""
        return cls(**_fields(record))


class IssuedKeyData(KeyData):
    """A key with its secret, shown once: a retry with the same idempotency key gets null."""

    api_key: str | None = Field(examples=[f"{_ID}_kq3Zr0c1f0Yy7m2b5TQ8v9XwLsJd4EaN"])


@router.post("/keys", status_code=201)
async def create_key(caller: Caller, wanted: NewKey, key: IdempotencyKey = None) -> IssuedKeyData:
    """Make a key, shown this once: of a session, of a user, or (with neither) of the operator.

    It is no wider than the key that asks: models, expiry and cap are cut to that key's.
    """
    whose = _whose(caller, wanted.user_id, wanted.session_id)
    made = await caller.manager.create_api_key(
        **whose,
        name=wanted.name,
        cap=wanted.cap,
        models=wanted.models,
        expires_at=wanted.expires_at,
        key=key,
        issuer=caller.record,
    )
    return _issued(made)


@router.get("/keys")
async def list_keys(
    caller: Caller,
    session_id: Annotated[str | None, Query(max_length=256)] = None,
    user_id: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[KeyData]:
    """Keys, oldest first, those that have ended included: of a session, of a user, or of the operator."""
    whose = _whose(caller, user_id, session_id)
    after = number_of(cursor, "keys") or 0
    found = caller.manager.get_api_keys(**whose, after=after, limit=limit + 1)
    return Page.model_validate(page_of(found, limit, "keys", lambda each: each.number, KeyData.of))


@router.get("/keys/self")
async def get_own_key(caller: Caller) -> KeyData:
    """The key that this request was sent with."""
    return KeyData.of(caller.record)


@router.get("/keys/{key_id}")
async def get_key(caller: Caller, key_id: str) -> KeyData:
    """A key by its id, which is the key without its secret."""
    return KeyData.of(caller.manager.get_api_key(key_id, _keeper(caller)))


@router.post("/keys/{key_id}/rotate")
async def rotate_key(
    caller: Caller, key_id: str, wanted: Rotation, key: IdempotencyKey = None
) -> IssuedKeyData:
    """Give a key another secret. The one before stops working at once, or after a grace."""
    owner = _keeper(caller)
    made = await caller.manager.rotate_api_key(
        key_id, owner, grace=wanted.grace_seconds, key=key, issuer=caller.record
    )
    return _issued(made)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(caller: Caller, key_id: str, key: IdempotencyKey = None) -> KeyData:
    """End a key for good."""
    owner = _keeper(caller)
    return KeyData.of(await caller.manager.revoke_api_key(key_id, owner, key=key, issuer=caller.record))


def _keeper(caller: Access) -> str | None:
    """Whose keys the caller keeps; ``None`` is everybody's.

    Raises:
        PermissionDenied: a session's key keeps none.
    """
    caller.require(KeyKind.USER, KeyKind.OPERATOR)
    record = caller.record
    return None if record.kind is KeyKind.OPERATOR else record.owner


def _whose(caller: Access, user_id: str | None, session_id: str | None) -> dict[str, str | None]:
    owner = _keeper(caller)
    if session_id is not None:
        session = caller.session(session_id)
        if user_id is not None:
            caller.user(user_id)
        return {"session_id": session.session_id, "user_id": user_id or owner}
    return {"user_id": caller.anybody(user_id)}


def _issued(made: IssuedKey) -> IssuedKeyData:
    return IssuedKeyData(**_fields(made.record), api_key=made.api_key)


def _fields(record: ApiKeyRecord) -> dict[str, Any]:
    return {
        "key_id": record.key_id,
        "kind": record.kind.value,
        "user_id": record.owner or None,
        "session_id": record.holder if record.kind is KeyKind.SESSION else None,
        "name": record.name,
        "cap": record.cap,
        "reserved": record.reserved,
        "spent": record.spent,
        "models": None if record.models is None else list(record.models),
        "created_at": as_time(record.created_ms),
        "expires_at": None if record.expires_ms is None else as_time(record.expires_ms),
        "revoked_at": None if record.revoked_ms is None else as_time(record.revoked_ms),
    }
