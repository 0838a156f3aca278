"""Namespaces, nodes and models: who may answer, and at what price (spec A11, A12)."""

from __future__ import annotations

from dataclasses import dataclass

from prepaid.chain.ai.answers import Answers
from prepaid.chain.connection import as_address
from prepaid.chain.values import NOBODY, ChainModel, as_id
from prepaid.errors import NoNodesAvailable

__all__ = ["ChainNode", "Namespace", "Registry"]


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; ``owner`` registers its ``nodes``."""

    namespace_id: str
    owner: str
    nodes: int


@dataclass(frozen=True, slots=True)
class ChainNode:
    """A node: whose it is, and the id of its namespace, ``None`` once it is retired."""

    node_id: str
    operator: str
    namespace_id: str | None


class Registry(Answers):
    """The part of ``AiContract`` where names are registered."""

    async def register_namespace(self, name: str) -> str:
        """Take a namespace for the wallet, for good: 1 to 32 of a-z, 0-9 and the hyphen; its id.

        Raises:
            ContractReverted: it is taken, or no name.
        """
        receipt = await self.contract.send("registerNamespace", name)
        return _id(self.contract.events(receipt, "NamespaceRegistered")[0]["namespaceId"])

    async def transfer_namespace(self, namespace: str, new_owner: str) -> None:
        """Give a namespace away, in one step: check the address."""
        await self.contract.send("transferNamespace", as_id(namespace), as_address(new_owner))

    async def register_node(self, namespace: str, name: str, operator: str | None = None) -> str:
        """Register ``namespace.name``, operated by ``operator`` or by the wallet; its id.

        Raises:
            ContractReverted: the namespace is not the wallet's, or the name taken.
        """
        whose = as_address(operator or self.contract.caller)
        receipt = await self.contract.send("registerNode", namespace, name, whose)
        return _id(self.contract.events(receipt, "NodeRegistered")[0]["nodeId"])

    async def retire_node(self, node: str) -> None:
        """Take a node out of its namespace; what it has earned stays its operator's."""
        await self.contract.send("retireNode", as_id(node))

    async def transfer_node(self, node: str, new_operator: str) -> None:
        """Give a node, and what it has earned, away."""
        await self.contract.send("transferNode", as_id(node), as_address(new_operator))

    async def set_model(self, name: str, model: ChainModel) -> str:
        """Offer a model, or change its price for later requests; as the administrator. Its id.

        Raises:
            ContractReverted: the wallet is not the administrator.
        """
        receipt = await self.contract.send("setModel", name, model.words())
        return _id(self.contract.events(receipt, "ModelSet")[0]["modelId"])

    async def administrator(self) -> str:
        """Who registers system nodes and models, and can do nothing else."""
        return str(await self.contract.call("administrator"))

    async def namespace_of(self, name: str) -> Namespace | None:
        """A namespace, if it is registered."""
        owner, nodes = await self.contract.call("namespaceOf", as_id(name))
        return None if owner == NOBODY else Namespace(as_id(name), owner, nodes)

    async def node_of(self, name: str) -> ChainNode:
        """A node.

        Raises:
            NoNodesAvailable: none of this name is registered.
        """
        operator, namespace_id = await self.contract.call("nodeOf", as_id(name))
        if operator == NOBODY:
            raise NoNodesAvailable(f"No node {name!r} is registered.")
        return ChainNode(as_id(name), operator, _id(namespace_id) if any(namespace_id) else None)


def _id(content: bytes) -> str:
    return f"0x{content.hex()}"
