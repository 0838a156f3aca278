"""Single requests over REST: fee, routing, batches, answers to be fetched later (spec A3-A14, B3, B13)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header
from fastapi import Request as HttpRequest
from fastapi.responses import Response
from pydantic import BaseModel, Field

from prepaid.errors import PrepaidError
from prepaid.gateway.rest import listing
from prepaid.gateway.rest.access import PREFIX, Access, Caller, IdempotencyKey
from prepaid.gateway.rest.answers import Page
from prepaid.gateway.rest.bodies import BodyRoute
from prepaid.gateway.rest.paging import Cursor, Limit, after_of
from prepaid.gateway.rest.problems import problem_of
from prepaid.gateway.rest.shapes import BatchWanted, RequestWanted
from prepaid.records import KeyKind
from prepaid.routing import Aggregation, Routing, system_validated_any
from prepaid.sessions.ai_requests import AIRequest, Fee
from prepaid.sessions.fetching import StoredRequest
from prepaid.sessions.session import Session

__all__ = ["router"]

router = APIRouter(tags=["requests"], route_class=BodyRoute)

Prefer = Annotated[
    str | None,
    Header(
        alias="Prefer",
        max_length=256,
        description="`respond-async` answers with 202 at once; fetch the answer later.",
        examples=["respond-async"],
    ),
]
_ASYNC = "respond-async"


class RequestData(BaseModel):
    """A single request (spec A14). ``message`` is the answer, or why there is none; that costs nothing."""

    session_id: str = Field(examples=["ses_01m7y6qkv88hxy3a7ak1pr"])
    request_id: str = Field(examples=["req_01m7y6qm0c2t9s3v5w8x1z"])
    status: str = Field(examples=["SUCCESS"], description="PENDING, SUCCESS, FAILED or TIMEOUT.")
    message: str = Field(examples=["A book of accounts."])
    error: str | None = Field(examples=[None])
    model: str | None = Field(examples=["offline"])
    nodes: list[str] = Field(examples=[["offline"]])
    answers: dict[str, str] = Field(examples=[{"offline": "A book of accounts."}])
    cost: int = Field(examples=[2_000])
    created_at: datetime = Field(examples=["2030-01-01T12:00:00Z"])
    ended_at: datetime | None = Field(examples=["2030-01-01T12:00:01Z"])

    @classmethod
    def of(cls, stored: StoredRequest) -> Self:
        """A request as it stands."""
        response = stored.response
        return cls(
            session_id=stored.session_id,
            request_id=stored.request_id,
            status=stored.status.name,
            message=stored.message,
            error=stored.error,
            model=None if response is None else response.model,
            nodes=[] if response is None else list(response.nodes),
            answers={} if response is None else dict(response.answers),
            cost=0 if response is None else response.cost,
            created_at=stored.created_at,
            ended_at=stored.ended_at,
        )


class BatchData(BaseModel):
    """What came of each request of a batch, in its order: the request, or a problem."""

    results: list[dict[str, Any]] = Field(
        examples=[[{"status": "SUCCESS", "message": "A book of accounts."}]]
    )


@router.post("/requests", status_code=201, responses={202: {"model": RequestData}})
async def make_request(
    caller: Caller,
    wanted: RequestWanted,
    response: Response,
    prefer: Prefer = None,
    key: IdempotencyKey = None,
) -> RequestData:
    """Ask once, the session managed: the newest with money in it, or one from the deposit (spec B2, A4)."""
    caller.require(KeyKind.USER, KeyKind.SESSION)
    asked = _as_request(wanted, key)
    return await _asked(caller, await _any_session(caller, asked), asked, response, prefer)


@router.post("/sessions/{session_id}/requests", status_code=201, responses={202: {"model": RequestData}})
async def make_session_request(
    caller: Caller,
    session_id: str,
    wanted: RequestWanted,
    response: Response,
    prefer: Prefer = None,
    key: IdempotencyKey = None,
) -> RequestData:
    """Ask once, paid by this session."""
    return await _asked(caller, caller.spending(session_id), _as_request(wanted, key), response, prefer)


@router.post("/sessions/{session_id}/batches")
async def make_batch(
    http: HttpRequest, caller: Caller, session_id: str, wanted: BatchWanted, key: IdempotencyKey = None
) -> BatchData:
    """Several requests; each succeeds or fails on its own, and has its own part of the key.

    As many are asked at once as the API key has room for, the others after them.
    """
    session = caller.spending(session_id)
    asked = [
        _as_request(each, None if key is None else f"{key}.{number}")
        for number, each in enumerate(wanted.requests)
    ]
    with caller.slot() as slot:
        room = asyncio.Semaphore(slot.spread(len(asked)))

        async def submitted(each: AIRequest) -> StoredRequest:
            async with room:
                return await caller.manager.submit_request(session, each)

        outcomes = await asyncio.gather(*map(submitted, asked), return_exceptions=True)
    return BatchData(results=[_outcome(http, each) for each in outcomes])


@router.get("/sessions/{session_id}/requests", response_model=Page[RequestData])
async def list_requests(
    caller: Caller, session_id: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """A session's requests, newest first."""
    session = caller.session(session_id)

    async def fetch(before: str | None, rows: int) -> list[StoredRequest]:
        return caller.manager.get_requests(session, before=before, limit=rows)

    before = after_of(cursor, "requests")
    return await listing.page(
        caller, fetch, RequestData.of, lambda each: each.request_id, before, limit, "requests"
    )


