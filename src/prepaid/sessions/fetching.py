"""Single requests that are kept, so that their answers can be fetched later (spec A14, A17)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from prepaid.errors import (
    ConcurrencyLimitReached,
    ConsensusTimeout,
    ManagerClosed,
    PrepaidError,
    ProviderTimeout,
    RequestInProgress,
    RequestNotFound,
    StoreError,
)
from prepaid.ledger import fingerprint, new_id
from prepaid.meter.call import to_the_end
from prepaid.records import RequestRecord, RequestState
from prepaid.sessions.ai_requests import AIRequest, AIResponse, Asking
from prepaid.sessions.session import Session
from prepaid.sessions.values import as_milliseconds, as_time, check_count, check_id
from prepaid.store.operations import BeginRequest, EndRequest, RetryRequest

__all__ = ["BACKGROUND_MAX", "Fetching", "StoredRequest"]

_SETTLING_MS: Final = 30_000
"""How much longer than its nodes have a request may take, before it counts as lost in a crash."""

BACKGROUND_MAX: Final = 100
"""How many requests of one owner, in all sessions, one process asks in the background at once."""

_INTERRUPTED: Final = {
    "code": "interrupted",
    "message": "It was interrupted, and cost nothing. Ask again.",
}
_TIMEOUT_MS_MAX: Final = 3_600_000
_PAGE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request as it stands: ``message`` is the answer's text, or why there is none.

    ``response`` is there once ``status`` is SUCCESS, ``error`` is the code where it FAILED or ran into
    its TIMEOUT; then it has cost nothing. ``response.available`` is as of now.
    """

    session_id: str
    request_id: str
    status: RequestState
    message: str
    response: AIResponse | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None


