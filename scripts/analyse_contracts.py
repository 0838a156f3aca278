"""Looks for what tests of the contracts do not: Slither reads them, halmos proves them.

    uv run scripts/analyse_contracts.py slither
    uv run scripts/analyse_contracts.py halmos [--contract NAME] [--function PREFIX]
    uv run scripts/analyse_contracts.py all        both at once, as CI does

Slither fails on a finding that is not answered where it stands, and on an answer to none. halmos fails on a
``check_`` with a counterexample, without an answer in time, or with a loop that was not followed to its end;
and on a ``refute_`` without a counterexample, which shows that it looks. Both run in an environment of their
own (``contracts/analysis``), with what its lock file names.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import node

CONTRACTS: Final = node.ROOT / "contracts"
READ: Final = ("src", "sdk")
"""What Slither looks at; tests are code that does what must not be done."""

NOT_ASKED: Final = {
    "assembly": "says that there is some; why stands beside it",
    "low-level-calls": "says that there are some; whether what comes back is looked at, another asks",
    "naming-convention": "immutables are in capitals here, as constants are",
    "uninitialized-local": "a local variable begins at zero, as the language has it",
}
"""Detectors that tell what code looks like, not what may be wrong with it; by each, why it is left out."""

PROOFS: Final = "symbolic"
"""The profile of foundry.toml with the proofs, and where below out/ they are compiled to."""

PROVED, REFUTED = 0, 1
"""halmos' exit codes of one proof; all others are of proofs that came to no end."""


def main() -> int:
    """Run one of the tools; 1 if it found something."""
    tools = {"slither": slither, "halmos": halmos, "all": both}
    if len(sys.argv) < 2 or sys.argv[1] not in tools:  # noqa: PLR2004
        print(__doc__, file=sys.stderr)
        return 2
    node.install(CONTRACTS)
    return tools[sys.argv[1]](sys.argv[2:])


def slither(arguments: list[str]) -> int:
    """Compile afresh, so that nothing of an earlier compilation is read, and read it."""
    with tempfile.TemporaryDirectory() as folder:
        plain = {"FOUNDRY_PROFILE": "plain"}
        build = ["forge", "build", "--build-info", "--out", folder, "--cache-path", folder, *READ]
        if code := _run(build, more=plain):
            return code
        report = Path(folder, "report.json")
        compiled = [
            "--compile-force-framework",
            "foundry",
            "--ignore-compile",
            "--foundry-out-directory",
            folder,
        ]
        asked = ["--exclude", ",".join(NOT_ASKED), "--filter-paths", "node_modules", "--warn-unused-ignores"]
        command = ["slither", ".", *compiled, *asked, "--json", str(report), *arguments]
        log = Path(folder, "slither.log")  # it tells there of the libraries, too
        _run(command, _analysis(), plain, log)
        if not report.exists():
            print(log.read_text(encoding="utf-8"))
            return 1
        said = json.loads(report.read_bytes())
    wrong = [said["error"]] if said["error"] else findings_in(said["results"].get("detectors", []))
    print("\n".join(wrong) if wrong else "slither: nothing that is not answered, and no answer to nothing")
    return 1 if wrong else 0


def both(arguments: list[str]) -> int:
    """Slither and all proofs at once: each keeps one processor busy."""
    if arguments:
        raise SystemExit(f"all takes no arguments, and got {' '.join(arguments)}")
    with ThreadPoolExecutor() as pool:
        read, proved = pool.submit(slither, []), pool.submit(halmos, [])
        return read.result() or proved.result()


def findings_in(results: list[dict[str, Any]]) -> list[str]:
    """Each finding that nothing answers, and each answer in a file of ours that there is no finding for."""
    wrong = []
    for result in results:
        if "unused_ignores" not in result:
            wrong.append(f"{result['check']}: {result['description'].strip()}")
            continue
        ours = [answer for answer in result["unused_ignores"] if "node_modules" not in answer["file"]]
        wrong += sorted(
            {
                f"{a['file']}:{a['line']}: no finding any more: {', '.join(a['unused_detectors'])}"
                for a in ours
            }
        )
    return wrong


def halmos(arguments: list[str]) -> int:
    """Prove and refute, and say what came out otherwise than it should."""
    if code := _run(["forge", "build", "src"]):  # the AI contract as it is deployed, which the proofs deploy
        return code
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        _run(
            ["halmos", "--forge-build-out", f"out/{PROOFS}", "--json-output", str(report), *arguments],
            _analysis(),
            {"FOUNDRY_PROFILE": PROOFS},
        )
        if not report.exists():  # it did not compile, or nothing of that name is there; it has said so
            return 1
        results = json.loads(report.read_bytes())["test_results"]
    wrong = [problem for proofs in results.values() for proof in proofs for problem in problems_of(proof)]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


def problems_of(proof: dict[str, Any]) -> list[str]:
    """What is wrong with the outcome of one proof, in words."""
    name, code = proof["name"], proof["exitcode"]
    if name.startswith("refute_"):
        return [] if code == REFUTED else [f"{name}: no counterexample was found, and there is one"]
    if code == REFUTED:
        return [f"{name}: there is a counterexample"]
    if code != PROVED:
        return [f"{name}: not proved; halmos came to no end with it (exit code {code})"]
    if proof["num_bounded_loops"]:
        return [f"{name}: not proved; {proof['num_bounded_loops']} loops were not followed to their end"]
    return []


def _analysis() -> list[str]:
    """What runs a tool of ``contracts/analysis``."""
    return [os.environ.get("UV", "uv"), "run", "--quiet", "--locked", "--project", "analysis"]


def _run(
    command: list[str],
    runner: list[str] | None = None,
    more: dict[str, str] | None = None,
    log: Path | None = None,
) -> int:
    environment = node.environment() | (more or {})
    environment.pop("VIRTUAL_ENV", None)  # ours, which is not the tools'
    environment["PATH"] = f"{CONTRACTS / 'node_modules' / '.bin'}{os.pathsep}{environment['PATH']}"
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else None
        return subprocess.run(  # noqa: S603
            [*(runner or []), *command],
            cwd=CONTRACTS,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
