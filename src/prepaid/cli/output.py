"""What commands write: one JSON value, or text and tables for people."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "console",
    "fields_of",
    "hint",
    "is_terminal",
    "pairs",
    "plain",
    "progress",
    "table",
    "when",
    "write_json",
]

_PIPE_WIDTH: Final = 160
_CONTROLS: Final = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or error; text is never taken for markup."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH  # a pipe has no width: nothing is cut there
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)


def is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def plain(text: str) -> str:
    """Text of others without control characters, which could rewrite what the terminal shows."""
    return text.translate(_CONTROLS)


def write_json(value: object) -> None:
    """One JSON value and a line feed: on one line, or indented where a person reads it."""
    indent = 2 if is_terminal() else None
    sys.stdout.write(json.dumps(value, default=_as_json, indent=indent) + "\n")
    sys.stdout.flush()


def fields_of(record: Any) -> dict[str, Any]:
    """A dataclass's fields by name, one level deep."""
    return {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}


def when(moment: datetime | None) -> str:
    """A time as people read it."""
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table; a column whose heading begins with ``>`` is of numbers and stands to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in columns:
        is_number = name.startswith(">")
        justify: Any = "right" if is_number else "left"
        is_whole = is_number or name == "session"  # an id is there to be copied
        made.add_column(name.removeprefix(">"), justify=justify, no_wrap=is_whole, overflow="fold")
    for row in rows:
        made.add_row(*map(plain, row))
    return made


def hint(text: str) -> None:
    """A line with a command in it, which no terminal's width may break."""
    console().print(plain(text), soft_wrap=True)


def pairs(values: Mapping[str, str]) -> Table:
    """Names and values, one pair a line."""
    from rich.table import Table

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in values.items():
        made.add_row(name, plain(value))
    return made


@contextmanager
def progress(what: str, total: int | None, *, is_shown: bool = True) -> Generator[Callable[[int], None]]:
    """A bar on standard error while it lasts, on a terminal only; call what it gives to advance it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    out = console(stderr=True)
    with Progress(*columns, console=out, transient=True, disable=not (is_shown and out.is_terminal)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


def _as_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_of(value)
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Enum():
            return value.value
        case set() | frozenset():
            return sorted(value)
        case Path():
            return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
