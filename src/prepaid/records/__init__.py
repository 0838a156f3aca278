"""The nouns: frozen records that every layer passes on and none changes.

Amounts are base units of the account's currency; times are milliseconds since the Unix epoch
in database time (``at_ms``) or ``datetime`` in UTC where a user reads them.
"""

from __future__ import annotations

from prepaid.records.keys import NO_LIMITS, OPERATOR, ApiKeyRecord, KeyKind, KeyLimits, holder_of_user
from prepaid.records.ledger import Account, Hold, HoldState, SessionState, Transfer
from prepaid.records.models import (
    ChatRequest,
    Finish,
    FinishReason,
    Message,
    ModelEvent,
    Role,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
)
from prepaid.records.prices import (
    ALL_CHAT_APIS,
    IMAGE_TOKENS_DEFAULT,
    Api,
    ModelInfo,
    Price,
    PriceTier,
    Quote,
    Unit,
)
from prepaid.records.requests import RequestRecord, RequestState
from prepaid.records.sessions import ChatRecord, OwnedSession, SessionRecord, StoredMessage, UsageLine

__all__ = [
    "ALL_CHAT_APIS",
    "IMAGE_TOKENS_DEFAULT",
    "NO_LIMITS",
    "OPERATOR",
    "Account",
    "Api",
    "ApiKeyRecord",
    "ChatRecord",
    "ChatRequest",
    "Finish",
    "FinishReason",
    "Hold",
    "HoldState",
    "KeyKind",
    "KeyLimits",
    "Message",
    "ModelEvent",
    "ModelInfo",
    "OwnedSession",
    "Price",
    "PriceTier",
    "Quote",
    "RequestRecord",
    "RequestState",
    "Role",
    "SessionRecord",
    "SessionState",
    "StoredMessage",
    "TextDelta",
    "Tool",
    "ToolCall",
    "Transfer",
    "Unit",
    "Usage",
    "UsageLine",
    "holder_of_user",
]
