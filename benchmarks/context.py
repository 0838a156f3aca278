"""What every row is handed: where its files may lie, how long it may take, and where to say how it goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Context:
    """``size`` shrinks the work for a quick look; 1 is what is published."""

    directory: Path
    rounds: int
    size: float
    say: Callable[[str], None]

    def scaled(self, number: int, least: int = 1) -> int:
        return max(int(number * self.size), least)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A directory of its own, gone afterwards."""
        path = Path(tempfile.mkdtemp(prefix="prepaid-bench-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
