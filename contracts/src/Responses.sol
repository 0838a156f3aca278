// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {Requests} from "./Requests.sol";
import {Callbacks} from "./libraries/Callbacks.sol";
import {ResponseStore} from "./libraries/ResponseStore.sol";
import {Slots} from "./libraries/Slots.sol";
import {TermsCodec} from "./libraries/TermsCodec.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// slither-disable-start incorrect-equality

/// @title Responses
/// @notice Settling: the books first, then the callback, then what is paid out. And reading what was settled.
abstract contract Responses is Requests {
    uint256 private constant ANSWER_MAX_BYTES = 24_000;

    /// @inheritdoc IDtnAi
    function fetchResponse(bytes32 requestId)
        external
        view
        returns (ResponseStatus status, string memory message, bytes memory response)
    {
        bool found;
        (found, status, message, response) = ResponseStore.get(requestId);
        if (found) return (status, message, response);
        uint256 word = _slots[Slots.keyOf(requestId)];
        found = Slots.isOf(word, requestId);
        status = Slots.statusOf(word);
        if (Slots.isKept(word)) {
            (found, message, response) = ResponseStore.read(Slots.codeOf(word), requestId);
        } else if (status == ResponseStatus.TIMEOUT) {
            message = _timeoutMessage(Slots.severalOf(word));
        } else if (status != ResponseStatus.PENDING) {
            message = "not kept";
        }
        if (!found) revert DtnAi_RequestNotFound(requestId);
    }

    // ───────────────────────────────── what answers and expiry ask of it ─────────────────────────────

    /// @dev The id of a pending request on these terms, or an error that tells what became of it.
    function _requirePending(bytes calldata encoded) internal view returns (Terms memory terms, bytes32 requestId) {
        terms = TermsCodec.decode(encoded);
        uint256 digest = uint256(keccak256(encoded));
        requestId = Slots.requestIdOf(terms.sessionId, terms.slot, digest);
        uint256 word = _slots[Slots.keyOf(requestId)];
        if (word == Slots.pending(digest)) return (terms, requestId);
        if (Slots.isOf(word, requestId)) revert DtnAi_RequestSettled(requestId, Slots.statusOf(word));
        revert DtnAi_RequestNotFound(requestId);
    }

    /// @dev Settles an answered request whose nodes have been paid `cost` in the books.
    function _settleAnswered(
        Terms memory terms,
        bytes32 requestId,
        uint256 cost,
        ResponseStatus status,
        string memory message,
        bytes memory response
    ) internal {
        uint256 length = bytes(message).length + response.length;
        if (length > ANSWER_MAX_BYTES) revert DtnAi_AnswerTooLong(length, ANSWER_MAX_BYTES);
        uint256 owed = terms.keepResponse
            ? _release(terms, cost, Slots.kept(status, ResponseStore.keep(requestId, message, response), requestId))
            : _recycle(terms, requestId, cost, status);
        emit ResponseDelivered(requestId, status, cost, message, response);
        _deliver(terms, requestId, status, message, response);
        _refund(_ownerOf(terms.sessionId), owed);
    }

    /// @dev Settles an expired request.
    function _settleExpired(Terms memory terms, bytes32 requestId) internal {
        uint256 owed = _recycle(terms, requestId, 0, ResponseStatus.TIMEOUT);
        emit RequestExpired(requestId);
        _deliver(terms, requestId, ResponseStatus.TIMEOUT, _timeoutMessage(terms.redundancy > 1), "");
        _refund(_ownerOf(terms.sessionId), owed);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    /// @dev Books the end of a request whose slot is used again.
    function _recycle(Terms memory terms, bytes32 requestId, uint256 cost, ResponseStatus status)
        private
        returns (uint256 owed)
    {
        uint32 next = _sessions[terms.sessionId].freeSlot;
        owed = _release(terms, cost, Slots.settled(status, next, terms.redundancy > 1, requestId));
        if (next != CLOSED) _sessions[terms.sessionId].freeSlot = terms.slot;
    }

    /// @dev Books the end of a request: of its hold, `cost` is gone and the rest is free.
    /// @return owed What is free of a closed session, to be paid to its owner.
    function _release(Terms memory terms, uint256 cost, uint256 word) private returns (uint256 owed) {
        uint256 hold = _holdOf(terms.redundancy, terms.requestFee, terms.totalFeePerRes);
        Session memory session = _sessions[terms.sessionId];
        session.held -= uint96(hold);
        if (session.freeSlot == CLOSED) owed = hold - cost;
        else session.available += uint96(hold - cost);
        _sessions[terms.sessionId] = session;
        _slots[(uint256(uint64(terms.sessionId)) << 32) | terms.slot] = word;
    }

    /// @dev Calls back, pays the gas that took out of the ETH sent with the request, and returns the rest to `user`.
    function _deliver(
        Terms memory terms,
        bytes32 requestId,
        ResponseStatus status,
        string memory message,
        bytes memory response
    ) private {
        uint256 owedWei;
        if (terms.callback.target != address(0)) {
            uint256 before = gasleft();
            ResponseStore.put(requestId, status, message, response);
            if (!_callBack(terms, requestId, status)) {
                emit CallbackFailed(requestId, terms.callback.target);
                if (status != ResponseStatus.TIMEOUT && !terms.keepResponse) {
                    _keepAfterAll(terms, requestId, status, message, response);
                }
            }
            owedWei = _gasWei(terms, before - gasleft());
        }
        _payEther(msg.sender, owedWei);
        _payEther(terms.user, terms.callbackWei - owedWei);
    }

    function _callBack(Terms memory terms, bytes32 requestId, ResponseStatus status)
        private
        callingBack
        returns (bool)
    {
        bytes4 selector = status == ResponseStatus.SUCCESS
            ? terms.callback.successSelector
            : terms.callback.failureSelector;
        return Callbacks.call(terms.callback.target, selector, requestId, terms.callbackGas);
    }

    /// @dev Keeps a response that its asker could not take. A failed callback has left no trace, so the slot is still
    /// the first free one, or its session is closed; kept, it is free no longer.
    function _keepAfterAll(
        Terms memory terms,
        bytes32 requestId,
        ResponseStatus status,
        string memory message,
        bytes memory response
    ) private {
        uint256 key = Slots.keyOf(requestId);
        uint32 next = Slots.nextOf(_slots[key]);
        if (next != CLOSED) _sessions[terms.sessionId].freeSlot = next;
        _slots[key] = Slots.kept(status, ResponseStore.keep(requestId, message, response), requestId);
    }

    /// @dev What the ETH sent pays for `gasUsed`. The price per gas is the transaction's, but never more than the sender
    /// of the ETH spread over the callback's whole gas: what the callback does not use goes back, at any gas price.
    function _gasWei(Terms memory terms, uint256 gasUsed) private view returns (uint256) {
        uint256 priceMax = terms.callbackWei / terms.callbackGas;
        uint256 price = tx.gasprice < priceMax ? tx.gasprice : priceMax;
        // slither-disable-next-line divide-before-multiply: the price is rounded down, never above what was given
        uint256 owedWei = gasUsed * price;
        return owedWei < terms.callbackWei ? owedWei : terms.callbackWei;
    }

    function _timeoutMessage(bool several) private pure returns (string memory) {
        return several ? "consensus timeout" : "timeout";
    }
}

// slither-disable-end incorrect-equality
