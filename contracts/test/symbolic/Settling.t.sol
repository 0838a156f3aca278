// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Proof} from "./Proof.sol";

/// @notice Answering and expiring: whom the hold goes to.
/// @dev Without a callback, ETH and a kept response: what those do comes after the books.
contract SettlingProof is Proof {
    struct Sums {
        uint256 balance;
        uint256 available;
        uint256 held;
        uint256 earned;
        uint256 claimable;
    }

    uint256 private constant CLOSED = type(uint32).max;
    /// By a power of two it multiplies in no time.
    uint256 private constant RESPONSE_BYTES = 32;
    bytes32 private constant NODE = keccak256("system.node");
    address private constant OPERATOR = address(0x0DE);

    function check_RespondWithSuccess() external {
        IDtnNodes.Answer memory answer =
            IDtnNodes.Answer(IDtnAi.ResponseStatus.SUCCESS, "", svm.createBytes(RESPONSE_BYTES, "response"));
        _proveRespond(answer);
    }

    function check_RespondWithFailure() external {
        _proveRespond(IDtnNodes.Answer(IDtnAi.ResponseStatus.FAILED, string(svm.createBytes(5, "why")), ""));
    }

    function check_Expire() external {
        IDtnAiEvents.Terms memory terms = _anyTerms();
        bytes memory encoded = _encode(terms);
        Step memory step = begin(Place(terms.sessionId, NODE, OWNER));
        vm.prank(anybody());
        ai.expire(encoded);
        assert(block.timestamp > terms.deadline);
        _claimSettled(step, _holdOf(terms), 0);
    }

    /// What the other proofs here claim of each sum adds up to conservation: of any numbers, and so of these.
    /// @param paid What a closed session's owner was paid of what came free; all of it, unless the token refused.
    function check_WhatIsClaimedOfSettlingConserves(
        Sums memory sums,
        uint256 hold,
        uint256 cost,
        uint256 paid,
        bool closed
    ) external pure {
        unchecked {
            uint256 unbooked = sums.balance - _owed(sums);
            sums.earned += cost;
            sums.held -= hold;
            if (closed) {
                sums.claimable += hold - cost - paid;
                sums.balance -= paid;
            } else {
                sums.available += hold - cost;
            }
            assert(sums.balance - _owed(sums) == unbooked);
        }
    }

    function check_SettlesOnce() external {
        bytes memory encoded = _encode(_anyTerms());
        IDtnNodes.Answer memory answer = IDtnNodes.Answer(IDtnAi.ResponseStatus.SUCCESS, "", "");
        vm.prank(OPERATOR);
        ai.respondToRequest(encoded, NODE, answer);
        vm.warp(svm.createUint256("later"));
        (bool again,) = address(ai).call(abi.encodeCall(ai.expire, (encoded)));
        assert(!again);
    }

    // ─────────────────────────────────────── what is not so ──────────────────────────────────────────

    function refute_AnswersAreFree() external {
        IDtnAiEvents.Terms memory terms = _anyTerms();
        Step memory step = begin(Place(terms.sessionId, NODE, OWNER));
        vm.prank(OPERATOR);
        ai.respondToRequest(_encode(terms), NODE, IDtnNodes.Answer(IDtnAi.ResponseStatus.SUCCESS, "", ""));
        (Books memory since,) = notConserved(step);
        assert(since.node == step.before.node);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _proveRespond(IDtnNodes.Answer memory answer) private {
        IDtnAiEvents.Terms memory terms = _anyTerms();
        bytes memory encoded = _encode(terms);
        Step memory step = begin(Place(terms.sessionId, NODE, OWNER));
        vm.prank(OPERATOR);
        ai.respondToRequest(encoded, NODE, answer);
        assert(block.timestamp <= terms.deadline);
        assert(uint160(step.before.node) == uint160(OPERATOR));
        _claimSettled(step, _holdOf(terms), _costOf(terms, answer));
    }

    /// @dev The node has `cost` more, nothing is held for the request any more, and but for `cost` that is available again,
    /// or if the session is closed, with its owner or the owner's to claim. A claim for each: for all of them in one sum the
    /// solver takes minutes.
    function _claimSettled(Step memory step, uint256 hold, uint256 cost) private view {
        (Books memory before, Books memory since) = (step.before, booksOf(step.place));
        assert(changedElsewhere(step) == 0);
        unchecked {
            assert(since.node == before.node + (cost << 160) && earnedIn(since) == earnedIn(before) + cost);
            assert(heldIn(since) + hold == heldIn(before));
            if (freeSlotIn(before) == CLOSED) {
                assert(availableIn(since) == availableIn(before));
                assert(since.purse + since.claimable + cost == before.purse + before.claimable + hold);
                assert(since.balance + since.purse == before.balance + before.purse);
            } else {
                assert(availableIn(since) + cost == availableIn(before) + hold);
                assert(since.claimable == before.claimable && since.balance == before.balance);
            }
        }
    }

    function _owed(Sums memory sums) private pure returns (uint256) {
        unchecked {
            return sums.available + sums.held + sums.earned + sums.claimable;
        }
    }

    /// @dev Those of a request of one node, with what asking made sure of: somebody must answer, and the hold fits.
    function _anyTerms() private returns (IDtnAiEvents.Terms memory terms) {
        terms.sessionId = (uint256(uint160(OWNER)) << 96) | svm.createUint(64, "number");
        terms.content = svm.createBytes32("content");
        terms.requestFee = uint96(svm.createUint(96, "requestFee"));
        terms.feePerByteRes = uint96(svm.createUint(96, "feePerByteRes"));
        terms.totalFeePerRes = uint96(svm.createUint(96, "totalFeePerRes"));
        terms.deadline = uint64(svm.createUint(64, "deadline"));
        terms.slot = uint32(svm.createUint(32, "slot"));
        terms.serial = uint32(svm.createUint(32, "serial"));
        (terms.redundancy, terms.quorum) = (1, 1);
        terms.trusted = new bytes32[](1);
        terms.trusted[0] = NODE;
        vm.assume(_holdOf(terms) <= type(uint96).max);
    }

    /// @dev As {TermsCodec} does, but field after field: the prover sees through bytes that stand beside each other, not
    /// through words that were shifted and or-ed.
    function _encode(IDtnAiEvents.Terms memory terms) private pure returns (bytes memory) {
        return abi.encodePacked(
            abi.encodePacked(terms.sessionId, terms.content, terms.user, terms.callbackWei),
            abi.encodePacked(terms.callback.target, terms.requestFee, terms.feePerByteRes, terms.totalFeePerRes),
            abi.encodePacked(terms.callback.successSelector, terms.callback.failureSelector, uint64(0), terms.deadline),
            abi.encodePacked(terms.slot, terms.serial, terms.callbackGas, terms.redundancy, terms.quorum),
            abi.encodePacked(terms.aggregationType, terms.keepResponse, terms.trusted)
        );
    }

    function _holdOf(IDtnAiEvents.Terms memory terms) private pure returns (uint256) {
        return uint256(terms.requestFee) + terms.totalFeePerRes;
    }

    function _costOf(IDtnAiEvents.Terms memory terms, IDtnNodes.Answer memory answer) private pure returns (uint256) {
        if (answer.status != IDtnAi.ResponseStatus.SUCCESS) return terms.requestFee;
        uint256 fee = answer.response.length * terms.feePerByteRes;
        return terms.requestFee + (fee < terms.totalFeePerRes ? fee : terms.totalFeePerRes);
    }
}
