"""Tells what happens, as a story on standard output; or, in silence, nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from prepaid.cli.output import console, plain

__all__ = ["Story"]

_WIDTH_MAX: Final = 100
_INDENT: Final = 3
_NAME_WIDTH: Final = 10


class Story:
    """Chapters, what was called, who said what, and what it cost."""

    def __init__(self, *, is_silent: bool) -> None:
        self.is_silent = is_silent
        self._out = console()
        self._width = min(self._out.width, _WIDTH_MAX)
        self._chapters = 0

    def title(self, name: str, about: str) -> None:
        """What this is."""
        self._print(Text(f"\n{name}", style="bold green"))
        self._print(Text(about))

    def chapter(self, title: str) -> None:
        """Begin a part."""
        self._chapters += 1
        heading = f"━━ {self._chapters}. {title} "
        self._print(Text(f"\n{heading}{'━' * max(self._width - len(heading), 0)}", style="bold"))

    def code(self, line: str) -> None:
        """The call that does what comes next."""
        self._indented(Text(f"await {line}", style="cyan"))

    def say(self, text: str, style: str = "") -> None:
        """A sentence or two."""
        self._indented(Text(plain(text), style=style))

    def good(self, text: str) -> None:
        """Something that came out as promised."""
        self._indented(Text.assemble(("✓ ", "bold green"), plain(text)))

    def refused(self, text: str) -> None:
        """Something that was refused, as promised."""
        self._indented(Text.assemble(("✗ ", "bold red"), plain(text)))

    def show(self, what: RenderableType) -> None:
        """A table."""
        self._indented(what)

    def question(self, who: str, text: str) -> None:
        """What somebody asks."""
        self._print(self._label(who, "bold") + Text(plain(text)))

    @contextmanager
    def reply(self, who: str) -> Generator[Callable[[str], None]]:
        """What is answered, word by word as it comes; call what this gives with each piece."""
        indent = _INDENT + _NAME_WIDTH
        column = indent
        if not self.is_silent:
            self._out.print(self._label(who, "bold magenta"), end="")

        def speak(piece: str) -> None:
            nonlocal column
            text = plain(piece)
            if column + len(text) > self._width:
                text = text.lstrip()
                self._write("\n" + " " * indent)
                column = indent
            self._write(text)
            column += len(text)

        try:
            yield speak
        finally:
            self._write("\n")

    def note(self, text: str) -> None:
        """What a reply cost, below it."""
        self._print(Text(" " * (_INDENT + _NAME_WIDTH) + plain(text), style="dim"))

    @contextmanager
    def waiting(self, what: str) -> Generator[None]:
        """Something that takes a moment; on a terminal, something turns."""
        if self.is_silent or not self._out.is_terminal:
            yield
            return
        with self._out.status(what):
            yield

    def _label(self, who: str, style: str) -> Text:
        return Text(" " * _INDENT + f"{plain(who):<{_NAME_WIDTH}}", style=style)

    def _indented(self, what: RenderableType) -> None:
        self._print(Padding(what, (0, 0, 0, _INDENT), expand=False))

    def _print(self, what: RenderableType) -> None:
        if not self.is_silent:
            self._out.print(what, width=self._width)

    def _write(self, text: str) -> None:
        if not self.is_silent:
            sys.stdout.write(text)
            sys.stdout.flush()
