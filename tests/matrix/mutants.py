"""Mutants: the matrix can fail, and each kind of mistake is found by the cells that are there for it.

    uv run scripts/matrix.py mutants               all of them
    uv run scripts/matrix.py mutants NAME …        some
    uv run scripts/matrix.py mutants --list

A mutant is a small patch of the product's source, and the cells that must break under it and hold without it. It is
applied to a copy of ``src`` in a temporary folder, which the matrix is played with. One whose old text is not found,
or found more than once, is an error: then the source has changed, and the mutant has to follow it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
TESTS = ROOT / "tests"


class MutantError(Exception):
    """A mutant that is none any more."""


@dataclass(frozen=True)
class Mutant:
    """``old`` becomes ``new`` in ``file``; ``property`` of every one of ``cells`` must not hold then."""

    name: str
    file: str
    old: str
    new: str
    cells: tuple[str, ...]
    property: str
    """By its letter in ``verdict``; one of several, with spaces between them."""

    def applied_to(self, source: Path) -> None:
        """Change a copy of the source.

        Raises:
            MutantError: the text to change is not there once.
        """
        path = source / "prepaid" / self.file
        if not path.exists():
            raise MutantError(f"{self.name}: there is no {self.file}")
        text = path.read_text(encoding="utf-8")
        if (found := text.count(self.old)) != 1:
            raise MutantError(
                f"{self.name}: its old text is {found} times in {self.file}, not once: {self.old!r}"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


MUTANTS = (
    Mutant(
        "counts-no-refusal",
        "relay/chat.py",
        '_TEXT_FIELDS: Final = ("content", "refusal", "reasoning_content", "reasoning")',
        '_TEXT_FIELDS: Final = ("content", "reasoning_content", "reasoning")',
        ("chat-stream-whole-absent-refusal-stops-asked", "chat-plain-whole-absent-refusal-stops-asked"),
        "a",
    ),
    Mutant(
        "counts-no-tool-calls",
        "relay/chat.py",
        '            text += self._seen_calls(delta["tool_calls"], index)',
        '            self._seen_calls(delta["tool_calls"], index)',
        ("chat-stream-whole-absent-parallel_tool_calls-stops-asked",),
        "a",
    ),
    Mutant(
        "gives-up-at-429",
        "models/failures.py",
        "_RETRYABLE_BELOW_500: Final = frozenset({408, 425, 429})",
        "_RETRYABLE_BELOW_500: Final = frozenset({408, 425})",
        ("chat-plain-refused_429_once-proper-text-stops-asked",),
        "g",
    ),
)
"""Those that today's source has. To be completed as the parts come that they change (issue 11):

| name | what it changes | cells | property |
|---|---|---|---|
| counts-no-function-call | `function_call` left out of the fields of output | chat-stream-left_last_word-proper-function_call-stops-asked, chat-stream-whole-absent-function_call-stops-asked | a |
| counts-no-custom-input | the same of `custom` | chat-stream-whole-absent-custom_tool-stops-asked | a |
| counts-no-done-events | `*.done` without deltas not counted | responses-stream-whole-absent-done_only-stops-asked | a |
| counts-twice | `reasoning` and `reasoning_details` both counted | chat-stream-left_middle-proper-reasoning_twice-stops-asked | b |
| asks-again-after-silence | a read time-out is retried | chat-plain-timeout_head-proper-text-goes_on-asked | h |
| asks-again-after-a-cut | a cut body is retried | chat-plain-cut_body-proper-text-stops-asked | h |
| believes-zero | zero tokens of output are believed | chat-stream-whole-zeros-text-stops-asked, chat-plain-whole-zero_output-text-stops-asked | a |
| compares-no-model | the model of the reply is not compared | chat-plain-whole-proper-text-stops-dearer, chat-stream-left_middle-proper-text-stops-dearer | a |
| reads-on-without-end | no limit of time on reading without the client | chat-stream-left_endless-proper-text-stops-asked | e |
| leaves-hidden-output | before the first word the upstream is left with the client | chat-stream-left_role-proper-hidden-stops-asked | i |
| floor-is-an-estimate | what was told is raised to bytes / 4 | chat-stream-whole-proper-long_words-stops-asked | b j |
| books-no-exposure | the rest of the hold is not booked | chat-stream-left_middle-proper-text-goes_on-asked | a |
| charges-failures | what was delivered before an error is captured | chat-stream-error_in-proper-text-stops-asked | c |
| books-refusals | a status of 400 books the hold | chat-plain-status_400-proper-text-stops-asked | d |
"""


def killed(mutant: Mutant) -> str:
    """Empty where the mutant is killed by every one of its cells; else what went wrong."""
    with tempfile.TemporaryDirectory(prefix=f"mutant-{mutant.name}-") as folder:
        copied = Path(folder) / "src"
        shutil.copytree(SOURCE, copied, ignore=shutil.ignore_patterns("__pycache__"))
        mutant.applied_to(copied)
        results = _played(mutant.cells, copied)
    survivors = [cell for cell in mutant.cells if not set(results[cell]) & set(mutant.property.split())]
    return f"{mutant.name} survives {', '.join(survivors)}: {results}" if survivors else ""


def unmutated() -> dict[str, dict[str, str]]:
    """What is broken in the mutants' cells without them: nothing, or a mutant shows nothing."""
    cells = dict.fromkeys(cell for mutant in MUTANTS for cell in mutant.cells)
    return {cell: broken for cell, broken in _played(tuple(cells), SOURCE).items() if broken}


def _played(cells: tuple[str, ...], source: Path) -> dict[str, dict[str, str]]:
    """What is broken, by cell and property."""
    done = subprocess.run(
        [sys.executable, "-m", "matrix", "--json", ",".join(cells)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (source, TESTS)))},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        told = json.loads(done.stdout)
    except ValueError:
        raise MutantError(f"the matrix did not play: {done.stdout}{done.stderr}") from None
    return {each["cell"]: each["broken"] for each in told}


def main() -> int:
    """Kill them, two at a time; 1 if one survives, or cannot be made."""
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    known = {mutant.name: mutant for mutant in MUTANTS}
    if "--list" in sys.argv:
        print(*known, sep="\n")
        return 0
    if unknown := set(names) - set(known):
        print(f"no such mutant: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    wanted = [known[name] for name in names] or list(MUTANTS)
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(wanted, pool.map(_tried, wanted), strict=True))
    for mutant, wrong in found.items():
        print(f"{'SURVIVES' if wrong else 'killed'}  {mutant.name}  {wrong}")
    if broken := unmutated():
        print(f"broken without any mutant: {broken}")
    return 1 if broken or any(found.values()) else 0


def _tried(mutant: Mutant) -> str:
    try:
        return killed(mutant)
    except MutantError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
