// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

import {IDtnNodes} from "../interfaces/IDtnNodes.sol";
import {Callbacks} from "../libraries/Callbacks.sol";
import {Books} from "./Books.sol";
import {Lifecycle} from "./Lifecycle.sol";
import {Purse} from "./Purse.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// Deadlines and ages are in seconds; the few by which a validator may shift its clock are of no matter.
// slither-disable-start incorrect-equality,timestamp

/// @title SessionManager
/// @notice Keeps AI sessions for users: asks of them, hears the answers, passes them on.
/// @dev From the bottom up: {Books}, {Pool}, {Lifecycle}, and here requests and callbacks. Each user's money is in that
/// user's {Purse}; the administrator sets limits and touches none of it.
contract SessionManager is Lifecycle {
    /// @dev Whom to tell of a request's outcome. `gasLimit` is never zero, so that no request's word is.
    struct Asked {
        address target;
        bytes4 successSelector;
        bytes4 failureSelector;
        uint32 gasLimit;
    }

    /// What our callback itself needs, at the worst; a target's gas comes on top.
    uint256 private constant OWN_GAS = 100_000;
    /// The most gas that the AI contract gives to a callback.
    uint256 private constant CALLBACK_GAS_MAX = 2_500_000;
    uint256 private constant TARGET_GAS_DEFAULT = 200_000;
    /// Calling the target with so much gas takes a 63rd more, of which a call keeps a part back.
    uint256 private constant TARGET_GAS_MAX = (CALLBACK_GAS_MAX - OWN_GAS) * 63 / 64;
    /// For reading why a request failed: enough for a thousand bytes, too little for a message made to be dear.
    uint256 private constant READ_GAS = 30_000;

    mapping(bytes32 requestId => Asked) private _asked;

    /// @param ai_ The AI contract, for good.
    /// @param administrator May change the configuration.
    constructor(address ai_, address administrator, Config memory config_) Books(ai_, administrator, config_) {}

    // ────────────────────────────────────────────── asking ───────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function makeAIRequest(string calldata prompt, string calldata model, bytes32[] calldata routing, uint256 costMax)
        external
        payable
        nonReentrant
        returns (bytes32 requestId)
    {
        IDtnAi.BatchRequest memory asked;
        asked.modelId = ai.modelId(model);
        asked.routing = DtnDefaults.defaultRoutingSystemValidatedAny();
        asked.routing.trustNamespaceIds = routing;
        asked.request = _atModelPrice(asked.modelId, abi.encode(DtnDefaults.singleArray(prompt)));
        asked.callbackWei = msg.value;
        uint256 cost = asked.request.call.length * asked.request.feePerByteReq + asked.request.totalFeePerRes;
        if (cost > costMax) revert SessionManager_CostAboveMax(cost, costMax);
        (uint256 sessionId,) = _findOrCreate(msg.sender);
        return _request(msg.sender, sessionId, asked);
    }

    /// @inheritdoc ISessionManager
    function makeAIRequest(uint256 sessionId, IDtnAi.BatchRequest calldata asked)
        external
        payable
        nonReentrant
        returns (bytes32 requestId)
    {
        if (asked.callbackWei != msg.value) {
            revert SessionManager_EtherMismatch(msg.value, asked.callbackWei);
        }
        if (sessionId == 0) (sessionId,) = _findOrCreate(msg.sender);
        return _request(msg.sender, sessionId, asked);
    }

    /// @inheritdoc ISessionManager
    function makeAIRequests(uint256 sessionId, IDtnAi.BatchRequest[] calldata batch)
        external
        payable
        nonReentrant
        returns (IDtnAi.BatchResult[] memory results)
    {
        uint256 givenWei;
        for (uint256 i = 0; i < batch.length; i++) {
            givenWei += batch[i].callbackWei;
        }
        if (givenWei != msg.value) revert SessionManager_EtherMismatch(msg.value, givenWei);
        if (sessionId == 0) (sessionId,) = _findOrCreate(msg.sender);
        results = new IDtnAi.BatchResult[](batch.length);
        uint256 refusedWei;
        for (uint256 i = 0; i < batch.length; i++) {
            // slither-disable-next-line calls-loop: each request of a batch fails on its own
            try this.requestOf{value: batch[i].callbackWei}(msg.sender, sessionId, batch[i]) returns (
                bytes32 requestId
            ) {
                results[i].requestId = requestId;
            } catch (bytes memory reason) {
                results[i].reason = reason;
                refusedWei += batch[i].callbackWei;
            }
        }
        _giveBack(msg.sender, refusedWei);
    }

    /// @notice One request of a batch; only the contract itself calls it, so that it can fail on its own.
    /// @dev Not guarded: `makeAIRequests`, which holds the lock, is the only caller.
    function requestOf(address asker, uint256 sessionId, IDtnAi.BatchRequest calldata asked)
        external
        payable
        returns (bytes32 requestId)
    {
        if (msg.sender != address(this)) revert SessionManager_OnlySelf(msg.sender);
        return _request(asker, sessionId, asked);
    }

    // ───────────────────────────────────────────── callbacks ─────────────────────────────────────────

    /// @inheritdoc ISessionManager
    /// @dev Not guarded: an answer may lead to the next question. All is written before the target is called.
    function onSuccess(bytes32 requestId) external {
        Asked memory asked = _takeAsked(requestId);
        emit AIResponseReceived(requestId);
        _tell(requestId, asked, asked.successSelector);
    }

    /// @inheritdoc ISessionManager
    /// @dev Not guarded, as `onSuccess`.
    function onError(bytes32 requestId) external {
        Asked memory asked = _takeAsked(requestId);
        (IDtnAi.ResponseStatus status, string memory message) = _failureOf(requestId);
        emit AIRequestFailed(requestId, status, message);
        _tell(requestId, asked, asked.failureSelector);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    /// @dev What `call` offers is what the model asks for now.
    function _atModelPrice(bytes32 modelId, bytes memory call) private view returns (IDtnAi.DtnRequest memory asked) {
        IDtnNodes.Model memory price = IDtnNodes(address(ai)).modelOf(modelId);
        asked.call = call;
        asked.calltype = IDtnAi.CallType.DIRECT;
        asked.feePerByteReq = price.feePerByteReq;
        asked.feePerByteRes = price.feePerByteRes;
        asked.totalFeePerRes = price.totalFeePerRes;
    }

    /// @dev The one way to ask. The session may be the asker's own, or on lease to it.
    function _request(address asker, uint256 sessionId, IDtnAi.BatchRequest memory asked)
        private
        returns (bytes32 requestId)
    {
        Session memory session = _sessions[sessionId];
        _requireUsable(sessionId, session, asker);
        session.requestCount++;
        _saveUsed(sessionId, session);
        Asked memory word = _redirect(asked, asker);
        // slither-disable-next-line reentrancy-benign,reentrancy-events: the lock is held
        requestId = Purse(purseOf(session.owner)).ask{value: asked.callbackWei}(sessionId, asked);
        if (session.state == SessionState.LEASED) _requireWithinLease(sessionId);
        _asked[requestId] = word;
        emit AIRequestMade(requestId, sessionId, asker);
    }

    /// @dev Makes this contract the target of the callback, and returns whom to tell then.
    function _redirect(IDtnAi.BatchRequest memory asked, address asker) private view returns (Asked memory word) {
        address target = asked.callback.target;
        if (target == TOKEN || target == address(ai) || target == address(this)) {
            revert SessionManager_TargetForbidden(target);
        }
        uint256 gasLimit = asked.callbackGas == 0 ? TARGET_GAS_DEFAULT : asked.callbackGas;
        if (gasLimit > TARGET_GAS_MAX) gasLimit = TARGET_GAS_MAX;
        word = Asked(target, asked.callback.successSelector, asked.callback.failureSelector, uint32(gasLimit));
        asked.callback = IDtnAi.CallBack(this.onSuccess.selector, this.onError.selector, address(this));
        asked.callbackGas = target == address(0) ? OWN_GAS : OWN_GAS + gasLimit + gasLimit / 63;
        // Left to the AI contract, it would be the purse, which takes no ETH.
        if (asked.user == address(0)) asked.user = asker;
    }

    /// @dev Whom to tell of a request of ours, once. Anyone may have the AI contract call us about theirs.
    function _takeAsked(bytes32 requestId) private returns (Asked memory asked) {
        if (msg.sender != address(ai)) revert SessionManager_OnlyAi(msg.sender);
        asked = _asked[requestId];
        if (asked.gasLimit == 0) revert SessionManager_RequestNotFound(requestId);
        delete _asked[requestId];
    }

    /// @dev Why a request failed, as far as it can be read cheaply: the node chose how long the message is.
    function _failureOf(bytes32 requestId) private view returns (IDtnAi.ResponseStatus, string memory) {
        // slither-disable-next-line unused-return: it failed, so there is no response
        try ai.fetchResponse{gas: READ_GAS}(requestId) returns (
            IDtnAi.ResponseStatus status, string memory message, bytes memory
        ) {
            return (status, message);
        } catch {
            return (IDtnAi.ResponseStatus.FAILED, "");
        }
    }

    /// @dev Calls the target with the gas that was asked for it. If it fails we fail too, so that the AI contract keeps
    /// the response; what it does otherwise is its own affair.
    function _tell(bytes32 requestId, Asked memory asked, bytes4 selector) private {
        if (asked.target == address(0)) return;
        if (!Callbacks.call(asked.target, selector, requestId, asked.gasLimit)) {
            revert SessionManager_TargetFailed(requestId, asked.target);
        }
    }

    function _giveBack(address to, uint256 amountWei) private {
        if (amountWei == 0) return;
        bool sent;
        assembly ("memory-safe") {
            sent := call(gas(), to, amountWei, 0, 0, 0, 0)
        }
        if (!sent) revert SessionManager_EtherRefused(to, amountWei);
    }
}

// slither-disable-end incorrect-equality,timestamp
