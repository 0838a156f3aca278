"""The contracts as compiled, and the SDK that other contracts import: ``scripts/build_contracts.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

__all__ = ["Artefact", "artefact", "copy_sdk", "gas_report"]


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """One contract: what it is called, its interface, and the code that creates it."""

    name: str
    contract: str
    compiler: str
    abi: tuple[dict[str, Any], ...]
    bytecode: str


@cache
def artefact(name: str) -> Artefact:
    """The contract of this name in ``abi/``, such as ``dtn_ai``; ``test_…`` are for local chains."""
    made = _generated(name)
    return Artefact(name, made["contract"], made["compiler"], tuple(made["abi"]), made["bytecode"])


def gas_report() -> dict[str, dict[str, int]]:
    """What each step costs, by contract (``ai``, ``session-manager``): gas of whole receipts."""
    return dict(_generated("gas"))


def copy_sdk(folder: Path) -> list[Path]:
    """Copy the SDK to where ``@deeptrust/contracts/`` is mapped to; the files written (spec B15)."""
    written = []
    with resources.as_file(resources.files(__package__).joinpath("sdk")) as source:
        for path in sorted(source.rglob("*.sol")):
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            written.append(target)
    return written


def _generated(name: str) -> Any:
    return json.loads(resources.files(__package__).joinpath("abi", f"{name}.json").read_bytes())
