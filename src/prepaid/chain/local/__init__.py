"""A chain on this machine, for demos, for trying things out, and for tests of dApps: ``local_chain()``."""

from __future__ import annotations

from prepaid.chain.local.chain import Engine, LocalChain, local_chain

__all__ = ["Engine", "LocalChain", "local_chain"]
