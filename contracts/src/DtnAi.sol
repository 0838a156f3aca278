// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Registry} from "./Registry.sol";
import {Responses} from "./Responses.sol";
import {Sessions} from "./Sessions.sol";
import {Signed} from "./Signed.sol";
import {IDtnNodes} from "./interfaces/IDtnNodes.sol";
import {Ballots} from "./libraries/Ballots.sol";
import {Routings} from "./libraries/Routings.sol";
import {TokenMoves} from "./libraries/TokenMoves.sol";

// Deadlines and ages are in seconds; the few by which a validator may shift its clock are of no matter.
// slither-disable-start timestamp

/// @title DtnAi
/// @notice AI sessions in one ERC-20: what a session holds pays for its requests and goes back to its owner, and
/// nothing else can be done with it. Immutable, without an owner.
/// @dev From the bottom up: {Guarded}, {Sessions} and {Registry}, {Requests}, {Responses}, and here who may answer.
contract DtnAi is Responses, Signed {
    bytes32 private constant ANSWER_TYPEHASH =
        keccak256("Answer(bytes32 requestId,uint8 status,string message,bytes response)");
    bytes32 private constant BALLOT_TYPEHASH =
        keccak256("Ballot(bytes32 requestId,bytes32 candidates,uint256 preference)");

    /// @param token The fee token, for good: 0 to 18 decimals, no fee on transfer.
    /// @param administrator_ Registers system nodes and models.
    constructor(address token, address administrator_) Sessions(token) Registry(administrator_) {}

    // ──────────────────────────────────────────── answering ──────────────────────────────────────────

    /// @inheritdoc IDtnNodes
    function respondToRequest(bytes calldata encoded, bytes32 nodeId, Answer memory answer)
        external
        guardedFromCallbacks
    {
        (Terms memory terms, bytes32 requestId) = _requireAnswerable(encoded);
        if (_isBallot(terms.aggregationType)) revert DtnAi_WrongAggregation(terms.aggregationType);
        _requireQuorum(1, _quorumOf(terms, answer), terms.redundancy);
        _requireOperator(nodeId);
        _requireTrusted(requestId, terms.trusted, nodeId);
        uint256 fee = _feeOf(terms, answer.status, answer.response.length);
        _nodes[nodeId].earned += uint96(fee);
        _settleAnswered(terms, requestId, fee, answer.status, answer.message, answer.response);
    }

    /// @inheritdoc IDtnNodes
    function respondToRequest(bytes calldata encoded, Answer memory answer, Seal[] calldata seals)
        external
        guardedFromCallbacks
    {
        (Terms memory terms, bytes32 requestId) = _requireAnswerable(encoded);
        if (_isBallot(terms.aggregationType) && answer.status != ResponseStatus.FAILED) {
            revert DtnAi_WrongAggregation(terms.aggregationType);
        }
        _requireQuorum(seals.length, _quorumOf(terms, answer), terms.redundancy);
        uint256 fee = _feeOf(terms, answer.status, answer.response.length);
        bytes32 digest = answerDigest(requestId, answer);
        bytes32 last;
        for (uint256 i = 0; i < seals.length; i++) {
            Seal calldata seal = seals[i];
            last = _requireNext(seal.nodeId, last);
            _requireSigned(terms, requestId, last, digest, seal.signature);
            _nodes[last].earned += uint96(fee);
        }
        _settleAnswered(terms, requestId, seals.length * fee, answer.status, answer.message, answer.response);
    }

    /// @inheritdoc IDtnNodes
    function respondToRequest(bytes calldata encoded, bytes[] calldata responses, Ballot[] calldata ballots)
        external
        guardedFromCallbacks
    {
        (Terms memory terms, bytes32 requestId) = _requireAnswerable(encoded);
        if (!_isBallot(terms.aggregationType)) revert DtnAi_WrongAggregation(terms.aggregationType);
        _requireQuorum(ballots.length, terms.redundancy, terms.redundancy);
        _requireCast(terms, requestId, ballots);
        (uint256 cost, bytes memory response) = terms.aggregationType == AggregationType.RANK
            ? _rank(terms, responses, ballots)
            : _selectBest(terms, responses, ballots);
        _settleAnswered(terms, requestId, cost, ResponseStatus.SUCCESS, "", response);
    }

    /// @inheritdoc IDtnNodes
    function expire(bytes calldata encoded) external guardedFromCallbacks {
        (Terms memory terms, bytes32 requestId) = _requirePending(encoded);
        if (block.timestamp <= terms.deadline) revert DtnAi_DeadlineNotPassed(terms.deadline, block.timestamp);
        _settleExpired(terms, requestId);
    }

    // ────────────────────────────────────────────── earning ──────────────────────────────────────────

    /// @inheritdoc IDtnNodes
    function withdraw(bytes32 nodeId, address to) external guarded returns (uint256 amount) {
        _requireOperator(nodeId);
        amount = _nodes[nodeId].earned;
        if (amount == 0) revert DtnAi_NothingEarned(nodeId);
        _nodes[nodeId].earned = 0;
        emit EarningsWithdrawn(nodeId, to, amount);
        if (TokenMoves.push(feeToken, to, amount, gasleft()) != 0) revert DtnAi_PaymentRefused(to, amount, 0);
    }

    // ─────────────────────────────────────────────── views ───────────────────────────────────────────

    /// @inheritdoc IDtnNodes
    function answerDigest(bytes32 requestId, Answer memory answer) public view returns (bytes32) {
        bytes32 message = keccak256(bytes(answer.message));
        bytes32 response = keccak256(answer.response);
        return _digestOf(keccak256(abi.encode(ANSWER_TYPEHASH, requestId, answer.status, message, response)));
    }

    /// @inheritdoc IDtnNodes
    function ballotDigest(bytes32 requestId, bytes32 candidates, uint256 preference) public view returns (bytes32) {
        return _digestOf(keccak256(abi.encode(BALLOT_TYPEHASH, requestId, candidates, preference)));
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _requireAnswerable(bytes calldata encoded) private view returns (Terms memory terms, bytes32 requestId) {
        (terms, requestId) = _requirePending(encoded);
        if (block.timestamp > terms.deadline) revert DtnAi_DeadlinePassed(terms.deadline, block.timestamp);
    }

    /// @dev How many nodes must sign the answer. That it cannot be given, most of the nodes must say.
    function _quorumOf(Terms memory terms, Answer memory answer) private pure returns (uint256) {
        if (answer.status == ResponseStatus.SUCCESS) return terms.quorum;
        if (answer.status == ResponseStatus.FAILED) return Routings.majorityOf(terms.redundancy);
        revert DtnAi_StatusInvalid(answer.status);
    }

    function _requireQuorum(uint256 given, uint256 min, uint256 max) private pure {
        if (given < min || given > max) revert DtnAi_QuorumNotMet(given, min, max);
    }

    /// @dev Reverts unless nodes come in ascending order, which is the cheapest way to know that each comes once.
    function _requireNext(bytes32 nodeId, bytes32 last) private pure returns (bytes32) {
        if (nodeId <= last) revert DtnAi_NodesNotAscending(nodeId);
        return nodeId;
    }

    /// @dev Reverts unless the node is trusted and its operator signed `digest`.
    function _requireSigned(
        Terms memory terms,
        bytes32 requestId,
        bytes32 nodeId,
        bytes32 digest,
        bytes calldata signature
    ) private view {
        _requireTrusted(requestId, terms.trusted, nodeId);
        // No need to verify that the node exists: nobody can sign for the zero address.
        if (!_isSignedBy(_nodes[nodeId].operator, digest, signature)) revert DtnAi_SignatureInvalid(nodeId);
    }

    /// @dev Reverts unless every ballot is of a different trusted node and was cast on this set of candidates.
    function _requireCast(Terms memory terms, bytes32 requestId, Ballot[] calldata ballots) private view {
        bytes32 candidates = Ballots.candidatesOf(ballots);
        bytes32 last;
        for (uint256 i = 0; i < ballots.length; i++) {
            last = _requireNext(ballots[i].nodeId, last);
            bytes32 digest = ballotDigest(requestId, candidates, ballots[i].preference);
            _requireSigned(terms, requestId, last, digest, ballots[i].signature);
        }
    }

    /// @dev Pays every node for the length of the best candidate, which is all that is delivered.
    function _selectBest(Terms memory terms, bytes[] calldata responses, Ballot[] calldata ballots)
        private
        returns (uint256 cost, bytes memory response)
    {
        uint256 best = Ballots.bestOf(ballots);
        if (responses.length != 1 || keccak256(responses[0]) != ballots[best].responseHash) {
            revert DtnAi_ResponseMismatch(best);
        }
        uint256 fee = _feeOf(terms, ResponseStatus.SUCCESS, responses[0].length);
        for (uint256 i = 0; i < ballots.length; i++) {
            _nodes[ballots[i].nodeId].earned += uint96(fee);
        }
        return (fee * ballots.length, responses[0]);
    }

    /// @dev Pays every node for its own candidate and puts them in order, best first.
    function _rank(Terms memory terms, bytes[] calldata responses, Ballot[] calldata ballots)
        private
        returns (uint256 cost, bytes memory response)
    {
        if (responses.length != ballots.length) revert DtnAi_ResponseMismatch(responses.length);
        uint256[] memory order = Ballots.orderOf(ballots);
        bytes[] memory ranked = new bytes[](order.length);
        for (uint256 i = 0; i < order.length; i++) {
            if (keccak256(responses[i]) != ballots[i].responseHash) revert DtnAi_ResponseMismatch(i);
            uint256 fee = _feeOf(terms, ResponseStatus.SUCCESS, responses[i].length);
            _nodes[ballots[i].nodeId].earned += uint96(fee);
            cost += fee;
            ranked[i] = responses[order[i]];
        }
        return (cost, abi.encode(ranked));
    }

    /// @dev What one node gets: for reading the request always, for the response by its bytes, at most what was held.
    function _feeOf(Terms memory terms, ResponseStatus status, uint256 responseBytes) private pure returns (uint256) {
        if (status != ResponseStatus.SUCCESS) return terms.requestFee;
        uint256 fee = responseBytes * terms.feePerByteRes;
        return terms.requestFee + (fee < terms.totalFeePerRes ? fee : terms.totalFeePerRes);
    }

    function _isBallot(AggregationType kind) private pure returns (bool) {
        return kind == AggregationType.SELECT_BEST || kind == AggregationType.RANK;
    }
}

// slither-disable-end timestamp
