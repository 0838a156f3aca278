"""The table on the terminal, and ``results.json`` with the machine."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Figure

RESULTS = Path(__file__).with_name("results.json")


def table(console: Console, found: list[tuple[str, Figure]]) -> None:
    shown = Table(title="prepaid, measured", title_justify="left")
    for heading in ("row", "what", "against"):
        shown.add_column(heading)
    for heading in ("measured", "lowest – highest", "target"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("beside")
    for row, figure in found:
        style = "" if not figure.target else "green" if figure.is_met else "bold red"
        shown.add_row(
            row,
            figure.what,
            figure.against,
            f"[{style}]{_number(figure.value)} {figure.unit}[/]"
            if style
            else f"{_number(figure.value)} {figure.unit}",
            f"{_number(min(figure.values))} – {_number(max(figure.values))}",
            figure.target,
            ", ".join(f"{name} {value}" for name, value in figure.told.items()),
        )
    console.print(shown)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def save(found: list[tuple[str, Figure]], directory: Path) -> None:
    """Replace the rows that were measured; rows measured on another machine are dropped."""
    now = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": _commit()}
    this = machine(directory)
    kept: list[dict[str, Any]] = []
    if RESULTS.exists():
        before = json.loads(RESULTS.read_text(encoding="utf-8"))
        if before["machine"] == this:
            rows = {row for row, _ in found}
            kept = [figure for figure in before["figures"] if figure["row"] not in rows]
    figures = kept + [_as_json(row, figure) | now for row, figure in found]
    content = {"machine": this, "figures": figures}
    RESULTS.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _as_json(row: str, figure: Figure) -> dict[str, Any]:
    return {
        "row": row,
        "what": figure.what,
        "against": figure.against,
        "value": round(figure.value, 4),
        "lowest": round(min(figure.values), 4),
        "highest": round(max(figure.values), 4),
        "rounds": len(figure.values),
        "unit": figure.unit,
        "target": figure.target,
        "is_met": figure.is_met,
        "beside": figure.told,
    }


def machine(directory: Path) -> dict[str, Any]:
    return {
        "cpu": _first_match("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_mib": int((_first_match("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // 1024,
        "kernel": platform.release(),
        "file_system": _file_system(directory),
        "python": platform.python_version(),
        "sqlite_of_apsw": apsw.sqlite_lib_version(),
        "sqlite_of_python": sqlite3.sqlite_version,
    }


def _first_match(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _file_system(directory: Path) -> str:
    """The kind of the mount that is nearest above ``directory``."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    mounts = {Path(line.split()[1]): line.split()[2] for line in lines}
    path = directory.resolve()
    return next((mounts[each] for each in (path, *path.parents) if each in mounts), "unknown")


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"
