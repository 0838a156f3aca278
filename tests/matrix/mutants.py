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


_NOT_OUTPUT = '{"role", "annotations", "citations", "images", "audio", "tool_call_id", "name", "provider"}'


def _uncounted(name: str, *cells: str) -> Mutant:
    """A field of output that is taken for none."""
    file = "models/codecs/output.py"
    return Mutant(f"counts-no-{name}", file, _NOT_OUTPUT, f'{_NOT_OUTPUT[:-1]}, "{name}"}}', cells, "a")


MUTANTS = (
    _uncounted(
        "refusal",
        "chat-stream-whole-absent-refusal-stops-asked",
        "chat-plain-whole-zeros-refusal-stops-asked",
    ),
    _uncounted("tool_calls", "chat-stream-whole-absent-parallel_tool_calls-stops-asked"),
    _uncounted("function_call", "chat-stream-whole-absent-function_call-stops-asked"),
    _uncounted("reasoning_details", "chat-stream-left_usage-empty-reasoning_details-stops-asked"),
    _uncounted("thinking_blocks", "chat-plain-whole-null-thinking_blocks-stops-asked"),
    Mutant(
        "counts-reasoning-twice",
        "models/codecs/output.py",
        'beside = max(beside, value if type(value) is str else "".join(strings_in(value)), key=len)',
        'beside += value if type(value) is str else "".join(strings_in(value))',
        ("chat-stream-left_middle-proper-reasoning_twice-stops-asked",),
        "b",
    ),
    Mutant(
        "asks-again-whatever-happened",
        "models/retrying.py",
        "return error.can_resend and (",
        "return error.retryable and (",
        (
            "chat-plain-timeout_head-proper-text-goes_on-asked",
            "responses-plain-cut_body-proper-text-stops-asked",
            "chat-stream-cut_head-proper-text-stops-asked",
        ),
        "h",
    ),
    Mutant(
        "gives-up-at-once",
        "models/retrying.py",
        "return error.can_resend and (",
        "return False and (",
        (
            "chat-plain-refused_429_once-proper-text-stops-asked",
            "chat-stream-refused_503_once-proper-text-stops-asked",
        ),
        "g",
    ),
    Mutant(
        "believes-zero",
        "models/usage.py",
        "return count >= self._floor and not (count == 0 and self._counted.output_tokens)",
        "return count == 0 or count >= self._floor",
        (
            "chat-stream-whole-zeros-text-stops-asked",
            "responses-plain-whole-zero_output-text-stops-asked",
            "chat-stream-left_role-zero_output-tool_call-stops-asked",
        ),
        "a",
    ),
    Mutant(
        "compares-no-model",
        "relay/attempt.py",
        "more = target.cost(usage) - paid + self.dearer_by(models, usage)",
        "more = target.cost(usage) - paid",
        (
            "chat-plain-whole-proper-text-stops-dearer",
            "responses-stream-whole-proper-text-stops-dearer",
            "chat-stream-left_role-proper-text-stops-dearer",
        ),
        "a",
    ),
    Mutant(
        "reads-on-without-end",
        "gateway/openai/relaying.py",
        "limit = loop.call_later(parts.settings.gateway.drain_seconds, task.cancel)",
        "pass",
        ("chat-stream-left_endless-proper-text-stops-asked",),
        "e",
    ),
    Mutant(
        "leaves-what-is-hidden",
        "gateway/openai/relaying.py",
        "if stream.leave():",
        "if False:",
        (
            "chat-stream-left_role-proper-hidden-stops-asked",
            "responses-stream-left_before-proper-text-goes_on-asked",
            "chat-stream-left_ended-proper-text-stops-asked",
        ),
        "i",
    ),
    Mutant(
        "floor-is-an-estimate",
        "relay/attempt.py",
        "floor = least_output_tokens(least_characters)",
        'floor = target.host.estimate_tokens("".join(texts))',
        (
            "chat-stream-whole-proper-long_words-stops-asked",
            "responses-plain-whole-proper-long_words-stops-asked",
        ),
        "b",
    ),
    Mutant(
        "books-no-exposure",
        "relay/attempt.py",
        "        return exposure(reason, self.worst, charged=charged, delivered=self.delivered)",
        "        return 0",
        (
            "chat-stream-left_middle-proper-text-goes_on-asked",
            "chat-plain-timeout_head-proper-text-goes_on-asked",
            "chat-stream-left_endless-proper-text-stops-asked",
        ),
        "a",
    ),
    Mutant(
        "books-refusals",
        "models/failures.py",
        "made.may_bill = MayBill.NOTHING if status in _UNBILLED else MayBill.UNKNOWN",
        "made.may_bill = MayBill.UNKNOWN",
        ("chat-plain-status_400-proper-text-stops-asked", "chat-stream-status_503-proper-text-stops-asked"),
        "d",
    ),
    Mutant(
        "charges-failures",
        "relay/relay.py",
        """        if call.is_resolved or flow is None or isinstance(reason, ProviderError):
            await _give_up(call, reason, 0)
            return
        usage = flow.usage_delivered()
        if isinstance(reason, Exception) or usage == Usage():""",
        """        if call.is_resolved or flow is None:
            await _give_up(call, reason, 0)
            return
        usage = flow.usage_delivered()
        if usage == Usage():""",
        ("chat-stream-error_in-proper-text-stops-asked", "chat-stream-cut_body-proper-text-stops-asked"),
        "c",
    ),
)
"""One row for each kind of mistake that issue 11 names, and for some beside them. Add a row with each new kind:
the text to change, what it becomes, the cells that are there for it, the property that must not hold then.
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
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, (source, TESTS))),
            "PREPAID_MATRIX_PATIENCE": "10",
            "PREPAID_MATRIX_DRAIN": "2",
        },
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
