"""``prepaid verify``: whether a statement says one thing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from prepaid.cli.options import CHECK, AsJson, examples
from prepaid.cli.output import console, fields_of, pairs, plain, write_json
from prepaid.cli.running import refusals_told
from prepaid.errors import StatementInvalid
from prepaid.money import currency, format_amount

if TYPE_CHECKING:
    from prepaid.statements import StatementSummary

__all__ = ["add_to", "check_file"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        rich_help_panel=CHECK,
        epilog=examples(
            "prepaid verify s.json", "prepaid session statement ses_01m7y6qkv88hxy3a7ak1pr | prepaid verify -"
        ),
    )(verify)


@refusals_told
def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A statement; - for standard input.")],
    as_json: AsJson = False,
) -> None:
    """Check a statement with nothing but itself: no database is opened.

    Says which line was altered, removed, inserted or reordered. Exits with 1 if it does not verify.
    """
    try:
        summary = check_file(file)
    except StatementInvalid as error:
        if as_json:
            write_json({"verified": False, "line": error.line, "problem": error.what})
        else:
            console().print(f"✗ It does not verify. {plain(error.what)}", style="bold red")
            console().print(error.remedy)
        raise typer.Exit(1) from None
    if as_json:
        write_json({"verified": True} | fields_of(summary))
        return
    console().print(
        f"✓ Verified: {summary.line_count} lines, nothing altered, removed or reordered.", style="bold green"
    )
    console().print(pairs(_told(summary)))


def check_file(file: str) -> StatementSummary:
    """The statement in a file, verified.

    Raises:
        StatementInvalid: it does not verify.
    """
    from pathlib import Path

    from prepaid.statements import load_statement, verify_statement

    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}.", param_hint="FILE") from None
    return verify_statement(load_statement(data))


def _told(summary: StatementSummary) -> dict[str, str]:
    asset = currency(summary.asset)
    names = ("funded", "spent", "refunded", "available", "held")
    told = {"session": summary.session_id, "user": summary.owner, "state": summary.state}
    told |= {name: format_amount(getattr(summary, name), asset) for name in names}
    return told | {"head": summary.head}
