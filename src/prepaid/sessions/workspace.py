"""What the handles of one manager share: the runtime's parts, events, turn locks, live agent parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakValueDictionary

from prepaid.ledger import check_key
from prepaid.models.contract import Model
from prepaid.records import Account, SessionState
from prepaid.runtime import Runtime
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.events import EventBus, SessionClosed
from prepaid.store.operations import Closed, Done, Limits, Once, Operation
from prepaid.store.spaces import key_in_space

if TYPE_CHECKING:
    from prepaid.agents import ChatAgent

if TYPE_CHECKING:
    from prepaid.sessions.saver import Saver

__all__ = ["Workspace"]

ResultT = TypeVar("ResultT")
_NOTHING_ATTACHED: Final = AgentConfig()
_ATTACHED_AT_LEAST: Final = 64


class Workspace:
    """Handed to every ``Session`` and ``Chat``, which keep nothing else."""

    def __init__(self, runtime: Runtime) -> None:
        self.settings = runtime.settings
        self.logger = runtime.logger
        self.store = runtime.store
        self.ledger = runtime.ledger
        self.meter = runtime.meter
        self.turns = runtime.turns
        self.relay = runtime.relay
        self.catalogue = runtime.catalogue
        self.models = runtime.models
        self.events = EventBus(runtime.logger)
        self.own_nodes: dict[str, tuple[str, Model]] = {}
        self.saver: Saver | None = None
        self.agents: dict[tuple[str, int], ChatAgent] = {}
        self._turn_locks: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()
        self._attached: dict[str, dict[int, AgentConfig]] = {}
        self._attached_max = _ATTACHED_AT_LEAST

    async def change(self, change: Awaitable[ResultT], then: Callable[[ResultT], None]) -> ResultT:
        """Await a change. ``then`` gets its result once it is durable, even if the caller is cancelled."""

        def tell(done: asyncio.Future[ResultT]) -> None:
            if not done.cancelled() and done.exception() is None:
                then(done.result())

        queued = asyncio.ensure_future(change)
        queued.add_done_callback(tell)
        return await asyncio.shield(queued)

    async def submit_once(
        self,
        work: Operation,
        key: str | None,
        content: bytes,
        *,
        scope: str | None = None,
        lease_id: str | None = None,
    ) -> Done:
        """Apply ``work``; with an idempotency key, once for this content (spec D3).

        ``scope`` is whose key it is, where that is not the session that ``work`` changes; with ``lease_id``,
        it is the lease's own.

        Raises:
            IdempotencyConflict: the key stands for something else.
        """
        if key is None:
            return Done(await self.store.submit(work))
        kept = key_in_space(check_key(key), lease_id)
        once = Once(work.session_id if scope is None else scope, kept, content, work)
        done: Done = await self.store.submit(once)
        return done

    def turn_lock(self, session_id: str, chat_no: int) -> asyncio.Lock:
        """The queue in which this process's turns of one chat stand; first come, first served."""
        key = (session_id, chat_no)
        lock = self._turn_locks.get(key)
        if lock is None:
            lock = self._turn_locks[key] = asyncio.Lock()
        return lock

    def attach(self, session_id: str, chat_no: int, config: AgentConfig) -> None:
        """Remember a chat's live parts, as long as there are any."""
        self.agents.pop((session_id, chat_no), None)
        if config.needs_agent or config.providers or config.debug:
            self._attached.setdefault(session_id, {})[chat_no] = config
            if len(self._attached) > self._attached_max:
                self._forget_ended()
        else:
            self._attached.get(session_id, {}).pop(chat_no, None)

    def attached(self, session_id: str, chat_no: int) -> AgentConfig:
        """A chat's live parts in this process."""
        return self._attached.get(session_id, {}).get(chat_no, _NOTHING_ATTACHED)

    def detach(self, session_id: str) -> None:
        """Forget the live parts of a closed session's chats."""
        for chat_no in self._attached.pop(session_id, {}):
            self.agents.pop((session_id, chat_no), None)

    def _forget_ended(self) -> None:
        """Forget sessions that other processes closed, each time there are twice as many as were left."""
        for session_id in list(self._attached):
            account = self.store.reads.account(session_id)
            if account is None or account.state >= SessionState.CLOSED:
                self.detach(session_id)
        self._attached_max = max(2 * len(self._attached), _ATTACHED_AT_LEAST)

    def tell_closed(self, closed: Closed) -> None:
        """A session has ended: forget its chats' live parts, and say so."""
        self.detach(closed.session_id)
        self.events.emit(
            SessionClosed(closed.session_id, closed.owner, closed.refunded, closed.held, closed.expired)
        )

    def state_of(self, account: Account) -> SessionState:
        """A session's state as of now: past its expiry it is expired, though no clean-up came by yet."""
        live = account.state < SessionState.CLOSED
        if live and account.expires_ms is not None and account.expires_ms <= self.store.clock():
            return SessionState.EXPIRED
        return account.state

    def setting(self, name: str) -> int:
        """A number that ``update_config`` may have changed, in any process."""
        stored = self.store.reads.settings().get(name)
        if stored is not None:
            return int(stored)
        defaults = {
            "minimum_balance": self.settings.minimum_balance,
            "session_timeout_ms": int(self.settings.sessions.session_timeout.total_seconds() * 1000),
            "pool_size": self.settings.sessions.pool_size,
        }
        return defaults[name]

    @property
    def limits(self) -> Limits:
        """How many there may be."""
        configured = self.settings.sessions
        return Limits(
            active_max=configured.max_active_sessions,
            per_user_max=configured.max_sessions_per_user,
            chats_max=configured.max_chats_per_session,
            pool_max=self.setting("pool_size"),
        )
