"""Reads all that a batch needs, in one statement, once its accounts are locked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from prepaid.store.operations import Hold, Progress, Reconcile, Release, Settle
from prepaid.store.postgres.book.columns import numbers, texts
from prepaid.store.postgres.book.rows import (
    AccountRow,
    Book,
    ChatRow,
    HoldRow,
    KeyRow,
    LeaseRow,
    OperationRow,
)
from prepaid.store.postgres.connection import Connection

__all__ = ["HotOperation", "load"]

HotOperation = Hold | Settle | Release | Progress | Reconcile

# What holds point to (a chat, a lease, a key) is read together with them.
_LOAD: Final = """
  WITH wanted AS (SELECT * FROM unnest($2::text::text[], $3::text::text[]) AS pair (session_id, key)),
  found AS MATERIALIZED (SELECT hold.* FROM wanted JOIN hold USING (session_id, key)),
  chats AS (
    SELECT * FROM unnest($4::text::text[], $5::text::bigint[]) AS pair (session_id, chat_no)
    UNION SELECT session_id, chat_no FROM found WHERE chat_no > 0),
  leases AS (
    SELECT * FROM unnest($6::text::text[], $7::text::text[]) AS pair (session_id, lease_id)
    UNION SELECT session_id, lease_id FROM found WHERE lease_id IS NOT NULL),
  keys AS (
    SELECT * FROM unnest($8::text::text[], $9::text::bigint[]) AS pair (holder, number)
    UNION SELECT session_id, key_no FROM found WHERE key_no IS NOT NULL)
  SELECT
    ARRAY(SELECT ROW(session_id, owner, state, available, held, spent, refunded, request_count, last_used_ms,
                     expires_ms, line_count, head)
          FROM account WHERE session_id = ANY($1::text::text[])),
    ARRAY(SELECT ROW(session_id, key, fingerprint, amount, state, captured, cost, delivered, sent, expires_ms,
                     actor, chat_no, lease_id, key_no) FROM found),
    ARRAY(SELECT ROW(session_id, key, kind, fingerprint, status, response)
          FROM wanted JOIN operation USING (session_id, key)),
    ARRAY(SELECT ROW(chat.session_id, chat.chat_no, message_count, message_max, turn_count, spent,
                     answering_ms, last_ms, open_turn, hold.expires_ms)
          FROM chats JOIN chat USING (session_id, chat_no)
          LEFT JOIN hold ON hold.session_id = chat.session_id AND hold.key = chat.open_turn),
    ARRAY(SELECT ROW(session_id, lease_id, taker, cap, reserved, spent, expires_ms, ended_ms)
          FROM leases JOIN lease USING (session_id, lease_id)),
    ARRAY(SELECT ROW(holder, number, cap, reserved, spent, revoked_ms)
          FROM keys JOIN api_key USING (holder, number))"""


async def load(connection: Connection, operations: Sequence[HotOperation], now_ms: int) -> Book:
    """The rows of these operations, whose accounts are locked."""
    holds = [each for each in operations if isinstance(each, Hold)]
    # A fresh key of ours has no past.
    known = [each for each in operations if not isinstance(each, Hold) or each.keep_refusal]
    row = await connection.fetchrow(
        _LOAD,
        texts(list({each.session_id for each in operations})),
        *_pairs(texts, ((each.session_id, each.key) for each in known)),
        *_pairs(numbers, ((each.session_id, each.place.chat_no) for each in holds if each.place)),
        *_pairs(texts, ((each.session_id, each.lease_id) for each in holds if each.lease_id is not None)),
        *_pairs(numbers, ((each.session_id, each.key_no) for each in holds if each.key_no is not None)),
    )
    accounts, found, kept, chats, leases, keys = row
    return Book(
        now_ms,
        {each[0]: AccountRow(*each) for each in accounts},
        {(each[0], each[1]): HoldRow(*each) for each in found},
        {(each[0], each[1]): ChatRow(*each) for each in chats},
        {(each[0], each[1]): LeaseRow(*each) for each in leases},
        {(each[0], each[1]): KeyRow(*each) for each in keys},
        {(each[0], each[1]): OperationRow(*each) for each in kept},
    )


def _pairs(write: Callable[[Sequence[Any]], str], pairs: Iterable[tuple[str, Any]]) -> tuple[str, str]:
    """Distinct pairs, as two arrays."""
    distinct = dict.fromkeys(pairs)
    if not distinct:
        return "{}", "{}"
    firsts, seconds = zip(*distinct, strict=True)
    return texts(firsts), write(seconds)
