"""Queries. None of them scans what it does not return; pages are by keyset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from prepaid.records import (
    Account,
    ChatRecord,
    OwnedSession,
    SessionRecord,
    SessionState,
    StoredMessage,
    Transfer,
    UsageLine,
)
from prepaid.store.handlers.account_rows import DEPOSIT_PREFIX
from prepaid.store.messages import unpack
from prepaid.store.operations import Lease
from prepaid.store.queries.audit import AuditReads
from prepaid.store.queries.keys import KeyReads
from prepaid.store.queries.requests import RequestReads

__all__ = ["Reads"]

_ACCOUNT = """
  SELECT session_id, owner, asset, state, funded, available, held, spent, refunded, request_count,
         last_used_ms, expires_ms, line_count, head FROM account"""

_SESSION = """
  SELECT session_id, owner, asset, state, name, metadata, preferences, tags, created_ms, closed_ms,
         expires_ms, current_chat, chat_count, auto_save, idle_ms
  FROM account JOIN session USING (session_id)"""

_OWNED = "SELECT session_id, owner, asset FROM account"

_NO_DEPOSIT = f"session_id NOT LIKE '{DEPOSIT_PREFIX}%'"
"""Their ids tell them: where pages are read from the index of owners, no state is in it."""

_CHAT = """
  SELECT session_id, chat_no, name, config, metadata, tags, message_max, created_ms, message_count,
         turn_count, spent, answering_ms, last_ms, open_turn, messages_from FROM chat"""

_LINE = (
    "seq, kind, debit, credit, amount, key, at_ms, actor, chat_no, model, input_units, output_units, digest"
)

_LIVE = (SessionState.ACTIVE, SessionState.PAUSED)
_ALL = (*_LIVE, SessionState.CLOSED, SessionState.EXPIRED)


class Reads(AuditReads, KeyReads, RequestReads):
    """Read-only questions to one database."""

    # --- accounts and statements -----------------------------------------------------------------

    def account(self, session_id: str) -> Account | None:
        """The account of a session or deposit, whoever owns it."""
        row = self.row(_ACCOUNT + " WHERE session_id = ?", (session_id,))
        return _account(row) if row else None

    def accounts(self, after: str, limit: int) -> list[Account]:
        """A page of all accounts by id, deposits included, for checks."""
        rows = self.rows(_ACCOUNT + " WHERE session_id > ? ORDER BY session_id LIMIT ?", (after, limit))
        return [_account(row) for row in rows]

    def transfers(self, session_id: str) -> list[Transfer]:
        """A session's lines in order."""
        rows = self.rows(f"{self.sql.lines} SELECT {_LINE} FROM line ORDER BY seq", (session_id,))
        return [Transfer(*row) for row in rows]

    def held(self, session_id: str) -> int:
        """The sum of a session's open holds."""
        sql = "SELECT coalesce(sum(amount), 0) FROM hold WHERE session_id = ? AND state = 0"
        return int(self.row(sql, (session_id,))[0])

    def overdue_holds(self, now_ms: int, limit: int) -> list[tuple[str, str]]:
        """``(session_id, key)`` of open holds past their deadline."""
        return self.rows(
            "SELECT session_id, key FROM hold WHERE state = 0 AND expires_ms <= ?"
            " ORDER BY expires_ms LIMIT ?",
            (now_ms, limit),
        )

    def hold_state(self, session_id: str, key: str) -> tuple[int, int] | None:
        """``(state, captured)`` of a hold."""
        row = self.row("SELECT state, captured FROM hold WHERE session_id = ? AND key = ?", (session_id, key))
        return (row[0], row[1]) if row else None

    def usage(self, session_id: str) -> list[UsageLine]:
        """What a session spent by day, chat, model and who spent it (spec A7)."""
        rows = self.rows(
            f"{self.sql.lines} SELECT {self.sql.day}, chat_no, model, actor, count(*), sum(input_units),"
            " sum(output_units), sum(amount) FROM line WHERE kind = 'capture'"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            (session_id,),
        )
        return [UsageLine(*row[:4], *map(int, row[4:])) for row in rows]

    def losses(self, session_id: str) -> int:
        """What providers billed, or may bill, above what the session paid: ours to bear."""
        rows = self.rows(f"{self.sql.lines} SELECT amount FROM line WHERE debit = 'loss'", (session_id,))
        return sum(row[0] for row in rows)  # SQL's sum could overflow: nothing bounds what a provider bills

    # --- sessions --------------------------------------------------------------------------------

    def session(self, session_id: str) -> SessionRecord | None:
        """One session, whoever owns it."""
        row = self.row(_SESSION + " WHERE session_id = ?", (session_id,))
        return _session(row) if row else None

    def owned(self, session_id: str) -> OwnedSession | None:
        """What makes a handle of one session, whoever owns it: a look into one table instead of two."""
        sql = f"{_OWNED} WHERE session_id = ? AND {_NO_DEPOSIT}"
        row = self.row(sql, (session_id,))
        return OwnedSession(*row) if row else None

    def sessions(
        self,
        *,
        owner: str | None = None,
        states: Sequence[SessionState] = _ALL,
        tag: str | None = None,
        before: str | None = None,
        limit: int = 100,
        live_at_ms: int | None = None,
    ) -> list[OwnedSession]:
        """A page of sessions, newest first; ``before`` is the last id of the page before.

        ``live_at_ms`` leaves out those that expired by then and wait for the clean-up. One owner's
        sessions lie strewn over the tables, so a page reads few of their rows; of all states none, just
        an index.
        """
        if not states:
            return []
        values = {"owner": owner, "tag": tag, "before": before or "~", "limit": limit, "now": live_at_ms}
        if tag is None and set(states) == set(_ALL) and live_at_ms is None:
            sql = _OWNED + _of_any_state(owner)
        else:
            ids = " UNION ALL ".join(
                self._ids_of_one_state(state, owner, tag, live_at_ms) for state in states
            )
            # Each part is in the order of ids and as long as the page at most, so little is sorted here.
            sql = f"{_OWNED} WHERE session_id IN ({ids})"
        sql += " ORDER BY session_id DESC LIMIT :limit"
        return [OwnedSession(*row) for row in self.rows(sql, values)]

    def _ids_of_one_state(
        self, state: SessionState, owner: str | None, tag: str | None, live_at_ms: int | None
    ) -> str:
        table = "account" if tag is None else "session_tag"
        where = [f"{table}.state = {state:d}", f"{table}.session_id < :before"]
        where += [f"{table}.owner = :owner"] if owner is not None else []
        where += ["tag = :tag"] if tag is not None else []
        source = table
        if live_at_ms is not None:
            where.append("(expires_ms IS NULL OR expires_ms > :now)")
            source = table if tag is None else f"{table} {self.sql.ordered_join} account USING (session_id)"
        # A subquery of its own, because a part of UNION ALL has no LIMIT.
        return f"""SELECT * FROM (SELECT {table}.session_id FROM {source} WHERE {" AND ".join(where)}
          ORDER BY {table}.session_id DESC LIMIT :limit) AS subquery"""

    def due_sessions(self, now_ms: int, limit: int) -> list[str]:
        """Sessions whose turn it is to be looked at by the clean-up."""
        rows = self.rows(
            "SELECT session_id FROM session WHERE due_ms <= ? ORDER BY due_ms LIMIT ?", (now_ms, limit)
        )
        return [row[0] for row in rows]

    def unseen_sessions(self, used_before_ms: int, limit: int) -> list[str]:
        """Live sessions that no look of the clean-up saw used since: those that are idle are among them."""
        rows = self.rows(
            "SELECT session_id FROM session WHERE seen_ms <= ? ORDER BY seen_ms LIMIT ?",
            (used_before_ms, limit),
        )
        return [row[0] for row in rows]

    def tally(self, scope: str) -> int:
        """A running count; the scopes are explained at the table."""
        row = self.row("SELECT n FROM tally WHERE scope = ?", (scope,))
        return int(row[0]) if row else 0

    # --- chats -----------------------------------------------------------------------------------

    def chat(self, session_id: str, chat_no: int) -> ChatRecord | None:
        """One chat."""
        row = self.row(_CHAT + " WHERE session_id = ? AND chat_no = ?", (session_id, chat_no))
        return _chat(row) if row else None

    def chats(self, session_id: str, *, after: int = 0, limit: int | None = None) -> list[ChatRecord]:
        """A session's chats, oldest first: all, or up to ``limit`` after the one with number ``after``."""
        sql = _CHAT + " WHERE session_id = ? AND chat_no > ? ORDER BY chat_no"
        if limit is None:
            return [_chat(row) for row in self.rows(sql, (session_id, after))]
        return [_chat(row) for row in self.rows(sql + " LIMIT ?", (session_id, after, limit))]

    def message_total(self, session_id: str) -> int:
        """How many messages a session's chats have together."""
        sql = "SELECT coalesce(sum(message_count), 0) FROM chat WHERE session_id = ?"
        return int(self.row(sql, (session_id,))[0])

    def messages(
        self, chat: ChatRecord, *, before: int | None = None, limit: int = 50
    ) -> list[StoredMessage]:
        """The chat's last ``limit`` messages (before message ``before``), oldest first."""
        first = chat.messages_from
        end = first + (min(before - 1, chat.message_count) if before is not None else chat.message_count)
        rows = self.rows(self.sql.messages, (chat.session_id, chat.chat_no, max(end - limit, first), end))
        return [
            StoredMessage(number - first, turn, at_ms, unpack(kind, body))
            for number, turn, at_ms, kind, body in rows
        ]

    # --- pool and settings -----------------------------------------------------------------------

    def pool_counts(self) -> tuple[int, int]:
        """``(pooled, on lease)``; a lease past its deadline is none."""
        row = self.row(
            "SELECT count(*), count(lease.taker) FROM pool LEFT JOIN lease ON"
            " lease.session_id = pool.session_id AND lease.lease_id = pool.lease_id AND expires_ms > ?",
            (self._clock(),),
        )
        return row[0], row[1]

    def lease(self, session_id: str, lease_id: str) -> tuple[Lease, int] | None:
        """A lease and what was spent under it; one that was given back expired then."""
        row = self.row(
            "SELECT session_id, lease_id, owner, taker, cap,"
            " CASE WHEN ended_ms < lease.expires_ms THEN ended_ms ELSE lease.expires_ms END, lease.spent"
            " FROM lease JOIN account USING (session_id) WHERE session_id = ? AND lease_id = ?",
            (session_id, lease_id),
        )
        return (Lease(*row[:6]), row[6]) if row else None

    def leases(self, session_id: str) -> list[tuple[str, int]]:
        """``(taker, spent)`` of every lease there was on a session."""
        sql = "SELECT taker, sum(spent) FROM lease WHERE session_id = ? GROUP BY taker"
        return [(taker, int(spent)) for taker, spent in self.rows(sql, (session_id,))]

    def settings(self) -> dict[str, str]:
        """What ``update_config`` set."""
        return dict(self.rows("SELECT name, value FROM setting"))


def _of_any_state(owner: str | None) -> str:
    whose = "owner = :owner AND " if owner is not None else ""
    return f" WHERE {whose}session_id < :before AND {_NO_DEPOSIT}"


def _account(row: Any) -> Account:
    return Account(row[0], row[1], row[2], SessionState(row[3]), *row[4:])


def _session(row: Any) -> SessionRecord:
    values = list(row)
    values[3] = SessionState(values[3])
    values[7] = tuple(json.loads(values[7]))
    values[13] = bool(values[13])
    return SessionRecord(*values)


def _chat(row: Any) -> ChatRecord:
    values = list(row)
    values[5] = tuple(json.loads(values[5]))
    return ChatRecord(*values)
