"""``prepaid check``, ``backup``, ``restore`` and ``migrate``: whole databases."""

from __future__ import annotations

import functools
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prepaid.cli.options import CHECK, OPERATE, AsJson, Database, examples
from prepaid.cli.output import console, fields_of, plain, progress, write_json
from prepaid.cli.running import must_exist, read_settings, refusals_told

if TYPE_CHECKING:
    from prepaid.audit import AuditReport, Finding
    from prepaid.store.tables import Place

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    told = examples("prepaid check", "prepaid check --database postgresql:///app --json")
    app.command(rich_help_panel=CHECK, epilog=told)(check)
    told = examples("prepaid backup monday.db", "prepaid backup monday.db --database postgresql:///app")
    app.command(rich_help_panel=OPERATE, epilog=told)(backup)
    told = examples("prepaid restore monday.db --database again.db")
    app.command(rich_help_panel=OPERATE, epilog=told)(restore)
    told = examples(
        "prepaid migrate --from sqlite:///prepaid.db --to postgresql:///app",
        "prepaid migrate --from prepaid.db --abandon",
    )
    app.command(rich_help_panel=OPERATE, epilog=told)(migrate)


@refusals_told
def check(database: Database = None, as_json: AsJson = False) -> None:
    """Check the whole database: all guarantees, every balance, every line against its hash.

    Processes that use it go on meanwhile: what is checked is one moment. Says what is wrong with the session
    and the number of the guarantee (docs/ledger.md). Exits with 1 if anything is.
    """
    from prepaid.moving import places

    with closing(_existing(database)) as place:
        report = places.check(place, _watch(as_json=as_json))
    if as_json:
        write_json(_report_fields(report))
    else:
        style = "bold green" if report.is_clean else "bold red"
        console().print(
            f"{'✓' if report.is_clean else '✗'} {plain(str(report))}", style=style, soft_wrap=True
        )
    if not report.is_clean:
        raise typer.Exit(1)


@refusals_told
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.", show_default=False)],
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole database, as of one moment, into one file, and compare the two.

    Processes that use it go on meanwhile. The file is a SQLite database, whichever database it is made from;
    it is never written over another.
    """
    from prepaid.moving import backups

    with closing(_existing(database)) as place:
        made = backups.backup(place, file, _watch(as_json=as_json))
    if as_json:
        write_json(fields_of(made) | {"findings": _finding_fields(made.findings)})
    else:
        console().print(
            f"✓ {plain(str(file))}: {made.rows:,} rows, compared.", style="bold green", soft_wrap=True
        )
        for finding in made.findings:
            console().print(f"✗ In both: {plain(str(finding))}", style="bold red", soft_wrap=True)
    if made.findings:
        raise typer.Exit(1)


@refusals_told
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From prepaid backup.", show_default=False)],
    database: Database = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty database, or a new file, from a backup, compare, and open it for use.

    Was it cut off, the same command goes on.
    """
    from prepaid.moving import backups, places

    with closing(places.opened(read_settings(database))) as place:
        carried = backups.restore(file, place, _watch(as_json=as_json))
        name = place.name
    if as_json:
        write_json(fields_of(carried))
        return
    console().print(
        f"✓ {plain(name)}: {carried.rows:,} rows restored and compared.", style="bold green", soft_wrap=True
    )


@refusals_told
def migrate(
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="DATABASE", help="Otherwise as --database.", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--to", metavar="DATABASE", help="An empty one, or a new file.", show_default=False),
    ] = None,
    abandon: Annotated[
        bool,
        typer.Option("--abandon", help="Give up a move that has not arrived; the source is in use again."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move all sessions to another database: SQLite to PostgreSQL, back, or to one of the same kind.

    Processes may be at work: the source is checked, then closed, and from then on it refuses every change in
    all of them. What is there is copied and compared; only then the target is opened for use. Was it cut off,
    the same command goes on. Passwords belong into PGPASSWORD or ~/.pgpass, not on the command line.
    """
    from prepaid.moving import migrating

    if abandon == (target is not None):
        raise typer.BadParameter("Give either --to or --abandon.", param_hint="--to")
    with closing(_existing(source)) as left:
        if target is None:
            peer = migrating.abandon(left).peer
            _tell({"abandoned": True, "to": peer}, f"{left.name} takes changes again.", as_json=as_json)
            return
        with closing(_other(source, target)) as reached:
            carried = migrating.migrate(left, reached, _watch(as_json=as_json))
            where = {"from": left.name, "to": reached.name}
    if carried is None:
        _tell(where | {"moved": False}, "It was moved before; nothing is left to do.", as_json=as_json)
        return
    _tell(
        where | {"moved": True} | fields_of(carried),
        f"{carried.accounts:,} accounts, {carried.lines:,} lines, {carried.rows:,} rows in all are in"
        f" {where['to']} now, and compared. {where['from']} takes no changes any more.",
        as_json=as_json,
    )


def _existing(database: str | None) -> Place:
    from prepaid.moving.places import opened

    settings = read_settings(database)
    must_exist(settings)
    return opened(settings)


def _other(source: str | None, target: str) -> Place:
    """The target, unless it is the source."""
    from prepaid.moving.places import opened

    left, reached = read_settings(source), read_settings(target)
    files = [None if each.database_file is None else each.database_file.resolve() for each in (left, reached)]
    if left.database == reached.database or (files[0] is not None and files[0] == files[1]):
        raise typer.BadParameter("That is the database to move from.", param_hint="--to")
    return opened(reached)


def _watch(*, as_json: bool) -> Any:
    return functools.partial(progress, is_shown=not as_json)


def _tell(fields: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        write_json(fields)
    else:
        console().print(f"✓ {plain(text)}", style="bold green", soft_wrap=True)


def _report_fields(report: AuditReport) -> dict[str, Any]:
    told = {"is_clean": report.is_clean, "accounts": report.accounts, "lines": report.lines}
    return told | {"findings": _finding_fields(report.findings)}


def _finding_fields(findings: tuple[Finding, ...]) -> list[dict[str, Any]]:
    return [
        fields_of(each) | {"guarantee": each.guarantee, "session_id": each.session_id} for each in findings
    ]
