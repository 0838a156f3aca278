"""Every change there is, as data. A store applies them in batches; nothing else writes.

An operation is accepted or refused on its own. ``key`` makes it safe to send again: the same key
and content give the same result, a different content conflicts (guarantee 5). ``owner`` binds it:
somebody else's session does not exist (spec A5).
"""

from __future__ import annotations

from prepaid.store.operations.base import Operation, Probe
from prepaid.store.operations.chats import (
    AppendMessages,
    ClearMessages,
    CreateChat,
    CurrentChat,
    PopMessage,
    SwitchChat,
    UpdateChat,
)
from prepaid.store.operations.conversations import (
    AddItems,
    ClearItems,
    Conversation,
    DeleteConversation,
    Entry,
    PopItem,
    SaveConversation,
)
from prepaid.store.operations.keys import IssueFirstKey, IssueKey, RevokeKey, RotateKey
from prepaid.store.operations.money import (
    INTERRUPTED,
    Deposit,
    Fund,
    Funded,
    Held,
    Hold,
    Place,
    PlaceTaken,
    Progress,
    Reconcile,
    Release,
    Settle,
    Settled,
    Turn,
    Withdraw,
)
from prepaid.store.operations.once import Done, Once
from prepaid.store.operations.pool import (
    AddToPool,
    EndLease,
    Lease,
    RemoveFromPool,
    SaveSettings,
    TakeFromPool,
)
from prepaid.store.operations.requests import BeginRequest, EndRequest, RetryRequest
from prepaid.store.operations.restoring import RestoreSession, SavedChat
from prepaid.store.operations.sessions import (
    ChooseSession,
    Close,
    Closed,
    CloseIfDue,
    Created,
    CreateSession,
    GetOrCreate,
    Limits,
    SetIdle,
    SetState,
)

__all__ = [
    "INTERRUPTED",
    "AddItems",
    "AddToPool",
    "AppendMessages",
    "BeginRequest",
    "ChooseSession",
    "ClearItems",
    "ClearMessages",
    "Close",
    "CloseIfDue",
    "Closed",
    "Conversation",
    "CreateChat",
    "CreateSession",
    "Created",
    "CurrentChat",
    "DeleteConversation",
    "Deposit",
    "Done",
    "EndLease",
    "EndRequest",
    "Entry",
    "Fund",
    "Funded",
    "GetOrCreate",
    "Held",
    "Hold",
    "IssueFirstKey",
    "IssueKey",
    "Lease",
    "Limits",
    "Once",
    "Operation",
    "Place",
    "PlaceTaken",
    "PopItem",
    "PopMessage",
    "Probe",
    "Progress",
    "Reconcile",
    "Release",
    "RemoveFromPool",
    "RestoreSession",
    "RetryRequest",
    "RevokeKey",
    "RotateKey",
    "SaveConversation",
    "SaveSettings",
    "SavedChat",
    "SetIdle",
    "SetState",
    "Settle",
    "Settled",
    "SwitchChat",
    "TakeFromPool",
    "Turn",
    "UpdateChat",
    "Withdraw",
]
