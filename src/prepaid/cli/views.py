"""What commands show of sessions: as JSON fields in base units, and as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prepaid.money import currency, format_amount

if TYPE_CHECKING:
    from rich.table import Table

    from prepaid.sessions.session import Session

__all__ = ["amounts", "chat_fields", "session_fields", "session_pairs", "session_table"]


def session_fields(session: Session) -> dict[str, Any]:
    """A session's identity and balances as of now; amounts in base units of ``currency``."""
    from prepaid.sessions.values import as_time

    account, record = session.account, session.record
    return {
        "session_id": session.session_id,
        "user_id": session.user_id,
        "state": account.state.label,
        "name": record.name,
        "tags": list(record.tags),
        "currency": session.asset.code,
        "funded": account.funded,
        "available": account.available,
        "held": account.held,
        "spent": account.spent,
        "refunded": account.refunded,
        "request_count": account.request_count,
        "chat_count": record.chat_count,
        "created_at": as_time(record.created_ms),
        "last_activity": as_time(account.last_used_ms),
        "expires_at": None if record.expires_ms is None else as_time(record.expires_ms),
    }


async def chat_fields(session: Session) -> list[dict[str, Any]]:
    """A session's chats, oldest first."""
    current = session.record.current_chat
    found = []
    for chat in await session.get_chats():
        stats = await chat.get_stats()
        found.append(
            {
                "chat_no": chat.chat_no,
                "chat_id": chat.chat_id,
                "name": chat.name,
                "is_current": chat.chat_no == current,
                "message_count": stats.message_count,
                "turn_count": stats.turn_count,
                "spent": stats.spent,
                "last_message": stats.last_message,
            }
        )
    return found


def amounts(fields: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """These amounts of a session's fields as people read them."""
    asset = currency(fields["currency"])
    return [format_amount(fields[name], asset) for name in names]


def session_pairs(fields: Mapping[str, Any]) -> dict[str, str]:
    """A session's fields by the names that people read."""
    from prepaid.cli.output import when

    money = ("available", "held", "spent", "refunded", "funded")
    return {
        "session": fields["session_id"],
        "user": fields["user_id"],
        "state": fields["state"],
        **({"name": fields["name"]} if fields["name"] else {}),
        **({"tags": ", ".join(fields["tags"])} if fields["tags"] else {}),
        **dict(zip(money, amounts(fields, money), strict=True)),
        "requests": str(fields["request_count"]),
        "created": when(fields["created_at"]),
        "last used": when(fields["last_activity"]),
        "expires": when(fields["expires_at"]) if fields["expires_at"] else "when idle too long",
    }


def session_table(found: list[dict[str, Any]]) -> Table:
    """One line for each session."""
    from prepaid.cli.output import table

    rows = [
        (
            fields["session_id"],
            fields["user_id"],
            fields["state"],
            *amounts(fields, ("available", "spent")),
            fields["name"],
        )
        for fields in found
    ]
    return table(("session", "user", "state", ">available", ">spent", "name"), rows)
