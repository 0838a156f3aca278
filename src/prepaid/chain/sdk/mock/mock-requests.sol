// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi, IDtnAiModels} from "../idtn-ai.sol";
import {MockSessions} from "./mock-sessions.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// Deadlines and ages are in seconds; the few by which a validator may shift its clock are of no matter.
// slither-disable-start incorrect-equality,timestamp

/// @title MockRequests
/// @notice The mock's asking: the same checks, holds and ids as the AI contract's.
abstract contract MockRequests is MockSessions {
    struct Model {
        uint256 feePerByteReq;
        uint256 feePerByteRes;
        uint256 totalFeePerRes;
        uint8 apis;
    }

    struct Request {
        bytes32 id;
        Terms terms;
        ResponseStatus status;
        bool kept;
        string message;
        bytes response;
    }

    mapping(bytes32 => Model) private _models;
    mapping(bytes32 => uint256) private _nodes;
    /// By session number and slot, as the AI contract keeps them: a settled request's slot is used again.
    mapping(uint256 => Request) internal _requests;
    mapping(bytes32 => DtnRequest) private _questions;

    /// @notice The last request made.
    bytes32 public lastRequestId;

    constructor(address token) MockSessions(token) {
        _nodes[keccak256("system")] = 7;
    }

    // ──────────────────────────────────────────── commands ───────────────────────────────────────────

    /// @notice Offers a model at a price; `apis` 1 is IPFS, 2 DIRECT, 3 both, 0 takes the model off the list.
    function offerModel(
        string calldata name,
        uint80 feePerByteReq,
        uint80 feePerByteRes,
        uint80 totalFeePerRes,
        uint8 apis
    ) external {
        _models[modelId(name)] = Model(feePerByteReq, feePerByteRes, totalFeePerRes, apis);
    }

    /// @notice Says how many nodes a namespace or node id stands for.
    function setNodes(bytes32 id, uint256 nodes) external {
        _nodes[id] = nodes;
    }

    /// @notice What a request asked.
    function questionOf(bytes32 requestId) external view returns (DtnRequest memory) {
        return _questions[requestId];
    }

    // ──────────────────────────────────────── IDtnAi: requests ───────────────────────────────────────

    /// @inheritdoc IDtnAiModels
    function modelId(string calldata name) public pure returns (bytes32) {
        return keccak256(bytes(name));
    }

    /// @inheritdoc IDtnAi
    function request(
        uint256 sessionId,
        bytes32 model,
        bytes32[] calldata routing,
        DtnRequest calldata asked,
        CallBack calldata callback,
        address user,
        uint256 callbackGas
    ) external payable guarded returns (bytes32) {
        DtnRouting memory meant;
        (meant.trustedNodeIds, meant.redundancy) = (routing, 1);
        Terms memory terms = _terms(meant, callback, user, callbackGas);
        return _request(msg.sender, sessionId, model, asked, terms, msg.value);
    }

    /// @inheritdoc IDtnAi
    function request(
        uint256 sessionId,
        bytes32 model,
        DtnRouting calldata routing,
        DtnRequest calldata asked,
        CallBack calldata callback,
        address user,
        uint256 callbackGas
    ) external payable guarded returns (bytes32) {
        Terms memory terms = _terms(routing, callback, user, callbackGas);
        return _request(msg.sender, sessionId, model, asked, terms, msg.value);
    }

    /// @inheritdoc IDtnAi
    function request(
        uint256 sessionId,
        bytes32 model,
        DtnRouting calldata routing,
        DtnRequest calldata asked,
        CallBack calldata callback,
        address user,
        uint256 callbackGas,
        RequestOptions calldata options
    ) external payable guarded returns (bytes32) {
        Terms memory terms = _terms(routing, callback, user, callbackGas);
        _choose(terms, options);
        return _request(msg.sender, sessionId, model, asked, terms, msg.value);
    }

    /// @inheritdoc IDtnAi
    function requestBatch(uint256 sessionId, BatchRequest[] calldata batch)
        external
        payable
        guarded
        returns (BatchResult[] memory results)
    {
        _requireOwn(sessionId, msg.sender);
        results = new BatchResult[](batch.length);
        uint256 givenWei;
        uint256 refusedWei;
        for (uint256 i = 0; i < batch.length; i++) {
            givenWei += batch[i].callbackWei;
            // slither-disable-next-line calls-loop: each request of a batch fails on its own
            try this.requestOf(msg.sender, sessionId, batch[i]) returns (bytes32 requestId) {
                results[i].requestId = requestId;
            } catch (bytes memory reason) {
                results[i].reason = reason;
                refusedWei += batch[i].callbackWei;
            }
        }
        if (givenWei != msg.value) revert DtnAi_EtherMismatch(msg.value, givenWei);
        _payEther(msg.sender, refusedWei);
    }

    /// @notice One request of a batch; only the contract itself calls it, so that it can fail on its own.
    function requestOf(address owner, uint256 sessionId, BatchRequest calldata asked) external returns (bytes32) {
        if (msg.sender != address(this)) revert DtnAi_OnlySelf(msg.sender);
        Terms memory terms = _terms(asked.routing, asked.callback, asked.user, asked.callbackGas);
        _choose(terms, asked.options);
        return _request(owner, sessionId, asked.modelId, asked.request, terms, asked.callbackWei);
    }

    // ────────────────────────────────────────── private: asking ──────────────────────────────────────

    // slither-disable-next-line cyclomatic-complexity: the checks of a request, one after the other
    function _terms(DtnRouting memory routing, CallBack calldata callback, address user, uint256 callbackGas)
        private
        view
        returns (Terms memory terms)
    {
        uint256 n = routing.redundancy;
        uint256 ids = routing.trustNamespaceIds.length + routing.trustedNodeIds.length;
        if (n == 0 || n > 7) revert DtnAi_RedundancyOutOfRange(n, 7);
        if (routing.confidenceLevel > 100) revert DtnAi_ConfidenceOutOfRange(routing.confidenceLevel, 100);
        if (ids > 16) revert DtnAi_RoutingTooLong(ids, 16);
        if (callback.target == feeToken || callback.target == address(this)) {
            revert DtnAi_TargetForbidden(callback.target);
        }
        terms.trusted = new bytes32[](ids);
        for (uint256 i = 0; i < ids; i++) {
            uint256 namespaces = routing.trustNamespaceIds.length;
            terms.trusted[i] = i < namespaces ? routing.trustNamespaceIds[i] : routing.trustedNodeIds[i - namespaces];
        }
        terms.aggregationType = routing.aggregationType;
        terms.redundancy = routing.aggregationType == AggregationType.ANY ? 1 : uint8(n);
        terms.quorum = terms.redundancy;
        if (routing.aggregationType == AggregationType.VOTE) {
            uint256 share = (n * routing.confidenceLevel + 99) / 100;
            terms.quorum = uint8(share > n / 2 + 1 ? share : n / 2 + 1);
        }
        (terms.callback, terms.user) = (callback, user);
        if (callbackGas == 0) callbackGas = 200_000;
        terms.callbackGas = callbackGas > 2_500_000 ? 2_500_000 : uint32(callbackGas);
        terms.deadline = uint64(block.timestamp + 1 hours);
    }

    function _choose(Terms memory terms, RequestOptions calldata options) private view {
        terms.keepResponse = options.keepResponse;
        uint256 timeout = options.timeoutSeconds;
        if (timeout == 0) return;
        if (timeout < 60 || timeout > 7 days) revert DtnAi_TimeoutOutOfRange(timeout, 60, 7 days);
        terms.deadline = uint64(block.timestamp + timeout);
    }

    function _request(
        address owner,
        uint256 sessionId,
        bytes32 model,
        DtnRequest calldata asked,
        Terms memory terms,
        uint256 callbackWei
    ) private returns (bytes32 requestId) {
        terms.callbackWei = _fits(callbackWei);
        _requireOffered(model, asked);
        _requireNodes(terms);
        if (terms.user == address(0)) terms.user = owner;
        terms.content = keccak256(abi.encode(model, asked));
        terms.requestFee = _fits((asked.call.length + asked.extraParams.length) * _fits(asked.feePerByteReq));
        terms.feePerByteRes = _fits(asked.feePerByteRes);
        terms.totalFeePerRes = _fits(asked.totalFeePerRes);
        _hold(owner, sessionId, terms);
        bytes memory encoded = _encode(terms);
        uint256 key = (uint256(uint64(terms.sessionId)) << 32) | terms.slot;
        requestId = bytes32((key << 160) | uint160(uint256(keccak256(encoded))));
        delete _requests[key];
        (_requests[key].id, _requests[key].terms) = (requestId, terms);
        (_questions[requestId], lastRequestId) = (asked, requestId);
        emit RequestMade(requestId, model, encoded, asked.calltype, asked.feePerByteReq, asked.call, asked.extraParams);
    }

    function _requireOffered(bytes32 id, DtnRequest calldata asked) private view {
        Model memory model = _models[id];
        if (model.apis == 0) revert DtnAi_ModelNotSupported(id);
        if ((model.apis >> uint8(asked.calltype)) & 1 == 0) revert DtnAi_ApiNotSupported(id, asked.calltype);
        _requireFee(id, FeeKind.REQUEST_BYTE, asked.feePerByteReq, model.feePerByteReq);
        _requireFee(id, FeeKind.RESPONSE_BYTE, asked.feePerByteRes, model.feePerByteRes);
        _requireFee(id, FeeKind.RESPONSE_TOTAL, asked.totalFeePerRes, model.totalFeePerRes);
    }

    function _requireFee(bytes32 id, FeeKind kind, uint256 offered, uint256 price) private pure {
        if (offered < price) revert DtnAi_InsufficientFee(id, kind, offered, price);
    }

    function _requireNodes(Terms memory terms) private view {
        uint256 eligible;
        for (uint256 i = 0; i < terms.trusted.length && eligible < terms.quorum; i++) {
            eligible += _nodes[terms.trusted[i]];
        }
        if (eligible < terms.quorum) revert DtnAi_NoNodesAvailable(terms.quorum, eligible);
    }

    function _hold(address owner, uint256 sessionId, Terms memory terms) private {
        uint256 hold = _fits(_holdOf(terms));
        if (sessionId == 0) sessionId = _startFromDeposit(owner);
        _requireOwn(sessionId, owner);
        Session storage session = _sessions[sessionId];
        if (session.available < hold) {
            uint256 collected = _collect(owner);
            if (collected > 0) _fund(sessionId, owner, collected);
            if (session.available < hold) revert DtnAi_InsufficientFunds(sessionId, hold, session.available);
        }
        session.available -= hold;
        session.held += hold;
        (terms.sessionId, terms.serial, terms.slot) = (sessionId, session.serial, session.serial);
        session.serial++;
        uint256 free = session.freeSlots.length;
        if (free == 0) return;
        terms.slot = session.freeSlots[free - 1];
        session.freeSlots.pop();
    }

    function _holdOf(Terms memory terms) internal pure returns (uint256) {
        return terms.redundancy * (uint256(terms.requestFee) + terms.totalFeePerRes);
    }

    /// @dev The bytes that the AI contract publishes in {RequestMade}.
    function _encode(Terms memory terms) private pure returns (bytes memory) {
        // slither-disable-next-line encode-packed-collision: all but the last part have a fixed length
        return abi.encodePacked(
            abi.encodePacked(terms.sessionId, terms.content, terms.user, terms.callbackWei, terms.callback.target),
            abi.encodePacked(terms.requestFee, terms.feePerByteRes, terms.totalFeePerRes),
            abi.encodePacked(terms.callback.successSelector, terms.callback.failureSelector, uint64(0), terms.deadline),
            abi.encodePacked(terms.slot, terms.serial, terms.callbackGas, terms.redundancy, terms.quorum),
            abi.encodePacked(uint8(terms.aggregationType), terms.keepResponse, terms.trusted)
        );
    }
}

// slither-disable-end incorrect-equality,timestamp
