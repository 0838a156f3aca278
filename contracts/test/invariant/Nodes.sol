// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Books} from "./Books.sol";

/// @notice Nodes that answer as they should, when they should; clocks; and earnings.
abstract contract Nodes is Books {
    uint256 private gasPrice;

    constructor(uint8 decimals_) Books(decimals_) {}

    /// @dev A right answer settles its request, whatever callback, user and token do: it is asserted to.
    function answer(uint256 which, uint256 seed) external {
        if (inFlight.length == 0) return;
        seed = _mix(seed);
        uint256 index = which % inFlight.length;
        IDtnAiEvents.Terms memory terms = termsOf(inFlight[index].terms);
        if (block.timestamp > terms.deadline) return _expire(index);
        gasPrice = (seed >> 250) % 3 * 1 gwei;
        bool fails = (seed >> 248) % 4 == 0;
        bool ballot =
            !fails && uint8(terms.aggregationType) % 2 == 0 && terms.aggregationType > IDtnAi.AggregationType.ANY;
        if (ballot) return _answerByBallots(index, terms, seed);
        if (!fails && terms.quorum == 1 && seed % 2 == 0) return _answerAlone(index, terms, seed);
        _answerBySeals(index, terms, seed, fails);
    }

    function expire(uint256 which) external {
        if (inFlight.length > 0) _expire(which % inFlight.length);
    }

    function withdraw(uint256 which) external {
        bytes32 nodeId = nodeIds[which % 7];
        address operator = operators[which % 7].addr;
        (bool done,) = _try("withdraw", operator, 0, abi.encodeCall(IDtnNodes.withdraw, (nodeId, operator)));
        vm.assertEq(done, earnedBy[nodeId] > 0, "I7: a withdrawal that must succeed, or must not");
        earnedBy[nodeId] = 0;
    }

    function pass(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1, 30 minutes));
    }

    function passDays(uint256 time) external {
        if (time % 16 == 0) vm.warp(block.timestamp + bound(time, 1 hours, 1 days));
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _answerAlone(uint256 index, IDtnAiEvents.Terms memory terms, uint256 seed) private {
        IDtnNodes.Answer memory given = _answer(seed, false);
        uint256 node = _firstNode(seed, 1, terms.redundancy);
        uint256 fee = _fee(terms, given.response.length);
        bytes memory data = abi.encodeWithSignature(
            "respondToRequest(bytes,bytes32,(uint8,string,bytes))", inFlight[index].terms, nodeIds[node], given
        );
        _settleBy("answer alone", operators[node].addr, terms, data);
        earnedBy[nodeIds[node]] += fee;
        _settle(index, fee);
    }

    function _answerBySeals(uint256 index, IDtnAiEvents.Terms memory terms, uint256 seed, bool fails) private {
        IDtnNodes.Answer memory given = _answer(seed, fails);
        uint256 least = fails ? terms.redundancy / 2 + 1 : terms.quorum;
        uint256 n = bound(seed >> 16, least, terms.redundancy);
        uint256 first = _firstNode(seed, n, terms.redundancy);
        bytes memory data = abi.encodeWithSignature(
            "respondToRequest(bytes,(uint8,string,bytes),(bytes32,bytes)[])",
            inFlight[index].terms,
            given,
            _seals(inFlight[index].id, given, first, n)
        );
        _settleBy(fails ? "fail" : "answer by seals", thief.addr, terms, data);
        uint256 fee = fails ? terms.requestFee : _fee(terms, given.response.length);
        for (uint256 i = first; i < first + n; i++) {
            earnedBy[nodeIds[i]] += fee;
        }
        _settle(index, n * fee);
    }

    /// @dev All prefer the same: who is counted first, and how, is `LibrariesTest`'s matter.
    function _answerByBallots(uint256 index, IDtnAiEvents.Terms memory terms, uint256 seed) private {
        uint256 n = terms.redundancy;
        bool rank = terms.aggregationType == IDtnAi.AggregationType.RANK;
        bytes[] memory candidates = new bytes[](n);
        uint256[] memory preferences = new uint256[](n);
        uint256 best = n == 1 ? 0 : seed % n;
        for (uint256 i = 0; i < n; i++) {
            candidates[i] = new bytes((seed >> (16 * i)) % 400);
            preferences[i] = rank ? 0x6543210 & ((1 << (4 * n)) - 1) : best;
        }
        bytes[] memory delivered = rank ? candidates : new bytes[](1);
        if (!rank) delivered[0] = candidates[best];
        IDtnNodes.Ballot[] memory cast = ballots(inFlight[index].terms, candidates, preferences);
        bytes memory data = abi.encodeWithSignature(
            "respondToRequest(bytes,bytes[],(bytes32,bytes32,uint256,bytes)[])", inFlight[index].terms, delivered, cast
        );
        _settleBy(rank ? "answer by rank" : "answer by pick", thief.addr, terms, data);
        uint256 cost;
        for (uint256 i = 0; i < n; i++) {
            uint256 fee = _fee(terms, delivered[rank ? i : 0].length);
            earnedBy[nodeIds[i]] += fee;
            cost += fee;
        }
        _settle(index, cost);
    }

    function _expire(uint256 index) internal {
        IDtnAiEvents.Terms memory terms = termsOf(inFlight[index].terms);
        bytes memory data = abi.encodeWithSignature("expire(bytes)", inFlight[index].terms);
        if (block.timestamp <= terms.deadline) {
            (bool done,) = _try("expire", thief.addr, 0, data);
            return vm.assertFalse(done);
        }
        _settleBy("expire", thief.addr, terms, data);
        _settle(index, 0);
    }

    /// @dev Settles a request, which must succeed; of the ETH sent with it, every wei goes to who settles it and to the
    /// user, and to the user alone where gas is free.
    function _settleBy(string memory what, address who, IDtnAiEvents.Terms memory terms, bytes memory data) private {
        uint256 before = _etherOf(who);
        uint256 usersBefore = _etherOf(terms.user) + refugeOf(terms.user).balance;
        vm.txGasPrice(gasPrice);
        (bool done,) = _try(what, who, 0, data);
        vm.txGasPrice(0); // else forge would take it for its own next call, too
        vm.assertTrue(done, string.concat("I9: refused: ", what));
        uint256 toUser = _etherOf(terms.user) + refugeOf(terms.user).balance - usersBefore;
        vm.assertEq(toUser + _etherOf(who) - before, terms.callbackWei, "I2: ETH lost on the way");
        if (gasPrice == 0) vm.assertEq(toUser, terms.callbackWei);
    }

    function _answer(uint256 seed, bool fails) internal pure returns (IDtnNodes.Answer memory) {
        IDtnAi.ResponseStatus status = fails ? IDtnAi.ResponseStatus.FAILED : IDtnAi.ResponseStatus.SUCCESS;
        return IDtnNodes.Answer(status, "said", new bytes((seed >> 32) % 600));
    }

    function _fee(IDtnAiEvents.Terms memory terms, uint256 length) private pure returns (uint256) {
        uint256 fee = length * terms.feePerByteRes;
        return terms.requestFee + (fee < terms.totalFeePerRes ? fee : terms.totalFeePerRes);
    }

    /// @dev Of the `trusted` first nodes, which both kinds of routing trust, `n` in a row begin here.
    function _firstNode(uint256 seed, uint256 n, uint256 trusted) private pure returns (uint256) {
        return (seed >> 8) % (trusted - n + 1);
    }

    function _seals(bytes32 id, IDtnNodes.Answer memory given, uint256 first, uint256 n)
        internal
        view
        returns (IDtnNodes.Seal[] memory made)
    {
        made = new IDtnNodes.Seal[](n);
        bytes32 digest = ai.answerDigest(id, given);
        for (uint256 i = 0; i < n; i++) {
            made[i] = IDtnNodes.Seal(nodeIds[first + i], sign(operators[first + i], digest));
        }
    }
}
