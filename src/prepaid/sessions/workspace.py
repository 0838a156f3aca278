"""What the handles of one manager share: the runtime's parts, events, turn locks, live agent parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from prepaid.models.contract import Model
from prepaid.runtime import Runtime
from prepaid.sessions.agent_config import AgentConfig
from prepaid.sessions.events import EventBus
from prepaid.store.operations import Limits

if TYPE_CHECKING:
    from prepaid.sessions.saver import Saver

__all__ = ["Workspace"]

_NOTHING_ATTACHED = AgentConfig()


class Workspace:
    """Handed to every ``Session`` and ``Chat``, which keep nothing else."""

    def __init__(self, runtime: Runtime) -> None:
        self.settings = runtime.settings
        self.logger = runtime.logger
        self.store = runtime.store
        self.ledger = runtime.ledger
        self.meter = runtime.meter
        self.turns = runtime.turns
        self.catalogue = runtime.catalogue
        self.models = runtime.models
        self.events = EventBus(runtime.logger)
        self.own_nodes: dict[str, tuple[str, Model]] = {}
        self.saver: Saver | None = None
        self._turn_locks: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()
        self._attached: dict[tuple[str, int], AgentConfig] = {}

    def turn_lock(self, session_id: str, chat_no: int) -> asyncio.Lock:
        """The queue in which this process's turns of one chat stand; first come, first served."""
        key = (session_id, chat_no)
        lock = self._turn_locks.get(key)
        if lock is None:
            lock = self._turn_locks[key] = asyncio.Lock()
        return lock

    def attach(self, session_id: str, chat_no: int, config: AgentConfig) -> None:
        """Remember a chat's live parts, as long as there are any."""
        if config.needs_agent or config.providers or config.debug:
            self._attached[session_id, chat_no] = config
        else:
            self._attached.pop((session_id, chat_no), None)

    def attached(self, session_id: str, chat_no: int) -> AgentConfig:
        """A chat's live parts in this process."""
        return self._attached.get((session_id, chat_no), _NOTHING_ATTACHED)

    def detach(self, session_id: str) -> None:
        """Forget the live parts of a closed session's chats."""
        for key in [key for key in self._attached if key[0] == session_id]:
            del self._attached[key]

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