@router.get("/sessions/{session_id}/requests/{request_id}")
async def fetch_response(caller: Caller, session_id: str, request_id: str) -> RequestData:
    """A request as it stands: PENDING, SUCCESS, FAILED or TIMEOUT (spec A14)."""
    return RequestData.of(caller.manager.fetch_response(caller.session(session_id), request_id))


async def _any_session(caller: Access, asked: AIRequest) -> Session:
    """The session of a session's key; of a user's, the one that the request is, or gets, bound to."""
    record = caller.record
    if record.kind is KeyKind.SESSION:
        return caller.spending(record.holder)
    found = await caller.manager.paying_session(record.owner, asked=asked, issuer=record)
    return caller.spending(found.session_id)


async def _asked(
    caller: Access,
    session: Session,
    asked: AIRequest,
    response: Response,
    prefer: str | None,
) -> RequestData:
    if prefer is not None and _ASYNC in {each.strip().lower() for each in prefer.split(",")}:
        with ExitStack() as held:  # until it has ended
            caller.hand_over(held.enter_context(caller.slot()))
            stored = await caller.manager.start_request(session, asked, held)
        response.status_code = 202
        response.headers["Preference-Applied"] = _ASYNC
    else:
        with caller.slot():
            stored = await caller.manager.submit_request(session, asked)
        if stored.response is not None:
            caller.paid(stored.response.model, stored.response.cost)
    response.headers["Location"] = f"{PREFIX}/sessions/{stored.session_id}/requests/{stored.request_id}"
    return RequestData.of(stored)


def _outcome(http: HttpRequest, outcome: StoredRequest | BaseException) -> dict[str, Any]:
    if isinstance(outcome, StoredRequest):
        return RequestData.of(outcome).model_dump(mode="json")
    if isinstance(outcome, PrepaidError):
        return problem_of(http, outcome)
    raise outcome


def _as_request(wanted: RequestWanted, key: str | None) -> AIRequest:
    fee, routing = wanted.fee, wanted.routing
    return AIRequest(
        wanted.prompt,
        wanted.model,
        routing=system_validated_any()
        if routing is None
        else Routing(
            trust_namespaces=tuple(routing.trust_namespaces),
            trusted_nodes=tuple(routing.trusted_nodes),
            redundancy=routing.redundancy,
            confidence=routing.confidence,
            aggregation=Aggregation[routing.aggregation],
        ),
        fee=None if fee is None else Fee(fee.per_request_byte, fee.per_response_byte, fee.response_max),
        max_output_tokens=wanted.max_output_tokens,
        timeout_seconds=wanted.timeout_seconds,
        key=key,
    )
