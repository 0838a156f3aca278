"""``prepaid demo``: plays a story in a temporary directory, which it removes unless told to keep it."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from prepaid.cli.options import START, AsJson, examples
from prepaid.cli.output import console, is_terminal, write_json
from prepaid.cli.running import refusals_told

if TYPE_CHECKING:
    from prepaid.cli.demo.story import Story

__all__ = ["add_to"]

_TOKEN_SECONDS: Final = 0.008
"""How fast the offline model speaks where somebody watches."""


class Engine(StrEnum):
    """What runs the demo's chain."""

    ANVIL = "anvil"
    PY_EVM = "py-evm"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    told = examples("prepaid demo", "prepaid demo --chain", "prepaid demo --keep", "prepaid demo --json")
    app.command(rich_help_panel=START, epilog=told)(demo)


@refusals_told
def demo(
    on_chain: Annotated[
        bool, typer.Option("--chain", help="The same on a chain: contracts, USDT, and a node that answers.")
    ] = False,
    engine: Annotated[
        Engine | None,
        typer.Option("--engine", help="With --chain: otherwise anvil where it is, else py-evm."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database, and say where it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch prepaid sessions work: funding, chats, a burst, a crash, a refund. No key, no network.

    Takes some seconds, works in a temporary directory, and leaves nothing behind unless told to --keep it.
    """
    from prepaid.cli.demo.stage import untouched_by_settings
    from prepaid.cli.demo.story import Story

    if engine is not None and not on_chain:
        raise typer.BadParameter("it takes --chain", param_hint="--engine")
    story = Story(is_silent=as_json)
    with _ended_tidily(), untouched_by_settings(), _folder(keep=keep) as folder:
        if on_chain:
            is_good = _played_on_chain(folder, story, engine, as_json=as_json)
        else:
            is_good = _played(folder, story, as_json=as_json)
        if keep:
            _tell_where(folder, on_chain=on_chain)
    if not keep and not as_json and not on_chain:
        story.say('Your turn:  prepaid chat --fund "1 USD"', style="bold")
    if not is_good:
        raise typer.Exit(1)


def _played(folder: Path, story: Story, *, as_json: bool) -> bool:
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
    return outcome.is_good


def _played_on_chain(folder: Path, story: Story, engine: Engine | None, *, as_json: bool) -> bool:
    import asyncio

    story.title(
        "prepaid demo --chain",
        "AI sessions in USDT, kept by a contract. Everything below happens now, on a chain of our own,"
        " answered by a real node with the built-in offline model: no key, no network.",
    )
    try:
        from prepaid.cli.demo.onchain.ending import as_object
        from prepaid.cli.demo.onchain.play import play
    except ModuleNotFoundError as error:
        from prepaid.errors import ConfigError

        raise ConfigError(
            f"{error.name} is not installed.", remedy='pip install "prepaid[local-chain]"'
        ) from None
    outcome = asyncio.run(play(folder, story, engine))
    if as_json:
        write_json(as_object(outcome))
    return outcome.is_good


@contextmanager
def _ended_tidily() -> Generator[None]:
    """While it lasts, SIGTERM ends the demo as Ctrl-C does: what it started ends, what it wrote goes."""
    terminated: list[int] = []

    def end(number: int, _: object) -> None:
        terminated.append(number)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        if terminated:
            raise SystemExit(128 + terminated[0]) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _folder(*, keep: bool) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="prepaid-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _tell_where(folder: Path, *, on_chain: bool) -> None:
    out = console(stderr=True)
    out.print(f"\nKept in {folder}. Look at it:", style="bold")
    database = folder / ("node-ledger.db" if on_chain else "demo.db")
    lines = ["prepaid session list", "prepaid check", f"prepaid stats --user {'node' if on_chain else 'ann'}"]
    for line in lines:
        out.print(f"   {line} --database {database}", soft_wrap=True)
    file = f"cat {folder / 'node.log'}" if on_chain else f"prepaid verify {folder / 'ann.json'}"
    out.print(f"   {file}", soft_wrap=True)
