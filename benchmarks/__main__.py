"""``python -m benchmarks [row …]``: measure, print the table, keep it; non-zero when a target is missed."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.context import Context
from benchmarks.harness import Figure

ROWS = {
    "ledger": "ledger:throughput",
    "hot": "ledger:hot",
    "latency": "ledger:latency",
    "growth": "growth:run",
    "turns": "turns:run",
    "reads": "reads:run",
    "disk": "disk:run",
    "cleanup": "cleanup:run",
    "memory": "memory:run",
    "imports": "imports:run",
    "gateway": "gateway.table:run",
    "left": "gateway.left:run",
    "postgres": "postgres:throughput",
    "postgres-hot": "postgres:hot",
    "postgres-cpu": "postgres_cpu:run",
    "node": "chain.rows:throughput",
    "node-latency": "chain.rows:latency",
    "node-catching-up": "chain.rows:catching_up",
    "postgres-gateways": "gateway.crew:run",
}
NAMED_ONLY = {
    "gateway",
    "left",
    "postgres",
    "postgres-hot",
    "postgres-cpu",
    "postgres-gateways",
    "node",
    "node-latency",
    "node-catching-up",
}
"""They take long, both cores, and programs that are not ours."""


def main() -> int:
    arguments = _arguments()
    console = Console(stderr=True)
    context = Context(
        directory=arguments.directory,
        rounds=3 if arguments.quick else arguments.rounds,
        size=0.2 if arguments.quick else 1.0,
        say=lambda text: console.print(f"  {text}", style="dim"),
    )
    if report.machine(context.directory)["file_system"] in ("tmpfs", "ramfs"):
        console.print(
            f"{context.directory} is in memory, where durable costs nothing: pass --directory.", style="red"
        )
        return 2
    found: list[tuple[str, Figure]] = []
    broken: list[str] = []
    for row in arguments.rows or [row for row in ROWS if row not in NAMED_ONLY]:
        began = time.monotonic()
        console.print(f"{row} …")
        module, _, name = ROWS[row].partition(":")
        run = getattr(importlib.import_module(f"benchmarks.{module}"), name)
        try:
            found += [(row, figure) for figure in asyncio.run(run(context))]
        except Exception:  # noqa: BLE001 -- one broken row does not take the others with it
            console.print_exception()
            broken.append(row)
        console.print(f"  {time.monotonic() - began:.0f} s", style="dim")
    report.table(Console(width=max(Console().width, 160)), found)
    if not arguments.quick and not arguments.dry:
        report.save(found, context.directory)
    missed = [f"{row}: {figure.what}" for row, figure in found if not figure.is_met]
    for each in missed:
        console.print(f"missed: {each}", style="bold red")
    for row in broken:
        console.print(f"broken: {row}", style="bold red")
    return 1 if missed or broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        choices=[[], *ROWS],
        help=f"any of {', '.join(ROWS)}; by default all but {', '.join(NAMED_ONLY)}",
    )
    parser.add_argument("--rounds", type=int, default=9, help="how often each side runs (default 9)")
    parser.add_argument(
        "--quick", action="store_true", help="a look: 3 rounds, a fifth of the work, nothing kept"
    )
    parser.add_argument("--dry", action="store_true", help="keep nothing in results.json")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the databases lie while they are measured; on a disk, not in memory",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
