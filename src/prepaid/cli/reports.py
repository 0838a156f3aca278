"""``prepaid session statement`` and ``usage``: where a session's money went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from prepaid.cli.options import AsJson, Database, SessionId, examples
from prepaid.cli.output import console, fields_of, hint, is_terminal, plain, table, when, write_json
from prepaid.cli.running import refusals_told, run
from prepaid.money import currency, format_amount

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from prepaid.sessions.manager import SessionManager

__all__ = ["add_to", "chat_table", "statement_table"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        epilog=examples(
            "prepaid session statement ses_01m7y6qkv88hxy3a7ak1pr > s.json", "prepaid verify s.json"
        )
    )(statement)
    app.command()(usage)


@refusals_told
def statement(session_id: SessionId, database: Database = None, as_json: AsJson = False) -> None:
    """Every movement of a session's money, each line chained to the last by hash.

    On a terminal it is a table; into a file or a pipe it is the JSON that anybody can check, without us,
    with prepaid verify.
    """

    async def work(manager: SessionManager) -> dict[str, Any]:
        return await manager.get_session(session_id).get_statement()

    document = run(database, work)
    if as_json or not is_terminal():
        write_json(document)
        return
    console().print(statement_table(document))
    hint(f"To keep and to check: prepaid session statement {session_id} > s.json")


@refusals_told
def usage(session_id: SessionId, database: Database = None, as_json: AsJson = False) -> None:
    """What a session spent by day, chat, model and spender."""

    async def work(manager: SessionManager) -> tuple[str, list[dict[str, Any]]]:
        session = manager.get_session(session_id)
        return session.asset.code, [fields_of(line) for line in await session.get_usage()]

    code, lines = run(database, work)
    if as_json:
        write_json(lines)
        return
    asset = currency(code)
    rows = [
        (
            line["day"],
            str(line["chat_no"] or "–"),
            line["model"],
            line["actor"],
            f"{line['requests']:,}",
            f"{line['input_units']:,}",
            f"{line['output_units']:,}",
            format_amount(line["spent"], asset),
        )
        for line in lines
    ]
    total = format_amount(sum(line["spent"] for line in lines), asset)
    console().print(table(("day", "chat", "model", "who", ">requests", ">in", ">out", ">spent"), rows))
    console().print(f"{total} spent.")


def statement_table(document: Mapping[str, Any]) -> Group:
    """A statement's totals, and its lines as a table."""
    from rich.console import Group
    from rich.text import Text

    from prepaid.sessions.values import as_time

    asset = currency(document["asset"])
    rows = [
        (
            str(line["seq"]),
            f"{as_time(line['at_ms']):%Y-%m-%d %H:%M:%S}",
            line["kind"],
            format_amount(line["amount"], asset),
            line["actor"],
            line["model"],
            line["digest"][:8],
        )
        for line in document["lines"]
    ]
    names = ("funded", "spent", "refunded", "available", "held")
    totals = " · ".join(f"{name} {format_amount(document[name], asset)}" for name in names)
    columns = (">line", "when (UTC)", "what", ">amount", "who", "model", "hash")
    whose = plain(f"{document['session_id']} of {document['owner']}, {document['state']}")
    return Group(Text(whose, style="bold"), Text(totals), table(columns, rows))


def chat_table(chats: Iterable[Mapping[str, Any]], code: str) -> Table:
    """One line for each chat; the current one is marked."""
    rows = [
        (
            f"{'→' if chat['is_current'] else ' '} {chat['chat_no']}",
            chat["name"],
            f"{chat['message_count']:,}",
            format_amount(chat["spent"], currency(code)),
            when(chat["last_message"]),
        )
        for chat in chats
    ]
    return table((">chat", "name", ">messages", ">spent", "last message"), rows)
