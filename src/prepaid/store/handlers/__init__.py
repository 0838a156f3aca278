"""What each operation does to the rows, in SQL that both databases understand."""

from __future__ import annotations

# Handlers register themselves by being imported.
from prepaid.store.handlers import (
    chat_rows,
    conversation_rows,
    deposits,
    holds,
    key_rows,
    lifecycle,
    money,
    once,
    pool_rows,
    probing,
    request_rows,
    restore_rows,
    reuse,
)

__all__ = [
    "chat_rows",
    "conversation_rows",
    "deposits",
    "holds",
    "key_rows",
    "lifecycle",
    "money",
    "once",
    "pool_rows",
    "probing",
    "request_rows",
    "restore_rows",
    "reuse",
]
