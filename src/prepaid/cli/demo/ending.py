"""The demo's end: refunds, a statement that anyone can check, and the sum of it all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prepaid.cli.demo.stage import Stage, dollars
from prepaid.cli.output import table
from prepaid.cli.reports import statement_table
from prepaid.cli.statements import check_file
from prepaid.errors import StatementInvalid
from prepaid.files import private

__all__ = ["check_the_statement", "close_and_refund", "sum_up"]


async def close_and_refund(stage: Stage) -> None:
    """What is left goes back."""
    stage.story.chapter("Closed, a session refunds what is left")
    stage.story.code("session.close()")
    for session in stage.sessions:
        closed = await session.close()
        stage.story.good(f"{session.name}: {dollars(closed.refunded)} refunded to {session.user_id}.")


async def check_the_statement(stage: Stage) -> None:
    """Offline, with the code behind ``prepaid verify``."""
    story = stage.story
    story.chapter("The statement: every line chained by hash, checked offline")
    files = {session.session_id: stage.folder / f"{session.user_id}.json" for session in stage.sessions}
    documents = {session.session_id: await session.get_statement() for session in stage.sessions}
    for session_id, file in files.items():
        _write(file, documents[session_id])
    ann = stage.ann.session_id
    story.show(statement_table(documents[ann]))
    problems = {file: _problem_of(file) for file in files.values()}
    stage.outcome.statement_verified = not any(problems.values())
    for session_id, file in files.items():
        problem, count = problems[file], len(documents[session_id]["lines"])
        (story.refused if problem else story.good)(
            f"prepaid verify {file.name}: {problem or f'{count} lines, nothing altered.'}"
        )
    forged = stage.folder / "forged.json"
    _write(forged, _forged(documents[ann]))
    story.say("Somebody makes one answer cheaper by a millionth of a dollar:")
    story.refused(f"prepaid verify {forged.name}: {_problem_of(forged) or 'nobody noticed!'}")


async def sum_up(stage: Stage) -> None:
    """Funded = spent + refunded."""
    story, outcome = stage.story, stage.outcome
    accounts = await stage.accounts()
    outcome.funded = sum(account.funded for account in accounts)
    outcome.spent = sum(account.spent for account in accounts)
    outcome.refunded = sum(account.refunded for account in accounts)
    report = await stage.audited()
    outcome.is_clean = report.is_clean
    names = {session.session_id: session.name for session in stage.sessions}
    rows = [
        (names[each.session_id], *map(dollars, (each.funded, each.spent, each.refunded))) for each in accounts
    ]
    totals = tuple(map(dollars, (outcome.funded, outcome.spent, outcome.refunded)))
    made = table(("session", ">funded", ">= spent", ">+ refunded"), rows)
    made.add_section()
    made.add_row("Total", *totals, style="bold")
    story.chapter("The sum of it")
    story.show(made)
    equals = "=" if outcome.funded == outcome.spent + outcome.refunded else "≠"
    tell = story.good if equals == "=" else story.refused
    tell(f"{totals[0]} funded {equals} {totals[1]} spent + {totals[2]} refunded.")
    (story.good if report.is_clean else story.refused)(f"Audit of the whole database: {report}")


def _write(file: Path, document: dict[str, Any]) -> None:
    with open(file, "w", encoding="utf-8", opener=private) as opened:
        json.dump(document, opened)


def _problem_of(file: Path) -> str | None:
    try:
        check_file(str(file))
    except StatementInvalid as error:
        return error.what
    return None


def _forged(document: dict[str, Any]) -> dict[str, Any]:
    """The statement with its first answer a base unit cheaper."""
    lines = [dict(line) for line in document["lines"]]
    next(line for line in lines if line["kind"] == "capture")["amount"] -= 1
    return document | {"lines": lines}
