"""How a system is used: counts and reports over many sessions (spec C9)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prepaid.sessions.values import as_time
from prepaid.store.queries.reads import Reads

__all__ = ["DailyUsage", "SystemStats", "UserActivity", "daily_usage", "system_stats", "user_activity"]


@dataclass(frozen=True, slots=True)
class SystemStats:
    """All active sessions in numbers; amounts in base units."""

    active_sessions: int
    active_users: int
    active_chats: int
    average_chats_per_session: float
    oldest_session: datetime | None
    newest_session: datetime | None
    available: int
    held: int
    spent: int


@dataclass(frozen=True, slots=True)
class UserActivity:
    """One user's sessions in numbers; amounts in base units."""

    user_id: str
    total_sessions: int
    active_sessions: int
    total_chats: int
    total_messages: int
    last_activity: datetime | None
    available: int
    spent: int
    refunded: int


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """What one model was asked and paid on one day (UTC); units are the price's, ``spent`` base units."""

    day: str
    model: str
    currency: str
    requests: int
    input_units: int
    output_units: int
    spent: int


def daily_usage(reads: Reads, owner: str | None, since_ms: int) -> list[DailyUsage]:
    """Counts over all lines since then, of one owner's sessions or of all; reads every line there is."""
    rows = reads.rows(
        f"SELECT {reads.sql.day}, model, asset, count(*), sum(input_units), sum(output_units),"
        " sum(amount) FROM transfer JOIN account USING (session_id)"
        " WHERE kind = 'capture' AND at_ms >= ?1 AND (CAST(?2 AS text) IS NULL OR owner = ?2)"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        (since_ms, owner),
    )
    return [DailyUsage(*row) for row in rows]


def system_stats(reads: Reads, now_ms: int) -> SystemStats:
    """Counts over every active session; reads them all."""
    row = reads.row(
        "SELECT count(*), count(DISTINCT owner), coalesce(sum(chat_count), 0), min(created_ms),"
        " max(created_ms), coalesce(sum(available), 0), coalesce(sum(held), 0), coalesce(sum(spent), 0)"
        " FROM account JOIN session USING (session_id)"
        " WHERE state = 0 AND (expires_ms IS NULL OR expires_ms > ?)",
        (now_ms,),
    )
    sessions, users, chats, oldest, newest, available, held, spent = row
    return SystemStats(
        active_sessions=sessions,
        active_users=users,
        active_chats=chats,
        average_chats_per_session=chats / sessions if sessions else 0.0,
        oldest_session=None if oldest is None else as_time(oldest),
        newest_session=None if newest is None else as_time(newest),
        available=available,
        held=held,
        spent=spent,
    )


def user_activity(reads: Reads, user_id: str, now_ms: int) -> UserActivity:
    """Counts over all sessions that a user ever had."""
    row = reads.row(
        "SELECT count(*), count(*) FILTER (WHERE state = 0 AND (expires_ms IS NULL OR expires_ms > ?)),"
        " coalesce(sum(chat_count), 0), max(last_used_ms),"
        " coalesce(sum(available), 0), coalesce(sum(spent), 0), coalesce(sum(refunded), 0)"
        " FROM account JOIN session USING (session_id) WHERE owner = ? AND state <> 4",
        (now_ms, user_id),
    )
    messages = reads.row(
        "SELECT coalesce(sum(message_count), 0) FROM account JOIN chat USING (session_id)"
        " WHERE owner = ? AND state <> 4",
        (user_id,),
    )
    total, active, chats, last_used, available, spent, refunded = row
    return UserActivity(
        user_id=user_id,
        total_sessions=total,
        active_sessions=active,
        total_chats=chats,
        total_messages=messages[0],
        last_activity=None if last_used is None else as_time(last_used),
        available=available,
        spent=spent,
        refunded=refunded,
    )
