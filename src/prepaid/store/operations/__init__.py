"""Every change there is, as data. A store applies them in batches; nothing else writes.

An operation is accepted or refused on its own. ``key`` makes it safe to send again: the same key
and content give the same result, a different content conflicts (guarantee 5). ``owner`` binds it:
somebody else's session does not exist (spec A5).
"""

from __future__ import annotations

from prepaid.store.operations.base import Operation
from prepaid.store.operations.chats import (
    AppendMessages,
    ClearMessages,
    CreateChat,
    CurrentChat,
    PopMessage,
    SwitchChat,
    UpdateChat,
)
from prepaid.store.operations.money import (
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
from prepaid.store.operations.pool import (
    AddToPool,
    EndLease,
    Lease,
    RemoveFromPool,
    SaveSettings,
    TakeFromPool,
)
from prepaid.store.operations.sessions import (
    Close,
    Closed,
    CloseIfDue,
    Created,
    CreateSession,
    GetOrCreate,
    Limits,
    SetIdle,
    SetKey,
    SetState,
)

__all__ = [
    "AddToPool",
    "AppendMessages",
    "ClearMessages",
    "Close",
    "CloseIfDue",
    "Closed",
    "CreateChat",
    "CreateSession",
    "Created",
    "CurrentChat",
    "Deposit",
    "EndLease",
    "Fund",
    "Funded",
    "GetOrCreate",
    "Held",
    "Hold",
    "Lease",
    "Limits",
    "Operation",
    "Place",
    "PlaceTaken",
    "PopMessage",
    "Progress",
    "Reconcile",
    "Release",
    "RemoveFromPool",
    "SaveSettings",
    "SetIdle",
    "SetKey",
    "SetState",
    "Settle",
    "Settled",
    "SwitchChat",
    "TakeFromPool",
    "Turn",
    "UpdateChat",
    "Withdraw",
]