class Fetching(Asking):
    """The part of ``SessionManager`` that keeps requests."""

    _asking: set[asyncio.Task[StoredRequest]]
    _background: Counter[str]
    """How many of these each owner has, those that begin included."""

    async def submit_request(self, session: Session, asked: AIRequest) -> StoredRequest:
        """Ask once, paid by this session, and keep the answer.

        With ``asked.key``, one that was answered is not asked again; one that failed is tried anew.

        Raises:
            RequestInProgress: the key's request is still being asked.
            PrepaidError: as ``make_ai_request``; why it failed is kept too.
        """
        with self._workspace.meter.underway.step(spared=1):  # what it asks is broken off, and kept as that
            begun, is_new = await self._begin(session, asked)
            if not is_new and begun.status is RequestState.PENDING:
                raise RequestInProgress(asked.key or begun.request_id)
            return await self._run(session, asked, begun.request_id) if is_new else begun

    async def start_request(
        self, session: Session, asked: AIRequest, held: ExitStack | None = None
    ) -> StoredRequest:
        """The same in the background: what comes back is pending, unless its key was answered before.

        What still runs when the manager is shut down fails, and costs nothing. What ``held`` holds is taken
        over by what runs, and let go of when that has ended.

        Raises:
            ConcurrencyLimitReached: this process asks as many for the session's owner already.
            ManagerClosed: the manager is shut down.
        """
        owner = session.user_id
        if self._background[owner] >= BACKGROUND_MAX:
            raise ConcurrencyLimitReached("background_max", BACKGROUND_MAX)
        underway = self._workspace.meter.underway
        with (
            ExitStack() as ours,
            underway.step(spared=1),
        ):  # what is begun is either asked, or kept as not asked
            self._background[owner] += 1
            ours.callback(self._ended, owner)
            begun, is_new = await self._begin(session, asked)
            if is_new and underway.is_stopping:
                await self._end(session, begun.request_id, RequestState.FAILED, _INTERRUPTED)
                raise ManagerClosed
            if is_new:
                if held is not None:
                    ours.push(held.pop_all())
                taken_over = ours.pop_all()
                running = self._run(session, asked, begun.request_id)
                task = asyncio.get_running_loop().create_task(running)
                self._asking.add(task)
                task.add_done_callback(self._forget)
                task.add_done_callback(lambda _: taken_over.close())
        return begun

    def _ended(self, owner: str) -> None:
        self._background[owner] -= 1
        if not self._background[owner]:
            del self._background[owner]

    def fetch_response(self, session: Session, request_id: str) -> StoredRequest:
        """A request of this session, as it stands now.

        Raises:
            RequestNotFound: the session has no such request.
        """
        reads = self._workspace.store.reads
        record = reads.request(session.session_id, request_id) if check_id(request_id) else None
        if record is None:
            raise RequestNotFound(request_id)
        return self._as_of_now(record, session.available)

    def get_requests(
        self, session: Session, *, before: str | None = None, limit: int = 100
    ) -> list[StoredRequest]:
        """A page of a session's requests, newest first; ``before`` is the last id of the page before."""
        check_count(limit, "limit", 1, _PAGE_MAX)
        found = self._workspace.store.reads.requests(session.session_id, before=before, limit=limit)
        available = session.available
        return [self._as_of_now(each, available) for each in found]

    async def stop_asking(self, seconds: float) -> None:
        """Break off what runs in the background, and wait for it, up to ``seconds``."""
        await asyncio.sleep(0)  # a task that is cancelled before it has begun cannot say so
        running = list(self._asking)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=seconds)

    async def _begin(self, session: Session, asked: AIRequest) -> tuple[StoredRequest, bool]:
        """The request, and whether it is now to be asked."""
        lasts_ms = as_milliseconds(asked.timeout_seconds, "timeout_seconds", _TIMEOUT_MS_MAX) + _SETTLING_MS
        deadline_ms = self._workspace.store.clock() + lasts_ms
        work = BeginRequest(session.session_id, session.user_id, new_id("req"), deadline_ms)
        done = await self._workspace.submit_once(work, asked.key, fingerprint("request", *asked.content))
        is_new = not done.replayed
        if done.replayed and self.fetch_response(session, done.value).status is not RequestState.SUCCESS:
            again = RetryRequest(session.session_id, done.value, deadline_ms)
            is_new = await self._workspace.store.submit(again)
        return self.fetch_response(session, done.value), is_new

    async def _run(self, session: Session, asked: AIRequest, request_id: str) -> StoredRequest:
        async def keep(response: AIResponse) -> None:
            await self._end(session, request_id, RequestState.SUCCESS, asdict(response))

        try:
            await self.ask(session, replace(asked, key=None), request_id, keep)
        except PrepaidError as error:
            is_late = isinstance(error, ConsensusTimeout | ProviderTimeout)
            state = RequestState.TIMEOUT if is_late else RequestState.FAILED
            message = error.public if isinstance(error, StoreError) else str(error)
            await self._end(session, request_id, state, {"code": error.code, "message": message})
            raise
        except asyncio.CancelledError:
            await self._end(session, request_id, RequestState.FAILED, _INTERRUPTED)
            raise
        return self.fetch_response(session, request_id)

    async def _end(self, session: Session, request_id: str, state: RequestState, outcome: Any) -> None:
        kept = json.dumps(outcome, ensure_ascii=False)
        await to_the_end(
            self._workspace.store.submit(EndRequest(session.session_id, request_id, state, kept))
        )

    def _forget(self, task: asyncio.Task[StoredRequest]) -> None:
        self._asking.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, PrepaidError):  # of ours, the reason is kept
            self._workspace.logger.error("a request failed unexpectedly", exc_info=error)

    def _as_of_now(self, record: RequestRecord, available: int) -> StoredRequest:
        outcome = {} if record.outcome is None else json.loads(record.outcome)
        state, response, error, message = record.state, None, None, ""
        if state is RequestState.SUCCESS:
            response = AIResponse(**{**outcome, "nodes": tuple(outcome["nodes"]), "available": available})
            message = response.text
        elif state is not RequestState.PENDING:
            error, message = outcome["code"], outcome["message"]
        elif record.deadline_ms <= self._workspace.store.clock():
            state, error, message = RequestState.TIMEOUT, "interrupted", "It was lost in a crash. Ask again."
        return StoredRequest(
            record.session_id,
            record.request_id,
            state,
            message,
            response,
            error,
            as_time(record.created_ms),
            None if record.ended_ms is None else as_time(record.ended_ms),
        )
