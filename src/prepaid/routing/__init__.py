"""Which nodes may answer, and how their answers become one. Pure: no clock, no chance, no I/O.

A runner asks the nodes that ``select_nodes`` chose, all at once, collects answers in the order in
which they complete until ``is_decided`` or out of time, and hands them to ``aggregate``. Paying the
nodes, waiting for them and retrying are its job; to retry elsewhere it selects again among the
nodes it has not tried. Source: spec A12; the words are those of the contracts' ``DtnRouting``.

How many answers an aggregation needs, of the ``redundancy`` nodes that are asked:

==============  =============================================================================
ANY             one; the first to complete is chosen
ALL             every one; all are chosen
VOTE            as many *equal* ones as ``confidence`` percent, and always more than half
SELECT_BEST     ``confidence`` percent, at least one; the best-scored of those that came
RANK            the same; all of those that came, best first
==============  =============================================================================
"""

from __future__ import annotations

from prepaid.routing.consensus import (
    Answer,
    Scorer,
    aggregate,
    agreement,
    answers_needed,
    is_decided,
)
from prepaid.routing.nodes import (
    CONFIDENCE_MAX,
    REDUNDANCY_MAX,
    SYSTEM_NAMESPACE,
    Aggregation,
    Node,
    Routing,
    custom_nodes_validated_all,
    custom_nodes_validated_any,
    default_system_trust,
    routing_from_ids,
    select_nodes,
    system_validated_any,
)

__all__ = [
    "CONFIDENCE_MAX",
    "REDUNDANCY_MAX",
    "SYSTEM_NAMESPACE",
    "Aggregation",
    "Answer",
    "Node",
    "Routing",
    "Scorer",
    "aggregate",
    "agreement",
    "answers_needed",
    "custom_nodes_validated_all",
    "custom_nodes_validated_any",
    "default_system_trust",
    "is_decided",
    "routing_from_ids",
    "select_nodes",
    "system_validated_any",
]
