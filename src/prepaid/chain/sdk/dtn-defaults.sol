// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi} from "./idtn-ai.sol";

/// @title DtnDefaults
/// @notice The routings most contracts want.
library DtnDefaults {
    /// @notice The namespace whose nodes the AI contract's administrator registers.
    bytes32 internal constant SYSTEM_NAMESPACE = keccak256("system");

    /// @notice Any node of the system namespace, as a list of ids.
    function defaultSystemTrust() internal pure returns (bytes32[] memory) {
        return singleArray(SYSTEM_NAMESPACE);
    }

    /// @notice One answer, of any node of the system namespace.
    function defaultRoutingSystemValidatedAny() internal pure returns (IDtnAi.DtnRouting memory routing) {
        routing.trustNamespaceIds = defaultSystemTrust();
        routing.redundancy = 1;
        routing.aggregationType = IDtnAi.AggregationType.ANY;
    }

    /// @notice One answer, of any of `nodeIds`.
    function defaultCustomNodesValidatedAny(bytes32[] memory nodeIds)
        internal
        pure
        returns (IDtnAi.DtnRouting memory routing)
    {
        routing.trustedNodeIds = nodeIds;
        routing.redundancy = 1;
        routing.aggregationType = IDtnAi.AggregationType.ANY;
    }

    /// @notice One answer, signed by all of `nodeIds`, of which there are at most seven.
    function defaultCustomNodesValidatedAll(bytes32[] memory nodeIds)
        internal
        pure
        returns (IDtnAi.DtnRouting memory routing)
    {
        routing.trustedNodeIds = nodeIds;
        routing.redundancy = uint32(nodeIds.length);
        routing.aggregationType = IDtnAi.AggregationType.ALL;
    }

    /// @notice A list of one.
    function singleArray(bytes32 item) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = item;
    }

    /// @notice A list of one, as prompts are.
    /// @dev A short literal could be either type: write `string("Why?")`.
    function singleArray(string memory item) internal pure returns (string[] memory list) {
        list = new string[](1);
        list[0] = item;
    }
}
