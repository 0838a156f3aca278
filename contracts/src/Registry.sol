// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi, IDtnAiModels} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "./interfaces/IDtnNodes.sol";
import {Names} from "./libraries/Names.sol";

/// @title Registry
/// @notice Who may answer, and what models cost: namespaces, nodes, models.
/// @dev Nothing here moves money; a node's earnings lie in its word so that paying it is one write.
abstract contract Registry is IDtnAiModels, IDtnNodes {
    struct Namespace {
        address owner;
        uint32 nodes;
    }

    struct Node {
        address operator;
        uint96 earned;
        bytes32 namespaceId;
    }

    string private constant SYSTEM = "system";
    bytes32 private constant SYSTEM_ID = keccak256(bytes(SYSTEM));

    mapping(bytes32 namespaceId => Namespace) private _namespaces;
    mapping(bytes32 nodeId => Node) internal _nodes;
    mapping(bytes32 modelId => Model) private _models;

    constructor(address administrator_) {
        _registerNamespace(SYSTEM, administrator_);
    }

    // ──────────────────────────────────────────── namespaces ─────────────────────────────────────────

    /// @inheritdoc IDtnNodes
    function registerNamespace(string calldata name) external returns (bytes32 namespaceId) {
        return _registerNamespace(name, msg.sender);
    }

    /// @inheritdoc IDtnNodes
    function transferNamespace(bytes32 namespaceId, address newOwner) external {
        _requireNamespaceOwner(namespaceId);
        if (newOwner == address(0)) revert DtnAi_AddressZero();
        _namespaces[namespaceId].owner = newOwner;
        emit NamespaceTransferred(namespaceId, newOwner);
    }

    // ────────────────────────────────────────────── nodes ────────────────────────────────────────────

    /// @inheritdoc IDtnNodes
    function registerNode(string calldata namespace, string calldata name, address operator)
        external
        returns (bytes32 nodeId)
    {
        bytes32 namespaceId = keccak256(bytes(namespace));
        _requireNamespaceOwner(namespaceId);
        if (!Names.isValid(name)) revert DtnAi_NameInvalid(name);
        if (operator == address(0)) revert DtnAi_AddressZero();
        // A name has no dot, so this is the id of no namespace and of no other node.
        nodeId = keccak256(abi.encodePacked(namespace, ".", name));
        if (_nodes[nodeId].operator != address(0)) revert DtnAi_NameTaken(name);
        _nodes[nodeId] = Node(operator, 0, namespaceId);
        _namespaces[namespaceId].nodes++;
        emit NodeRegistered(nodeId, namespaceId, operator, name);
    }

    /// @inheritdoc IDtnNodes
    function retireNode(bytes32 nodeId) external {
        bytes32 namespaceId = _nodes[nodeId].namespaceId;
        // No need to verify that the node exists: the namespace of one that does not is zero, and nobody owns that.
        _requireNamespaceOwner(namespaceId);
        _nodes[nodeId].namespaceId = 0;
        _namespaces[namespaceId].nodes--;
        emit NodeRetired(nodeId, namespaceId);
    }

    /// @inheritdoc IDtnNodes
    function transferNode(bytes32 nodeId, address newOperator) external {
        _requireOperator(nodeId);
        if (newOperator == address(0)) revert DtnAi_AddressZero();
        _nodes[nodeId].operator = newOperator;
        emit NodeTransferred(nodeId, newOperator);
    }

    // ────────────────────────────────────────────── models ───────────────────────────────────────────

    /// @inheritdoc IDtnNodes
    function setModel(string calldata name, Model calldata model) external returns (bytes32 id) {
        _requireNamespaceOwner(SYSTEM_ID);
        id = modelId(name);
        _models[id] = model;
        emit ModelSet(id, name, model);
    }

    /// @inheritdoc IDtnAiModels
    function modelId(string calldata name) public pure returns (bytes32) {
        return keccak256(bytes(name));
    }

    // ─────────────────────────────────────────────── views ───────────────────────────────────────────

    /// @inheritdoc IDtnNodes
    function administrator() external view returns (address) {
        return _namespaces[SYSTEM_ID].owner;
    }

    /// @inheritdoc IDtnNodes
    function namespaceOf(bytes32 namespaceId) external view returns (address owner, uint256 nodes) {
        Namespace storage namespace = _namespaces[namespaceId];
        return (namespace.owner, namespace.nodes);
    }

    /// @inheritdoc IDtnNodes
    function nodeOf(bytes32 nodeId) external view returns (address operator, bytes32 namespaceId) {
        Node storage node = _nodes[nodeId];
        return (node.operator, node.namespaceId);
    }

    /// @inheritdoc IDtnNodes
    function earned(bytes32 nodeId) external view returns (uint256) {
        return _nodes[nodeId].earned;
    }

    /// @inheritdoc IDtnNodes
    function modelOf(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }

    // ───────────────────────────────────── what requests ask of it ───────────────────────────────────

    /// @dev Reverts unless the model is offered with this API at these fees.
    function _requireOffered(bytes32 id, IDtnAi.DtnRequest calldata asked) internal view {
        Model memory model = _models[id];
        if (model.apis == 0) revert IDtnAiEvents.DtnAi_ModelNotSupported(id);
        if ((model.apis >> uint8(asked.calltype)) & 1 == 0) {
            revert IDtnAiEvents.DtnAi_ApiNotSupported(id, asked.calltype);
        }
        _requireFee(id, IDtnAi.FeeKind.REQUEST_BYTE, asked.feePerByteReq, model.feePerByteReq);
        _requireFee(id, IDtnAi.FeeKind.RESPONSE_BYTE, asked.feePerByteRes, model.feePerByteRes);
        _requireFee(id, IDtnAi.FeeKind.RESPONSE_TOTAL, asked.totalFeePerRes, model.totalFeePerRes);
    }

    /// @dev Reverts unless `needed` registered nodes are trusted. A node named twice, or named and in a trusted
    /// namespace, counts twice: this only spares the asker a wait for a quorum that cannot be.
    function _requireNodes(bytes32[] memory trusted, uint256 needed) internal view {
        uint256 eligible;
        for (uint256 i = 0; i < trusted.length && eligible < needed; i++) {
            uint256 nodes = _namespaces[trusted[i]].nodes;
            if (nodes == 0 && _nodes[trusted[i]].operator != address(0)) nodes = 1;
            eligible += nodes;
        }
        if (eligible < needed) revert IDtnAiEvents.DtnAi_NoNodesAvailable(needed, eligible);
    }

    // ───────────────────────────────────── what answers ask of it ────────────────────────────────────

    /// @dev Reverts unless the node is named, or in a namespace that is.
    function _requireTrusted(bytes32 requestId, bytes32[] memory trusted, bytes32 nodeId) internal view {
        for (uint256 i = 0; i < trusted.length; i++) {
            if (trusted[i] == nodeId) return;
        }
        bytes32 namespaceId = _nodes[nodeId].namespaceId;
        for (uint256 i = 0; namespaceId != 0 && i < trusted.length; i++) {
            if (trusted[i] == namespaceId) return;
        }
        revert DtnAi_NodeNotTrusted(requestId, nodeId);
    }

    function _requireOperator(bytes32 nodeId) internal view {
        if (_nodes[nodeId].operator != msg.sender) revert DtnAi_NotOperator(nodeId, msg.sender);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _registerNamespace(string memory name, address owner) private returns (bytes32 namespaceId) {
        if (!Names.isValid(name)) revert DtnAi_NameInvalid(name);
        if (owner == address(0)) revert DtnAi_AddressZero();
        namespaceId = keccak256(bytes(name));
        if (_namespaces[namespaceId].owner != address(0)) revert DtnAi_NameTaken(name);
        _namespaces[namespaceId].owner = owner;
        emit NamespaceRegistered(namespaceId, owner, name);
    }

    function _requireNamespaceOwner(bytes32 namespaceId) private view {
        if (_namespaces[namespaceId].owner != msg.sender) revert DtnAi_NotNamespaceOwner(namespaceId, msg.sender);
    }

    function _requireFee(bytes32 id, IDtnAi.FeeKind kind, uint256 offered, uint256 price) private pure {
        if (offered < price) revert IDtnAiEvents.DtnAi_InsufficientFee(id, kind, offered, price);
    }
}
