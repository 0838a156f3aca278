// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi} from "./idtn-ai.sol";
import {MockRequests} from "./mock/mock-requests.sol";

// Deadlines and ages are in seconds; the few by which a validator may shift its clock are of no matter.
// slither-disable-start timestamp

/// @title MockDtnAi
/// @notice The AI contract for unit tests: keeps real books, and answers when the test says so.
/// @dev Sessions and requests behave as on the AI contract: the same ids, holds, costs, refunds, events and errors. What
/// nodes do there, with signatures, the test commands here:
///
///     mock = new MockDtnAi(address(usdt));
///     mock.offerModel("gpt-4", 10, 20, 1_000, 3);
///     bytes32 requestId = myContract.ask("Why?");   // calls ai.request
///     mock.answer(requestId, "Because.");           // calls myContract back
///
/// Never deploy it where money is real: anyone can command it.
contract MockDtnAi is MockRequests {
    // What `IDtnNodes` calls them, which users do not import.
    error DtnAi_RequestSettled(bytes32 requestId, ResponseStatus status);
    error DtnAi_DeadlinePassed(uint256 deadline, uint256 time);
    error DtnAi_DeadlineNotPassed(uint256 deadline, uint256 time);
    error DtnAi_WrongAggregation(AggregationType aggregationType);
    error DtnAi_ResponseMismatch(uint256 index);
    error DtnAi_AnswerTooLong(uint256 length, uint256 max);
    error DtnAi_GasTooLow(uint256 needed, uint256 left);

    bytes32 private _delivering;

    /// @notice What nodes have been paid, all together.
    uint256 public earned;

    /// @param token The fee token. The namespace "system" has seven nodes from the start.
    constructor(address token) MockRequests(token) {}

    // ──────────────────────────────────────────── commands ───────────────────────────────────────────

    /// @notice Answers a request, as the nodes it needs would: by quorum, or with the best candidate.
    function answer(bytes32 requestId, bytes calldata response) external {
        answer(requestId, "", response);
    }

    /// @notice Answers a request, with a message beside the response.
    function answer(bytes32 requestId, string memory message, bytes memory response) public guardedFromCallbacks {
        Request storage request_ = _answerable(requestId);
        AggregationType kind = request_.terms.aggregationType;
        if (kind == AggregationType.RANK) revert DtnAi_WrongAggregation(kind);
        uint256 cost = request_.terms.quorum * _feeOf(request_.terms, response.length);
        _settle(requestId, ResponseStatus.SUCCESS, cost, message, response);
    }

    /// @notice Answers a RANK request with its nodes' candidates, best first.
    function answerRanked(bytes32 requestId, bytes[] calldata responses) external guardedFromCallbacks {
        Request storage request_ = _answerable(requestId);
        AggregationType kind = request_.terms.aggregationType;
        if (kind != AggregationType.RANK) revert DtnAi_WrongAggregation(kind);
        if (responses.length != request_.terms.redundancy) revert DtnAi_ResponseMismatch(responses.length);
        uint256 cost;
        for (uint256 i = 0; i < responses.length; i++) {
            cost += _feeOf(request_.terms, responses[i].length);
        }
        _settle(requestId, ResponseStatus.SUCCESS, cost, "", abi.encode(responses));
    }

    /// @notice Reports that a request cannot be answered, as most of its nodes would.
    function fail(bytes32 requestId, string calldata message) external guardedFromCallbacks {
        Terms storage terms = _answerable(requestId).terms;
        uint256 majority = terms.redundancy / 2 + 1;
        _settle(requestId, ResponseStatus.FAILED, majority * terms.requestFee, message, "");
    }

    /// @notice Expires a request whose deadline has passed.
    function expire(bytes32 requestId) external guardedFromCallbacks {
        Terms storage terms = _pending(requestId).terms;
        if (block.timestamp <= terms.deadline) revert DtnAi_DeadlineNotPassed(terms.deadline, block.timestamp);
        _settle(requestId, ResponseStatus.TIMEOUT, 0, _timeoutMessage(terms), "");
    }

    // ───────────────────────────────────────── IDtnAi: answers ────────────────────────────────────────

    /// @inheritdoc IDtnAi
    /// @dev Each command counts as a transaction of its own: with it ends what could be read during the callback.
    function fetchResponse(bytes32 requestId)
        external
        view
        returns (ResponseStatus status, string memory message, bytes memory response)
    {
        if (requestId != 0 && _delivering == requestId) {
            Request storage delivered = _requests[0];
            return (delivered.status, delivered.message, delivered.response);
        }
        Request storage request_ = _requestOf(requestId);
        if (request_.kept) return (request_.status, request_.message, request_.response);
        if (request_.status == ResponseStatus.PENDING) return (request_.status, "", "");
        if (request_.status == ResponseStatus.TIMEOUT) return (request_.status, _timeoutMessage(request_.terms), "");
        return (request_.status, "not kept", "");
    }

    // ───────────────────────────────────────── private: settling ─────────────────────────────────────

    function _requestOf(bytes32 requestId) private view returns (Request storage request_) {
        request_ = _requests[uint256(requestId) >> 160];
        if (requestId == 0 || request_.id != requestId) revert DtnAi_RequestNotFound(requestId);
    }

    function _pending(bytes32 requestId) private view returns (Request storage request_) {
        request_ = _requestOf(requestId);
        if (request_.status != ResponseStatus.PENDING) revert DtnAi_RequestSettled(requestId, request_.status);
    }

    function _answerable(bytes32 requestId) private view returns (Request storage request_) {
        request_ = _pending(requestId);
        uint256 deadline = request_.terms.deadline;
        if (block.timestamp > deadline) revert DtnAi_DeadlinePassed(deadline, block.timestamp);
    }

    /// @dev What one node gets for an answer of so many bytes.
    function _feeOf(Terms storage terms, uint256 responseBytes) private view returns (uint256) {
        uint256 fee = responseBytes * terms.feePerByteRes;
        return terms.requestFee + (fee < terms.totalFeePerRes ? fee : terms.totalFeePerRes);
    }

    /// @dev The books first, then the callback, then what is paid out.
    function _settle(
        bytes32 requestId,
        ResponseStatus status,
        uint256 cost,
        string memory message,
        bytes memory response
    ) private {
        uint256 length = bytes(message).length + response.length;
        if (length > 24_000) revert DtnAi_AnswerTooLong(length, 24_000);
        Request storage request_ = _requestOf(requestId);
        Terms memory terms = request_.terms;
        request_.status = status;
        earned += cost;
        uint256 owed = _release(terms, cost);
        bool expired = status == ResponseStatus.TIMEOUT;
        if (terms.keepResponse && !expired) _keep(request_, message, response);
        else if (_sessions[terms.sessionId].open) _sessions[terms.sessionId].freeSlots.push(terms.slot);
        if (expired) emit RequestExpired(requestId);
        else emit ResponseDelivered(requestId, status, cost, message, response);
        // Slot 0 is no request's: what is being delivered lies there, whatever becomes of the request's own.
        (_requests[0].status, _requests[0].message, _requests[0].response) = (status, message, response);
        _deliver(terms, requestId, status);
        _refund(_sessions[terms.sessionId].owner, owed);
    }

    /// @dev Ends a hold; returns what is free of it if the session is closed.
    function _release(Terms memory terms, uint256 cost) private returns (uint256 owed) {
        Session storage session = _sessions[terms.sessionId];
        uint256 hold = _holdOf(terms);
        session.held -= hold;
        if (!session.open) return hold - cost;
        session.available += hold - cost;
    }

    function _keep(Request storage request_, string memory message, bytes memory response) private {
        (request_.kept, request_.message, request_.response) = (true, message, response);
    }

    function _deliver(Terms memory terms, bytes32 requestId, ResponseStatus status) private {
        uint256 owedWei;
        if (terms.callback.target != address(0)) {
            uint256 before = gasleft();
            _delivering = requestId;
            bool done = _callBack(terms, requestId, status);
            // slither-disable-next-line write-after-write: the callback reads it
            _delivering = 0;
            if (!done) _noteFailure(terms, requestId, status);
            uint256 priceMax = terms.callbackWei / terms.callbackGas;
            // slither-disable-next-line divide-before-multiply: the price is rounded down, never above what was given
            owedWei = (before - gasleft()) * (tx.gasprice < priceMax ? tx.gasprice : priceMax);
            if (owedWei > terms.callbackWei) owedWei = terms.callbackWei;
        }
        _payEther(msg.sender, owedWei);
        _payEther(terms.user, terms.callbackWei - owedWei);
    }

    /// @dev Keeps the response that its asker could not take. The failed callback has left no trace, so the request's
    /// slot is still the last that came free.
    function _noteFailure(Terms memory terms, bytes32 requestId, ResponseStatus status) private {
        emit CallbackFailed(requestId, terms.callback.target);
        if (status == ResponseStatus.TIMEOUT || terms.keepResponse) return;
        if (_sessions[terms.sessionId].open) _sessions[terms.sessionId].freeSlots.pop();
        _keep(_requestOf(requestId), _requests[0].message, _requests[0].response);
    }

    function _callBack(Terms memory terms, bytes32 requestId, ResponseStatus status)
        private
        callingBack
        returns (bool done)
    {
        CallBack memory callback = terms.callback;
        bytes4 selector = status == ResponseStatus.SUCCESS ? callback.successSelector : callback.failureSelector;
        bytes memory data = abi.encodeWithSelector(selector, requestId);
        (uint256 gasLimit, address target) = (terms.callbackGas, callback.target);
        uint256 needed = gasLimit + gasLimit / 63 + 8_001;
        if (gasleft() < needed) revert DtnAi_GasTooLow(needed, gasleft());
        assembly ("memory-safe") {
            // Nothing of what it returns is read, however much it is.
            done := call(gasLimit, target, 0, add(data, 32), mload(data), 0, 0)
        }
    }

    function _timeoutMessage(Terms memory terms) private pure returns (string memory) {
        return terms.redundancy > 1 ? "consensus timeout" : "timeout";
    }
}

// slither-disable-end timestamp
