"""The node: a contract asks, a model answers, the node is paid (spec A10 to A17).

``run_node`` runs what the settings say; a ``Node`` answers one contract's requests.
"""

from __future__ import annotations

from prepaid.chain.node.journal import Journal, State
from prepaid.chain.node.node import Node
from prepaid.chain.node.running import run_node

__all__ = ["Journal", "Node", "State", "run_node"]
