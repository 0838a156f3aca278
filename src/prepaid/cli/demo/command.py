"""``prepaid demo``: plays the story in a temporary directory, which it removes unless told to keep it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from prepaid.cli.options import START, AsJson, examples
from prepaid.cli.output import console, is_terminal, write_json
from prepaid.cli.running import refusals_told

if TYPE_CHECKING:
    from prepaid.cli.demo.stage import Outcome
    from prepaid.cli.demo.story import Story

__all__ = ["add_to"]

_TOKEN_SECONDS: Final = 0.008
"""How fast the offline model speaks where somebody watches."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    told = examples("prepaid demo", "prepaid demo --keep", "prepaid demo --json")
    app.command(rich_help_panel=START, epilog=told)(demo)


@refusals_told
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database, and say where it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch prepaid sessions work: funding, chats, a burst, a crash, a refund. No key, no network.

    Takes some seconds, works in a temporary directory, and leaves nothing behind unless told to --keep it.
    """
    from prepaid.cli.demo.stage import untouched_by_settings
    from prepaid.cli.demo.story import Story

    story = Story(is_silent=as_json)
    with untouched_by_settings(), _folder(keep=keep) as folder:
        outcome = _played(folder, story, as_json=as_json)
        if keep:
            _tell_where(folder)
    if not keep and not as_json:
        story.say('Your turn:  prepaid chat --fund "1 USD"', style="bold")
    if not outcome.is_good:
        raise typer.Exit(1)


def _played(folder: Path, story: Story, *, as_json: bool) -> Outcome:
    import asyncio

    from prepaid.cli.demo.play import as_object, play

    story.title(
        "prepaid demo",
        "AI sessions that are paid before they are used. Everything below happens now, on a real ledger,"
        " answered by the built-in offline model: no key, no network.",
    )
    is_watched = is_terminal() and not as_json
    outcome = asyncio.run(play(folder, story, _TOKEN_SECONDS if is_watched else 0))
    if as_json:
        write_json(as_object(outcome))
    return outcome


@contextmanager
def _folder(*, keep: bool) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="prepaid-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _tell_where(folder: Path) -> None:
    out = console(stderr=True)
    out.print(f"\nKept in {folder}. Look at it:", style="bold")
    for line in (
        "prepaid session list",
        "prepaid audit",
        "prepaid stats --user ann",
    ):
        out.print(f"   {line} --database {folder / 'demo.db'}", soft_wrap=True)
    out.print(f"   prepaid verify {folder / 'ann.json'}", soft_wrap=True)
