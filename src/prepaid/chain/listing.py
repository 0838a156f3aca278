"""What an owner or an operator has on the AI contract, found by its events and told as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prepaid.chain.ai import AiContract
from prepaid.chain.ai.sessions import SessionBooks
from prepaid.chain.connection import as_address
from prepaid.chain.logs import Logs

__all__ = ["ListedNode", "nodes_since", "sessions_since"]


@dataclass(frozen=True, slots=True)
class ListedNode:
    """A registered node; ``earned`` is what waits for its operator, in base units."""

    name: str
    node_id: str
    operator: str
    is_retired: bool
    earned: int


async def sessions_since(ai: AiContract, owner: str, first_block: int = 0) -> list[SessionBooks]:
    """The sessions that ``owner`` started in ``first_block`` or later, newest first, closed ones too.

    Raises:
        ChainUnreachable, ChainError: the endpoint does not give these logs.
    """
    word = f"0x{as_address(owner)[2:].lower():0>64}"
    started = await _told(ai, "SessionStarted", [None, word], first_block)
    return [await ai.session_of(told["sessionId"]) for told in reversed(started)]


async def nodes_since(ai: AiContract, first_block: int = 0) -> list[ListedNode]:
    """The nodes that were registered in ``first_block`` or later, in order.

    Where a namespace is older, its id stands for its name.

    Raises:
        ChainUnreachable, ChainError: the endpoint does not give these logs.
    """
    namespaces = {
        told["namespaceId"]: told["name"] for told in await _told(ai, "NamespaceRegistered", [], first_block)
    }
    found = []
    for told in await _told(ai, "NodeRegistered", [], first_block):
        namespace = namespaces.get(told["namespaceId"], f"0x{told['namespaceId'].hex()}")
        node_id = f"0x{told['nodeId'].hex()}"
        node, earned = await ai.node_of(node_id), await ai.earned(node_id)
        name = f"{namespace}.{told['name']}"
        found.append(ListedNode(name, node_id, node.operator, node.namespace_id is None, earned))
    return found


async def _told(ai: AiContract, event: str, topics: Sequence[Any], first_block: int) -> list[dict[str, Any]]:
    """The arguments of all events of a name since a block."""
    contract = ai.contract
    wanted = [contract.topic(event), *topics]
    pieces = Logs(contract.chain).between(ai.address, wanted, first_block, await contract.chain.head())
    return [contract.decode(event, log) async for logs, _ in pieces for log in logs]
