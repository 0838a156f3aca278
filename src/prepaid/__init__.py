"""AI sessions that are paid before they are used.

Fund a session, spend it on any number of requests and chats, never a unit more than it holds, and get
back what is left. Start with ``SessionManager``.

Names are loaded when they are first used, so that ``import prepaid`` costs next to nothing.
"""

# ruff: noqa: F401 -- type checkers read the names below; at run time __getattr__ finds them

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prepaid.audit import AuditReport
    from prepaid.errors import MayBill, ProviderFault
    from prepaid.models.catalogue import model_id
    from prepaid.models.contract import Model
    from prepaid.models.offline import OfflineModel
    from prepaid.realms import PaidSession, Realm, open_realm
    from prepaid.records import (
        ApiKeyRecord,
        ChatRequest,
        Finish,
        Message,
        ModelInfo,
        Price,
        PriceTier,
        Role,
        SessionState,
        StoredMessage,
        TextDelta,
        Tool,
        ToolCall,
        Unit,
        Usage,
        UsageLine,
    )
    from prepaid.records.realms import RealmAnswer, RealmRefund, RealmStats
    from prepaid.routing import Aggregation, Routing
    from prepaid.sessions.agent_config import AgentConfig
    from prepaid.sessions.ai_requests import AIRequest, AIResponse, Fee
    from prepaid.sessions.analytics import DailyUsage, SystemStats, UserActivity
    from prepaid.sessions.chat import Chat, ChatStats
    from prepaid.sessions.events import (
        AIRequestFailed,
        AIResponseReceived,
        Event,
        EventStream,
        SessionClosed,
        SessionCreated,
        SessionPooled,
        SessionRenewed,
    )
    from prepaid.sessions.fetching import StoredRequest
    from prepaid.sessions.key_ring import IssuedKey
    from prepaid.sessions.leased import LeasedSession
    from prepaid.sessions.manager import SessionManager
    from prepaid.sessions.persistence import FileAdapter, SessionPersistenceAdapter
    from prepaid.sessions.pooling import PoolStatus
    from prepaid.sessions.postgres_adapter import PostgresAdapter
    from prepaid.sessions.restoring import Recovered
    from prepaid.sessions.session import Session
    from prepaid.sessions.session_view import SessionStats
    from prepaid.sessions.sqlite_adapter import SqliteAdapter
    from prepaid.sessions.upkeep import RunningConfig
    from prepaid.statements import verify_statement
    from prepaid.store.operations import Closed, Funded, Settled
    from prepaid.turns import Answer

from prepaid import errors
from prepaid.errors import *  # noqa: F403 -- every error is public, and errors.__all__ lists them

_HOMES = {
    "AIRequest": "sessions.ai_requests",
    "AIRequestFailed": "sessions.events",
    "AIResponse": "sessions.ai_requests",
    "AIResponseReceived": "sessions.events",
    "AgentConfig": "sessions.agent_config",
    "Aggregation": "routing",
    "Answer": "turns",
    "ApiKeyRecord": "records",
    "AuditReport": "audit",
    "Chat": "sessions.chat",
    "ChatRequest": "records",
    "ChatStats": "sessions.chat",
    "Closed": "store.operations",
    "DailyUsage": "sessions.analytics",
    "Event": "sessions.events",
    "EventStream": "sessions.events",
    "Fee": "sessions.ai_requests",
    "FileAdapter": "sessions.persistence",
    "Finish": "records",
    "Funded": "store.operations",
    "IssuedKey": "sessions.key_ring",
    "LeasedSession": "sessions.leased",
    "MayBill": "errors",
    "Message": "records",
    "Model": "models.contract",
    "ModelInfo": "records",
    "OfflineModel": "models.offline",
    "PaidSession": "realms",
    "PoolStatus": "sessions.pooling",
    "PostgresAdapter": "sessions.postgres_adapter",
    "Price": "records",
    "PriceTier": "records",
    "ProviderFault": "errors",
    "Realm": "realms",
    "RealmAnswer": "records.realms",
    "RealmRefund": "records.realms",
    "RealmStats": "records.realms",
    "Recovered": "sessions.restoring",
    "Role": "records",
    "Routing": "routing",
    "RunningConfig": "sessions.upkeep",
    "Session": "sessions.session",
    "SessionClosed": "sessions.events",
    "SessionCreated": "sessions.events",
    "SessionManager": "sessions.manager",
    "SessionPersistenceAdapter": "sessions.persistence",
    "SessionPooled": "sessions.events",
    "SessionRenewed": "sessions.events",
    "SessionState": "records",
    "SessionStats": "sessions.session_view",
    "Settled": "store.operations",
    "SqliteAdapter": "sessions.sqlite_adapter",
    "StoredMessage": "records",
    "StoredRequest": "sessions.fetching",
    "SystemStats": "sessions.analytics",
    "TextDelta": "records",
    "Tool": "records",
    "ToolCall": "records",
    "Unit": "records",
    "Usage": "records",
    "UsageLine": "records",
    "UserActivity": "sessions.analytics",
    "model_id": "models.catalogue",
    "open_realm": "realms",
    "verify_statement": "statements",
}

__all__ = sorted([*_HOMES, *errors.__all__])  # noqa: PLE0605 -- gathered, so that it cannot drift


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'prepaid' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"prepaid.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
