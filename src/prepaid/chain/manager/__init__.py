"""The session manager contract's client: ``ManagerContract``, and the records that it hands out (spec B)."""

from __future__ import annotations

from prepaid.chain.manager.client import ManagerContract
from prepaid.chain.manager.pool import Lease
from prepaid.chain.manager.sessions import ManagedSession, ManagedState

__all__ = ["Lease", "ManagedSession", "ManagedState", "ManagerContract"]
