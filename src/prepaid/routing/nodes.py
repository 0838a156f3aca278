"""Who may answer: nodes, the routing that trusts some of them, and the choice among those."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from prepaid.errors import InvalidRequestError, NoNodesAvailable
from prepaid.records import Api

__all__ = [
    "CONFIDENCE_MAX",
    "REDUNDANCY_MAX",
    "SYSTEM_NAMESPACE",
    "Aggregation",
    "Node",
    "Routing",
    "custom_nodes_validated_all",
    "custom_nodes_validated_any",
    "default_system_trust",
    "routing_from_ids",
    "select_nodes",
    "system_validated_any",
]

REDUNDANCY_MAX: Final = 7
"""Nodes that one request may be sent to."""

CONFIDENCE_MAX: Final = 100
"""Confidence is a percentage of the redundancy."""

SYSTEM_NAMESPACE: Final = "trust.system.authored"
"""The namespace of the nodes that the operator vouches for."""

_LISTED_MAX: Final = 8


class Aggregation(IntEnum):
    """How several answers become one; the numbers are those of the contracts' ``AggregationType``."""

    ANY = 0
    ALL = 1
    SELECT_BEST = 2
    VOTE = 3
    RANK = 4


@dataclass(frozen=True, slots=True)
class Node:
    """Somebody who answers: which namespace vouches for it, which models it runs, what they can do."""

    node_id: str
    namespace: str
    models: frozenset[str]
    apis: frozenset[Api]


@dataclass(frozen=True, slots=True)
class Routing:
    """Whom a request trusts and how many of them must say what.

    A node is trusted by its namespace or by its id. ``redundancy`` nodes are asked;
    ``confidence`` is a percentage of them, by default more than half (see the module).

    Raises:
        InvalidRequestError: a number outside its limits, or nobody trusted at all.
    """

    trust_namespaces: tuple[str, ...] = ()
    trusted_nodes: tuple[str, ...] = ()
    redundancy: int = 1
    confidence: int = 51
    aggregation: Aggregation = Aggregation.ANY

    def __post_init__(self) -> None:
        _check_ids("trust_namespaces", self.trust_namespaces)
        _check_ids("trusted_nodes", self.trusted_nodes)
        _check_range("redundancy", self.redundancy, 1, REDUNDANCY_MAX)
        _check_range("confidence", self.confidence, 0, CONFIDENCE_MAX)
        if not isinstance(self.aggregation, Aggregation):
            raise InvalidRequestError(
                f"Aggregation {self.aggregation!r} is unknown; known are {_listed(Aggregation.__members__)}.",
                remedy="Pass one of prepaid.routing.Aggregation.",
            )
        if not self.trust_namespaces and not self.trusted_nodes:
            raise InvalidRequestError(
                "A routing with 0 namespaces and 0 nodes trusts nobody; it needs at least 1 of either.",
                remedy=f"Name nodes, or trust the namespace {SYSTEM_NAMESPACE!r}.",
            )

    def trusts(self, node: Node) -> bool:
        """Whether ``node`` may answer: its namespace or the node itself is trusted."""
        return node.namespace in self.trust_namespaces or node.node_id in self.trusted_nodes


def default_system_trust() -> tuple[str, ...]:
    """The ids that trust the operator's own nodes, for ``routing_from_ids``."""
    return (SYSTEM_NAMESPACE,)


def system_validated_any() -> Routing:
    """One of the operator's nodes; the first answer counts."""
    return Routing(trust_namespaces=default_system_trust())


def custom_nodes_validated_any(nodes: Iterable[str]) -> Routing:
    """One of these nodes, whichever the request falls to; the first answer counts."""
    return Routing(trusted_nodes=_unique(nodes))


def custom_nodes_validated_all(nodes: Iterable[str]) -> Routing:
    """Every one of these nodes, at most ``REDUNDANCY_MAX``; all must answer."""
    named = _unique(nodes)
    # Without any node the missing trust is what to complain about, not a redundancy of 0.
    return Routing(trusted_nodes=named, redundancy=len(named) or 1, aggregation=Aggregation.ALL)


def routing_from_ids(ids: Iterable[str]) -> Routing:
    """The short form of a routing: each id is a namespace's or a node's; the first answer counts."""
    named = _unique(ids)
    return Routing(trust_namespaces=named, trusted_nodes=named)


def select_nodes(
    nodes: Iterable[Node], routing: Routing, model: str, apis: Collection[Api] = (), *, seed: str
) -> tuple[Node, ...]:
    """The ``redundancy`` nodes that this request goes to, in order of preference.

    The same ``seed`` (the request's id) always gives the same nodes, whatever order they are
    listed in; over many seeds every eligible node gets an equal share, and a node that comes or
    goes moves only its own share (rendezvous hashing, Thaler and Ravishankar 1998).

    Raises:
        NoNodesAvailable: fewer eligible nodes than the redundancy asks for.
    """
    known = {node.node_id: node for node in nodes}
    wanted = frozenset(apis)
    eligible = [
        node
        for node in known.values()
        if routing.trusts(node) and model in node.models and wanted <= node.apis
    ]
    if len(eligible) < routing.redundancy:
        raise NoNodesAvailable(
            f"{len(eligible)} of {len(known)} known nodes are eligible and {routing.redundancy} are needed "
            f"for model {model[:64]!r} with {_listed(sorted(wanted))}, trusting namespaces "
            f"{_listed(routing.trust_namespaces)} and nodes {_listed(routing.trusted_nodes)}."
        )
    eligible.sort(key=lambda node: _weight(seed, node.node_id), reverse=True)
    return tuple(eligible[: routing.redundancy])


def _weight(seed: str, node_id: str) -> bytes:
    """What ``node_id`` bids for ``seed``; of nodes under one seed no two bid the same."""
    return hashlib.sha256(f"{seed}:{node_id}".encode("utf-8", "surrogatepass")).digest()


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    if isinstance(ids, str):
        raise _not_ids("ids", ids)
    return tuple(dict.fromkeys(ids))


def _check_ids(name: str, ids: object) -> None:
    # A bare string would trust every node whose id is a part of it.
    if not isinstance(ids, tuple) or not all(isinstance(one, str) and one for one in ids):
        raise _not_ids(name, ids)


def _not_ids(name: str, ids: object) -> InvalidRequestError:
    return InvalidRequestError(
        f"{name} is {str(ids)[:64]!r}, a {type(ids).__name__}; it must be a tuple of names, none empty.",
        remedy='Pass ("node.mine.1",), even for a single name.',
    )


def _check_range(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise InvalidRequestError(
            f"{name.capitalize()} {value!r:.64} is not a whole number from {least} to {most}.",
            remedy=f"Pass {name} within {least} and {most}.",
        )


def _listed(names: Iterable[str]) -> str:
    """The first few of ``names``, for a message."""
    listed = [name[:64] for name in names]
    more = f" and {len(listed) - _LISTED_MAX} more" if len(listed) > _LISTED_MAX else ""
    return f"[{', '.join(listed[:_LISTED_MAX])}{more}]"
