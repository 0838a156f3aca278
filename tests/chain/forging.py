"""Foundry from npm, with the compiler from npm, as the contracts' own tests have them."""

from __future__ import annotations

import os
import sys

from chain.anvil import CONTRACTS, ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from node import environment


def tools():
    """The environment in which ``forge`` is this one."""
    (forge,) = (CONTRACTS / "node_modules" / "@foundry-rs").glob("forge-*/bin")
    return os.environ | {
        "PATH": f"{forge}{os.pathsep}{environment()['PATH']}",
        "NO_COLOR": "1",
        "FOUNDRY_SOLC": str(CONTRACTS / "tools" / "solc.mjs"),
        "FOUNDRY_ALLOW_PATHS": f"[{CONTRACTS}]",
    }


def link_packages(folder):
    """OpenZeppelin's contracts and ethers, where npm would put them."""
    (folder / "node_modules").symlink_to(CONTRACTS / "node_modules")
