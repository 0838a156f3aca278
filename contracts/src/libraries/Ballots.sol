// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnNodes} from "../interfaces/IDtnNodes.sol";

/// @title Ballots
/// @notice Counts what nodes think of each other's answers. No node's opinion of its own counts.
/// @dev At most seven ballots (see {Routings}), so that an index fits four bits and every loop is short.
library Ballots {
    /// @dev The set that all ballots must have been cast on: every node and the hash of its candidate, in order.
    function candidatesOf(IDtnNodes.Ballot[] calldata ballots) internal pure returns (bytes32) {
        bytes32[] memory words = new bytes32[](2 * ballots.length);
        for (uint256 i = 0; i < ballots.length; i++) {
            words[2 * i] = ballots[i].nodeId;
            words[2 * i + 1] = ballots[i].responseHash;
        }
        return keccak256(abi.encodePacked(words));
    }

    /// @dev SELECT_BEST: the index most ballots pick; of equals, the first.
    function bestOf(IDtnNodes.Ballot[] calldata ballots) internal pure returns (uint256 best) {
        uint256[] memory picks = new uint256[](ballots.length);
        for (uint256 i = 0; i < ballots.length; i++) {
            uint256 pick = ballots[i].preference;
            if (pick >= ballots.length) revert IDtnNodes.DtnAi_PreferenceInvalid(ballots[i].nodeId, pick);
            if (pick != i) picks[pick]++;
        }
        for (uint256 i = 1; i < picks.length; i++) {
            if (picks[i] > picks[best]) best = i;
        }
    }

    /// @dev RANK: all indices, best first. A candidate gets from each other node a point for every candidate that node
    /// places behind it (Borda); of equals, the first comes first.
    function orderOf(IDtnNodes.Ballot[] calldata ballots) internal pure returns (uint256[] memory order) {
        uint256 n = ballots.length;
        uint256[] memory points = new uint256[](n);
        for (uint256 i = 0; i < n; i++) {
            _count(ballots[i], i, points);
        }
        order = new uint256[](n);
        for (uint256 i = 0; i < n; i++) {
            uint256 place = i;
            for (; place > 0 && points[order[place - 1]] < points[i]; place--) {
                order[place] = order[place - 1];
            }
            order[place] = i;
        }
    }

    /// @dev Adds one ballot's points; reverts unless it places every candidate once and nothing else.
    function _count(IDtnNodes.Ballot calldata ballot, uint256 own, uint256[] memory points) private pure {
        uint256 n = points.length;
        uint256 seen;
        for (uint256 place = 0; place < n; place++) {
            uint256 index = (ballot.preference >> (4 * place)) & 0xf;
            seen |= 1 << index;
            if (index < n && index != own) points[index] += n - 1 - place;
        }
        if (seen != (1 << n) - 1 || ballot.preference >> (4 * n) != 0) {
            revert IDtnNodes.DtnAi_PreferenceInvalid(ballot.nodeId, ballot.preference);
        }
    }
}
