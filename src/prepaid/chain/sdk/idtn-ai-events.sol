// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi} from "./idtn-ai.sol";

/// @title IDtnAiEvents
/// @notice What sessions and requests tell: events, and errors with the numbers in them.
/// @dev Amounts are base units of the fee token unless they say wei.
interface IDtnAiEvents {
    // ───────────────────────────────────────────── terms ─────────────────────────────────────────────

    /// @notice What a request agreed to. The contract stores only the hash of their bytes: whoever settles the
    /// request hands those back as {RequestMade} published them.
    /// @param sessionId The session that pays.
    /// @param slot Where in the session's storage the hash lies.
    /// @param serial The request's number in its session, from 1; no two requests are ever the same.
    /// @param deadline The last second (Unix time) at which nodes may answer.
    /// @param callbackGas Gas for the callback, already lowered to the limit.
    /// @param redundancy How many nodes are held for.
    /// @param quorum How many nodes must sign one answer.
    /// @param aggregationType How the nodes' answers make one.
    /// @param keepResponse Whether the response is kept on chain.
    /// @param callbackWei ETH sent for the callback's gas.
    /// @param requestFee One node's fee for reading the request.
    /// @param feePerByteRes One node's fee per byte of response.
    /// @param totalFeePerRes The most that one node's response may cost.
    /// @param user Who gets back what is left of `callbackWei`.
    /// @param callback Who is told of the outcome.
    /// @param content keccak256(abi.encode(modelId, dtnRequest)): binds the id to the question.
    /// @param trusted Ids of the namespaces and nodes that may answer.
    struct Terms {
        uint256 sessionId;
        uint32 slot;
        uint32 serial;
        uint64 deadline;
        uint32 callbackGas;
        uint8 redundancy;
        uint8 quorum;
        IDtnAi.AggregationType aggregationType;
        bool keepResponse;
        uint96 callbackWei;
        uint96 requestFee;
        uint96 feePerByteRes;
        uint96 totalFeePerRes;
        address user;
        IDtnAi.CallBack callback;
        bytes32 content;
        bytes32[] trusted;
    }

    // ───────────────────────────────────────────── events ────────────────────────────────────────────

    /// @notice `owner` started a session with `amount`.
    event SessionStarted(uint256 indexed sessionId, address indexed owner, uint256 amount);

    /// @notice `amount` was added to a session by `payer`.
    event SessionFunded(uint256 indexed sessionId, address indexed payer, uint256 amount);

    /// @notice A session was closed: `refund` was free and paid back, `held` is in flight and follows.
    event SessionClosed(uint256 indexed sessionId, address indexed owner, uint256 refund, uint256 held);

    /// @notice The token refused to pay `tokens`, or `account` to take `etherWei`: `claimRefund` pays them.
    event RefundClaimable(address indexed account, uint256 tokens, uint256 etherWei);

    /// @notice `account` was paid claimable refunds, at `to`.
    event RefundClaimed(address indexed account, address to, uint256 tokens, uint256 etherWei);

    /// @notice A request was made. Nodes need nothing else to answer and to settle it.
    /// @param terms The request's {Terms}, packed as `TermsCodec` says. They tell the other fees, and so the hold:
    /// `redundancy * (requestFee + totalFeePerRes)`.
    /// @param calltype How `call` and the response travel; this and what follows as in {IDtnAi.DtnRequest}.
    event RequestMade(
        bytes32 indexed requestId,
        bytes32 indexed modelId,
        bytes terms,
        IDtnAi.CallType calltype,
        uint256 feePerByteReq,
        bytes call,
        bytes extraParams
    );

    /// @notice A request was answered. `cost` is what the session paid, to all nodes together; the rest of its hold is
    /// free again. Emitted before the callback.
    event ResponseDelivered(
        bytes32 indexed requestId, IDtnAi.ResponseStatus status, uint256 cost, string message, bytes response
    );

    /// @notice A request expired unanswered and its whole hold is free again. Emitted before the callback.
    event RequestExpired(bytes32 indexed requestId);

    /// @notice The callback reverted or ran out of its gas. The outcome stands; the response was kept on chain.
    event CallbackFailed(bytes32 indexed requestId, address indexed target);

    // ──────────────────────────────────────── errors: sessions ───────────────────────────────────────

    /// @notice `feeTarget()` was asked by nobody. Set `from`, or ask `feeTargetOf(owner)`.
    error DtnAi_NoCaller();

    /// @notice Nothing lies at `owner`'s deposit address. Send fee tokens to `feeTarget` first.
    error DtnAi_NothingDeposited(address owner, address feeTarget);

    /// @notice An amount of zero. Ask for something.
    error DtnAi_AmountZero();

    /// @notice More than a session can hold, or a request be held for.
    error DtnAi_AmountTooLarge(uint256 amount, uint256 max);

    /// @notice The token moved `moved` where `expected` was due, as tokens that take a fee do.
    error DtnAi_TransferInexact(uint256 expected, uint256 moved);

    /// @notice No such session, or not one of `caller`. Use an id that `startUserSession` returned to the caller.
    error DtnAi_SessionNotFound(uint256 sessionId, address caller);

    /// @notice The session was closed before. Start another.
    error DtnAi_SessionAlreadyClosed(uint256 sessionId);

    /// @notice The request must hold `needed`; the session has `available` free. Fund it, or ask for less.
    error DtnAi_InsufficientFunds(uint256 sessionId, uint256 needed, uint256 available);

    /// @notice `account` has nothing to claim.
    error DtnAi_NothingToClaim(address account);

    /// @notice `to` could not be paid `tokens` and `etherWei`. Name another.
    error DtnAi_PaymentRefused(address to, uint256 tokens, uint256 etherWei);

    /// @notice The ETH sent is not the sum of what the batch gives to its requests.
    error DtnAi_EtherMismatch(uint256 sentWei, uint256 neededWei);

    /// @notice The function was entered while another was at work.
    error DtnAi_Reentered();

    /// @notice Only the contract itself calls this.
    error DtnAi_OnlySelf(address caller);

    // ──────────────────────────────────────── errors: requests ───────────────────────────────────────

    /// @notice No such model is offered. Check the name behind the id.
    error DtnAi_ModelNotSupported(bytes32 modelId);

    /// @notice The model is not offered with this call type.
    error DtnAi_ApiNotSupported(bytes32 modelId, IDtnAi.CallType calltype);

    /// @notice The request offers less than the model's price.
    error DtnAi_InsufficientFee(bytes32 modelId, IDtnAi.FeeKind fee, uint256 offered, uint256 price);

    /// @notice `needed` nodes must answer, and the routing trusts `eligible` registered ones.
    error DtnAi_NoNodesAvailable(uint256 needed, uint256 eligible);

    /// @notice Redundancy must be 1 to `max`.
    error DtnAi_RedundancyOutOfRange(uint256 redundancy, uint256 max);

    /// @notice The confidence level is a percentage, at most `max`.
    error DtnAi_ConfidenceOutOfRange(uint256 confidenceLevel, uint256 max);

    /// @notice The routing names more ids than `max`.
    error DtnAi_RoutingTooLong(uint256 ids, uint256 max);

    /// @notice The timeout must be `min` to `max` seconds.
    error DtnAi_TimeoutOutOfRange(uint256 timeoutSeconds, uint256 min, uint256 max);

    /// @notice A callback to the fee token or to the AI contract itself would act in its name.
    error DtnAi_TargetForbidden(address target);

    /// @notice No request of this id is known here, or not on these terms.
    error DtnAi_RequestNotFound(bytes32 requestId);
}
