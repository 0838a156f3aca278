// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

/// @title Routings
/// @notice What a routing means: whom to trust, how many must answer, how many must agree.
library Routings {
    uint256 private constant REDUNDANCY_MAX = 7;
    uint256 private constant CONFIDENCE_MAX = 100;
    /// Each id is read when asked, compared when answered: a settlement stays within reach of any block.
    uint256 private constant IDS_MAX = 16;

    /// @dev Fresh terms for one answer of any of `ids`.
    function anyOf(bytes32[] calldata ids) internal pure returns (IDtnAiEvents.Terms memory terms) {
        _requireShort(ids.length);
        terms.trusted = ids;
        terms.redundancy = 1;
        terms.quorum = 1;
    }

    /// @dev Fresh terms that say what `routing` means.
    function meaningOf(IDtnAi.DtnRouting calldata routing) internal pure returns (IDtnAiEvents.Terms memory terms) {
        uint256 n = routing.redundancy;
        if (n == 0 || n > REDUNDANCY_MAX) revert IDtnAiEvents.DtnAi_RedundancyOutOfRange(n, REDUNDANCY_MAX);
        if (routing.confidenceLevel > CONFIDENCE_MAX) {
            revert IDtnAiEvents.DtnAi_ConfidenceOutOfRange(routing.confidenceLevel, CONFIDENCE_MAX);
        }
        terms.trusted = _concat(routing.trustNamespaceIds, routing.trustedNodeIds);
        terms.aggregationType = routing.aggregationType;
        // Of ANY, one node is paid whatever n is, so one is held for.
        terms.redundancy = routing.aggregationType == IDtnAi.AggregationType.ANY ? 1 : uint8(n);
        terms.quorum = terms.redundancy;
        if (routing.aggregationType == IDtnAi.AggregationType.VOTE) {
            // Rounded up: a share of the nodes that is not a whole number asks for the next one.
            uint256 share = (n * routing.confidenceLevel + CONFIDENCE_MAX - 1) / CONFIDENCE_MAX;
            uint256 most = majorityOf(n);
            terms.quorum = uint8(share > most ? share : most);
        }
    }

    /// @dev The fewest of `n` that are more than half.
    function majorityOf(uint256 n) internal pure returns (uint256) {
        return n / 2 + 1;
    }

    function _concat(bytes32[] calldata a, bytes32[] calldata b) private pure returns (bytes32[] memory ids) {
        _requireShort(a.length + b.length);
        ids = new bytes32[](a.length + b.length);
        for (uint256 i = 0; i < a.length; i++) {
            ids[i] = a[i];
        }
        for (uint256 i = 0; i < b.length; i++) {
            ids[a.length + i] = b[i];
        }
    }

    function _requireShort(uint256 ids) private pure {
        if (ids > IDS_MAX) revert IDtnAiEvents.DtnAi_RoutingTooLong(ids, IDS_MAX);
    }
}
