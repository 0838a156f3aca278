// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Proof} from "./Proof.sol";

/// @notice Answering and expiring: whom the hold goes to.
/// @dev Without a callback, ETH and a kept response: what those do comes after the books.
contract SettlingProof is Proof {
    uint256 private constant CLOSED = type(uint32).max;
    uint256 private constant RESPONSE_BYTES = 33;
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
        (Books memory since, uint256 wrong) = notConserved(step);
        wrong |= differ(since.node, step.before.node);
        assert(block.timestamp > terms.deadline);
        assert(wrong | _notReleased(step.before, since, _holdOf(terms), 0) == 0);
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
        (Books memory since, uint256 wrong) = notConserved(step);
        uint256 cost = _costOf(terms, answer);
        unchecked {
            wrong |= differ(since.node, step.before.node + (cost << 160));
        }
        wrong |= differ(uint160(since.node), uint160(OPERATOR));
        assert(block.timestamp <= terms.deadline);
        assert(wrong | _notReleased(step.before, since, _holdOf(terms), cost) == 0);
    }

    /// @dev Nothing is held for it any more, and but for `cost` that is available again, or if the session is closed, with
    /// its owner or the owner's to claim.
    function _notReleased(Books memory before, Books memory since, uint256 hold, uint256 cost)
        private
        pure
        returns (uint256)
    {
        unchecked {
            uint256 free = freeSlotIn(before) == CLOSED
                ? since.purse - before.purse + since.claimable - before.claimable
                : availableIn(since) - availableIn(before);
            return differ(free, hold - cost) | differ(heldIn(since), heldIn(before) - hold);
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
