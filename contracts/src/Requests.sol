// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {Registry} from "./Registry.sol";
import {Sessions} from "./Sessions.sol";
import {Routings} from "./libraries/Routings.sol";
import {Slots} from "./libraries/Slots.sol";
import {TermsCodec} from "./libraries/TermsCodec.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// slither-disable-start incorrect-equality

/// @title Requests
/// @notice Asking: check, hold the worst case, store the hash of the terms, tell the nodes.
abstract contract Requests is Sessions, Registry {
    uint32 private constant TIMEOUT_MIN_SECONDS = 60;
    uint32 private constant TIMEOUT_MAX_SECONDS = 7 days;
    uint32 private constant TIMEOUT_DEFAULT_SECONDS = 1 hours;
    uint32 private constant CALLBACK_GAS_MAX = 2_500_000;
    uint32 private constant CALLBACK_GAS_DEFAULT = 200_000;

    /// @dev The request's word in its session, by session number and slot (see {Slots}).
    mapping(uint256 key => uint256 word) internal _slots;

    /// @inheritdoc IDtnAi
    function request(
        uint256 sessionId,
        bytes32 modelId,
        bytes32[] calldata routing,
        DtnRequest calldata dtnRequest,
        CallBack calldata callback,
        address user,
        uint256 callbackGas
    ) external payable guarded returns (bytes32 requestId) {
        Terms memory terms = Routings.anyOf(routing);
        _promise(terms, callback, user, callbackGas);
        return _request(msg.sender, sessionId, modelId, dtnRequest, terms);
    }

    /// @inheritdoc IDtnAi
    function request(
        uint256 sessionId,
        bytes32 modelId,
        DtnRouting calldata routing,
        DtnRequest calldata dtnRequest,
        CallBack calldata callback,
        address user,
        uint256 callbackGas
    ) external payable guarded returns (bytes32 requestId) {
        Terms memory terms = Routings.meaningOf(routing);
        _promise(terms, callback, user, callbackGas);
        return _request(msg.sender, sessionId, modelId, dtnRequest, terms);
    }

    /// @inheritdoc IDtnAi
    function request(
        uint256 sessionId,
        bytes32 modelId,
        DtnRouting calldata routing,
        DtnRequest calldata dtnRequest,
        CallBack calldata callback,
        address user,
        uint256 callbackGas,
        RequestOptions calldata options
    ) external payable guarded returns (bytes32 requestId) {
        Terms memory terms = Routings.meaningOf(routing);
        _promise(terms, callback, user, callbackGas);
        _choose(terms, options);
        return _request(msg.sender, sessionId, modelId, dtnRequest, terms);
    }

    /// @inheritdoc IDtnAi
    function requestBatch(uint256 sessionId, BatchRequest[] calldata batch)
        external
        payable
        guarded
        returns (BatchResult[] memory results)
    {
        _ownSession(sessionId, msg.sender);
        results = new BatchResult[](batch.length);
        uint256 givenWei;
        uint256 refusedWei;
        for (uint256 i = 0; i < batch.length; i++) {
            givenWei += batch[i].callbackWei;
            // Each fails on its own, and the lock is held.
            // slither-disable-next-line calls-loop,reentrancy-benign,reentrancy-events
            (bool made, bytes memory result) = address(this).call(_callOf(sessionId, batch, i));
            if (made) {
                results[i].requestId = bytes32(result);
            } else {
                results[i].reason = result;
                refusedWei += batch[i].callbackWei;
            }
        }
        if (givenWei != msg.value) revert DtnAi_EtherMismatch(msg.value, givenWei);
        _payEther(msg.sender, refusedWei);
    }

    /// @notice One request of a batch; only the contract itself calls it, so that it can fail on its own.
    /// @dev Not guarded: `requestBatch`, which holds the lock, is the only caller.
    function requestOf(address owner, uint256 sessionId, BatchRequest calldata asked)
        external
        returns (bytes32 requestId)
    {
        if (msg.sender != address(this)) revert DtnAi_OnlySelf(msg.sender);
        Terms memory terms = Routings.meaningOf(asked.routing);
        _promise(terms, asked.callback, asked.user, asked.callbackGas);
        _choose(terms, asked.options);
        terms.callbackWei = _fits(asked.callbackWei);
        return _request(owner, sessionId, asked.modelId, asked.request, terms);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    /// @dev The call of `requestOf` with the batch's request `i`, whose bytes are passed on as they came: decoding them
    /// to encode them again would cost 3,000 gas each. They end where the next one's begin, as every encoder writes them;
    /// a request that is written otherwise is refused by the decoder, and is its sender's own.
    function _callOf(uint256 sessionId, BatchRequest[] calldata batch, uint256 i) private view returns (bytes memory) {
        uint256 start = _offsetOf(batch[i]);
        uint256 end = i + 1 < batch.length ? _offsetOf(batch[i + 1]) : msg.data.length;
        bytes4 selector = this.requestOf.selector;
        return abi.encodePacked(selector, uint256(uint160(msg.sender)), sessionId, uint256(96), msg.data[start:end]);
    }

    function _offsetOf(BatchRequest calldata asked) private pure returns (uint256 offset) {
        assembly ("memory-safe") {
            offset := asked
        }
    }

    /// @dev Writes into the terms what is promised to the asker: the callback and its gas; the rest at its default.
    function _promise(Terms memory terms, CallBack calldata callback, address user, uint256 callbackGas) private view {
        // In the name of this contract a call to the token could move everybody's money.
        if (callback.target == feeToken || callback.target == address(this)) {
            revert DtnAi_TargetForbidden(callback.target);
        }
        terms.callback = callback;
        terms.user = user;
        terms.callbackWei = _fits(msg.value);
        if (callbackGas == 0) callbackGas = CALLBACK_GAS_DEFAULT;
        terms.callbackGas = callbackGas > CALLBACK_GAS_MAX ? CALLBACK_GAS_MAX : uint32(callbackGas);
        terms.deadline = uint64(block.timestamp) + TIMEOUT_DEFAULT_SECONDS;
    }

    /// @dev Writes the asker's choices into the terms.
    function _choose(Terms memory terms, RequestOptions calldata options) private view {
        terms.keepResponse = options.keepResponse;
        uint256 timeout = options.timeoutSeconds;
        if (timeout == 0) return;
        if (timeout < TIMEOUT_MIN_SECONDS || timeout > TIMEOUT_MAX_SECONDS) {
            revert DtnAi_TimeoutOutOfRange(timeout, TIMEOUT_MIN_SECONDS, TIMEOUT_MAX_SECONDS);
        }
        terms.deadline = uint64(block.timestamp + timeout);
    }

    /// @dev The one way to ask. Checks, then holds, then stores and tells.
    function _request(address owner, uint256 sessionId, bytes32 modelId, DtnRequest calldata asked, Terms memory terms)
        private
        returns (bytes32 requestId)
    {
        _requireOffered(modelId, asked);
        _requireNodes(terms.trusted, terms.quorum);
        // Nobody to give ETH back to would mean ETH that nobody gets.
        if (terms.user == address(0)) terms.user = owner;
        terms.content = keccak256(abi.encode(modelId, asked));
        uint256 hold = _price(asked, terms);
        _hold(owner, sessionId, hold, terms);
        bytes memory encoded = TermsCodec.encode(terms);
        uint256 digest = uint256(keccak256(encoded));
        requestId = Slots.requestIdOf(terms.sessionId, terms.slot, digest);
        _slots[Slots.keyOf(requestId)] = Slots.pending(digest);
        emit RequestMade(
            requestId, modelId, encoded, asked.calltype, asked.feePerByteReq, asked.call, asked.extraParams
        );
    }

    /// @dev The worst case of all nodes together; the fees go into the terms.
    function _price(DtnRequest calldata asked, Terms memory terms) private pure returns (uint256 hold) {
        uint256 requestBytes = asked.call.length + asked.extraParams.length;
        terms.requestFee = _fits(requestBytes * _fits(asked.feePerByteReq));
        terms.feePerByteRes = _fits(asked.feePerByteRes);
        terms.totalFeePerRes = _fits(asked.totalFeePerRes);
        return _fits(_holdOf(terms.redundancy, terms.requestFee, terms.totalFeePerRes));
    }

    /// @dev What is held for a request: for each node, reading it and the dearest response.
    function _holdOf(uint256 redundancy, uint256 requestFee, uint256 totalFeePerRes) internal pure returns (uint256) {
        return redundancy * (requestFee + totalFeePerRes);
    }

    /// @dev Holds the money and gives the request its slot and number; the terms are complete with that.
    function _hold(address owner, uint256 sessionId, uint256 hold, Terms memory terms) private {
        if (sessionId == 0) sessionId = _startFromDeposit(owner);
        Session memory session = _ownSession(sessionId, owner);
        if (session.available < hold) {
            uint256 collected = _collect(owner);
            if (collected > 0) _fund(sessionId, session, owner, collected);
            if (session.available < hold) revert DtnAi_InsufficientFunds(sessionId, hold, session.available);
        }
        session.available -= uint96(hold);
        session.held += uint96(hold);
        terms.sessionId = sessionId;
        terms.serial = session.serial++;
        // A new slot takes the number of its first request, which no other slot of the session has.
        terms.slot = session.freeSlot == 0 ? terms.serial : session.freeSlot;
        if (session.freeSlot != 0) {
            session.freeSlot = Slots.nextOf(_slots[Slots.keyOf(Slots.requestIdOf(sessionId, terms.slot, 0))]);
        }
        _sessions[sessionId] = session;
    }
}

// slither-disable-end incorrect-equality
