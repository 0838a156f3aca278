// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi} from "./idtn-ai.sol";

/// @title ISessionManager
/// @notice AI sessions kept for their users: reuse, renewal, a shared pool, clean-up, batches.
/// @dev Every user's money is in a purse of the user's own, a contract that owns the user's AI sessions; the manager
/// itself never holds any. Session and request ids are those of the AI contract. Amounts are base units of the fee
/// token unless they say wei. Errors of the AI contract (`IDtnAiEvents`) pass through. Source: spec B1 to B14.
interface ISessionManager {
    // ───────────────────────────────────────────── types ─────────────────────────────────────────────

    /// @notice Where a session stands. CLOSED is final.
    /// @custom:value NONE There is no such session here.
    /// @custom:value ACTIVE Its owner uses it.
    /// @custom:value POOLED It waits for a taker.
    /// @custom:value LEASED A taker uses it.
    /// @custom:value CLOSED It was refunded.
    enum SessionState {
        NONE,
        ACTIVE,
        POOLED,
        LEASED,
        CLOSED
    }

    /// @notice What the administrator sets.
    /// @param minSessionBalance The least a session starts with, and is pooled with; not zero.
    /// @param maxSessionAgeSeconds How long a session may be idle: an hour to a year.
    /// @param sessionPoolSize How many sessions may be pooled or on lease at once; at most 10,000.
    /// @param leaseSeconds How long a taker may use a pooled session: a minute to `maxSessionAgeSeconds`.
    struct Config {
        uint96 minSessionBalance;
        uint40 maxSessionAgeSeconds;
        uint32 sessionPoolSize;
        uint40 leaseSeconds;
    }

    /// @notice What a pooled session's owner offers to takers.
    /// @param takerCap The most that one taker may spend of it, over all its leases.
    /// @param budget What all takers together may still spend of it.
    struct Offer {
        uint96 takerCap;
        uint96 budget;
    }

    /// @notice Who has a session, until when, and how far it may go.
    /// @param taker Who leases it.
    /// @param deadline The last second (Unix time) at which the taker may ask.
    /// @param start What was free when the lease began, and what the owner has added since.
    /// @param room The most that may be spent of it during this lease.
    struct Lease {
        address taker;
        uint40 deadline;
        uint96 start;
        uint96 room;
    }

    // ──────────────────────────────────────────── sessions ───────────────────────────────────────────

    /// @notice The AI contract behind the sessions. Never changes.
    function ai() external view returns (IDtnAi);

    /// @notice The contract that owns `user`'s AI sessions and takes their refunds on the way to `user`.
    /// @dev Known before it is deployed, which the user's first session does.
    function purseOf(address user) external view returns (address);

    /// @notice Starts a session with `balance`, by allowance of the caller to this contract. Emits {SessionCreated}.
    /// @dev Requirements: `balance` is at least the minimum (`SessionManager_BalanceTooLow`) and arrives exactly.
    function createSession(uint256 balance) external returns (uint256 sessionId);

    /// @notice `createSession(balance)` with the allowance given by an EIP-2612 signature of the caller.
    function createSessionWithPermit(uint256 balance, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        returns (uint256 sessionId);

    /// @notice The caller's current session if it has money, else a new one with the minimum, by allowance.
    /// @dev Current is the one last started, renewed or taken out of the pool; no other is looked at, so the cost is
    /// constant. A current session that has expired is closed and refunded on the way. Finding one counts as a use.
    function getOrCreateSession() external returns (uint256 sessionId);

    /// @notice Adds `additionalBalance` to the caller's session, by allowance, and makes it current.
    /// @dev Also while it is pooled or on lease, where it does not add to what takers may spend. Emits {SessionRenewed}.
    /// Requirements: the session is the caller's, open and not expired; the amount is not zero and arrives exactly.
    function renewSession(uint256 sessionId, uint256 additionalBalance) external;

    /// @notice Closes the caller's session and pays what is free of it to the caller, at once.
    /// @dev Also while it is pooled or on lease. What requests in flight hold comes to the caller's purse as they
    /// settle, and from there to the caller by `withdraw`, which anyone may call. Emits {SessionClosed}.
    /// Requirements: the session is the caller's (`SessionManager_SessionNotFound`) and open.
    function closeSession(uint256 sessionId) external;

    /// @notice Closes all of the caller's sessions. With too many for one transaction, say how many.
    function closeAllSessions() external returns (uint256 closed);

    /// @notice Closes at most `max` of the caller's sessions, those in the pool first and the current one last.
    function closeAllSessions(uint256 max) external returns (uint256 closed);

    /// @notice Closes and refunds sessions that have been idle for longer than they may, the longest idle first.
    /// @dev Anyone may call it. It looks only at what it closes. Emits {SessionClosed} for each.
    /// @param max How many at most: about 150,000 gas each.
    function cleanupOldSessions(uint256 max) external returns (uint256 closed);

    /// @notice Pays `user` what has come back to its purse since: refunds of requests that settled after the close, and
    /// refunds the token refused to pay before. Anyone may call it. Emits {RefundPaid}.
    /// @dev Requirements: there is something (`SessionManager_NothingToWithdraw`) and the token pays it.
    function withdraw(address user) external returns (uint256 amount);

    /// @notice `withdraw` of the caller's own purse to another address, for an account that the token refuses.
    function withdrawTo(address to) external returns (uint256 amount);

    // ──────────────────────────────────────────── requests ───────────────────────────────────────────

    /// @notice Asks `model` about `prompt` with `getOrCreateSession`, at the model's own price, and publishes the
    /// outcome as {AIResponseReceived} or {AIRequestFailed}.
    /// @dev The ETH sent is for the callback's gas; what is left goes back to the caller.
    /// @param routing Ids of namespaces and nodes, any of which may answer.
    /// @param costMax The most that the request may cost (`SessionManager_CostAboveMax`): the model's price is set by the
    /// AI contract's administrator and may change at any time.
    function makeAIRequest(string calldata prompt, string calldata model, bytes32[] calldata routing, uint256 costMax)
        external
        payable
        returns (bytes32 requestId);

    /// @notice Asks what `asked` says, of a session the caller owns or has on lease. Emits {AIRequestMade}.
    /// @dev The AI contract calls this contract back, which publishes the outcome and calls `asked.callback.target`,
    /// if there is one, with `asked.callbackGas`. In that call, `msg.sender` is this contract and
    /// `ai().fetchResponse(requestId)` has the response. A target that fails changes nothing but that the AI contract
    /// keeps the response for ever and emits its own `CallbackFailed`.
    /// @param sessionId The session; 0 is `getOrCreateSession`.
    /// @param asked As in `IDtnAi.requestBatch`. `user` zero is the caller; `callbackGas` is the target's, at most about
    /// 2,300,000 (more is lowered to it), 0 is 200,000; this contract's own 100,000 come on top.
    function makeAIRequest(uint256 sessionId, IDtnAi.BatchRequest calldata asked)
        external
        payable
        returns (bytes32 requestId);

    /// @notice Asks several questions of one session; each is made or refused on its own.
    /// @dev ETH of refused requests goes back to the caller, who must be able to take it. Requirements: the ETH sent is
    /// the sum of `callbackWei` (`SessionManager_EtherMismatch`).
    function makeAIRequests(uint256 sessionId, IDtnAi.BatchRequest[] calldata batch)
        external
        payable
        returns (IDtnAi.BatchResult[] memory results);

    /// @notice The AI contract reports that a request was answered. Nobody else may call it.
    function onSuccess(bytes32 requestId) external;

    /// @notice The AI contract reports that a request failed or expired. Nobody else may call it.
    function onError(bytes32 requestId) external;

    // ────────────────────────────────────────────── pool ─────────────────────────────────────────────

    /// @notice Shares the caller's session with whoever takes it. Emits {SessionPooled}.
    /// @dev Requirements: the session is the caller's, active and not expired (`SessionManager_AlreadyPooled`), has the
    /// minimum free and nothing in flight; there is room in the pool (`SessionManager_PoolFull`).
    /// @param takerCap The most that one taker may spend, over all its leases; not zero.
    /// @param budget The most that all takers together may spend: takers cost nothing to make up, so this is what
    /// the owner risks. At least `takerCap`. Money given to the session past this contract is not counted.
    function addToPool(uint256 sessionId, uint96 takerCap, uint96 budget) external;

    /// @notice Takes the caller's session, which waits there, out of the pool, and makes it current. Emits
    /// {SessionUnpooled}.
    function removeFromPool(uint256 sessionId) external;

    /// @notice Leases the session that has waited longest, for `leaseSeconds`. Emits {SessionTaken}.
    /// @dev Requirements: there is one (`SessionManager_PoolEmpty`); it has not expired; the caller has not used up its
    /// cap of it.
    function getFromPool() external returns (uint256 sessionId);

    /// @notice Leases this session, if it waits in the pool.
    function getFromPool(uint256 sessionId) external;

    /// @notice Ends a lease and books what it spent to its taker. Emits {LeaseEnded}.
    /// @dev By the taker at any time, by anyone after the deadline. The session waits in the pool again or, with less
    /// than the minimum or no budget left, is its owner's alone ({SessionUnpooled}).
    /// Requirements: nothing is in flight, so that the books are final (`SessionManager_RequestsInFlight`).
    function returnToPool(uint256 sessionId) external;

    // ───────────────────────────────────────── administration ────────────────────────────────────────

    /// @notice Changes the configuration, for open sessions too. By the administrator, who is this contract's `owner()`
    /// and can do nothing else. Emits {ConfigUpdated}.
    function updateConfig(Config calldata newConfig) external;

    // ───────────────────────────────────────────── views ─────────────────────────────────────────────

    /// @notice A session as its owner sees it. All zero if there is none.
    /// @return owner Who started it.
    /// @return balance What is free of it now.
    /// @return lastUsed When it was last used (Unix time).
    /// @return active Whether it is open.
    /// @return requestCount How often it was found or asked of.
    function getSessionStats(uint256 sessionId)
        external
        view
        returns (address owner, uint256 balance, uint256 lastUsed, bool active, uint256 requestCount);

    /// @notice Where a session stands.
    function stateOf(uint256 sessionId) external view returns (SessionState);

    /// @notice How many open sessions `user` has.
    function getUserSessionCount(address user) external view returns (uint256);

    /// @notice A page of `user`'s open sessions, the current one first: at most `max` after session `afterId`, 0 for the
    /// first page.
    function getUserSessions(address user, uint256 afterId, uint256 max) external view returns (uint256[] memory ids);

    /// @notice How many sessions are pooled, how many of them on lease, and how many there may be.
    function getPoolStatus() external view returns (uint256 poolSize, uint256 leased, uint256 maxSize);

    /// @notice What the owner of a pooled or leased session offers.
    function offerOf(uint256 sessionId) external view returns (Offer memory);

    /// @notice A session's lease; all zero if it has none.
    function leaseOf(uint256 sessionId) external view returns (Lease memory);

    /// @notice What `taker`'s ended leases of a session have spent.
    function spentBy(uint256 sessionId, address taker) external view returns (uint256);

    /// @notice What `withdraw(user)` would pay.
    function withdrawable(address user) external view returns (uint256);

    /// @notice The configuration.
    function config() external view returns (Config memory);

    // ───────────────────────────────────────────── events ────────────────────────────────────────────

    /// @notice `owner` started a session with `balance`.
    event SessionCreated(uint256 indexed sessionId, address indexed owner, uint256 balance);

    /// @notice A session was closed: `refund` was free and left for `owner`, `held` is in flight and follows.
    event SessionClosed(uint256 indexed sessionId, address indexed owner, uint256 refund, uint256 held);

    /// @notice A session was renewed and has `newBalance` free.
    event SessionRenewed(uint256 indexed sessionId, uint256 newBalance);

    /// @notice `user`'s session waits in the pool for takers.
    event SessionPooled(uint256 indexed sessionId, address indexed user, uint256 takerCap, uint256 budget);

    /// @notice A session left the pool and is its owner's alone.
    event SessionUnpooled(uint256 indexed sessionId, address indexed owner);

    /// @notice `taker` leased a session until `deadline`, and may spend `room` of it.
    event SessionTaken(uint256 indexed sessionId, address indexed taker, uint256 deadline, uint256 room);

    /// @notice A lease ended. `spent` is what it took from the session; when the session was closed under it, with what
    /// its requests in flight hold.
    event LeaseEnded(uint256 indexed sessionId, address indexed taker, uint256 spent);

    /// @notice `user` was paid, at `to`, what had come back to its purse.
    event RefundPaid(address indexed user, address to, uint256 amount);

    /// @notice The token refused to pay `user`: `amount` waits in its purse for `withdraw` or `withdrawTo`.
    event RefundWaiting(address indexed user, uint256 amount);

    /// @notice `asker`, the owner or a taker, asked of a session.
    event AIRequestMade(bytes32 indexed requestId, uint256 indexed sessionId, address indexed asker);

    /// @notice A request was answered. The answer is in the AI contract's `ResponseDelivered`, and in `fetchResponse`.
    event AIResponseReceived(bytes32 indexed requestId);

    /// @notice A request failed or timed out, for `reason`, empty where it is too long to be read cheaply.
    event AIRequestFailed(bytes32 indexed requestId, IDtnAi.ResponseStatus status, string reason);

    /// @notice The configuration changed.
    event ConfigUpdated(Config config);

    // ───────────────────────────────────────────── errors ────────────────────────────────────────────

    /// @notice No such session, or not one of `caller`. Use `getOrCreateSession`.
    error SessionManager_SessionNotFound(uint256 sessionId, address caller);

    /// @notice The session was closed before. Use `getOrCreateSession`.
    error SessionManager_SessionAlreadyClosed(uint256 sessionId);

    /// @notice The session was idle for longer than `maxSessionAgeSeconds`. Close it, or let `cleanupOldSessions`, and
    /// create another.
    error SessionManager_SessionExpired(uint256 sessionId, uint256 lastUsed, uint256 maxSessionAgeSeconds);

    /// @notice `balance` is below the minimum. Start, or pool, with at least `min`.
    error SessionManager_BalanceTooLow(uint256 balance, uint256 min);

    /// @notice The token moved `moved` where `expected` was due, as tokens that take a fee do.
    error SessionManager_TransferInexact(uint256 expected, uint256 moved);

    /// @notice The request may cost `cost`. Allow that much, shorten the prompt, or choose another model.
    error SessionManager_CostAboveMax(uint256 cost, uint256 costMax);

    /// @notice The session is in the pool already, where its owner cannot use it. `removeFromPool` takes it out, and
    /// closing it ends everything.
    error SessionManager_AlreadyPooled(uint256 sessionId);

    /// @notice The session does not wait in the pool: another has it, or it is not shared.
    error SessionManager_NotPooled(uint256 sessionId);

    /// @notice The pool has `max` sessions. Wait for one to leave, or ask the administrator for more room.
    error SessionManager_PoolFull(uint256 max);

    /// @notice No session waits in the pool. Wait for one to be given back, or create one.
    error SessionManager_PoolEmpty();

    /// @notice A cap must be more than zero and at most the budget.
    error SessionManager_CapOutOfRange(uint256 takerCap, uint256 budget);

    /// @notice The lease may spend `room`, and would have spent or held `exposure`. Give the session back and take
    /// another.
    error SessionManager_LeaseCapReached(uint256 sessionId, address taker, uint256 exposure, uint256 room);

    /// @notice Nobody has this session on lease.
    error SessionManager_NotLeased(uint256 sessionId);

    /// @notice The lease ended at `deadline`. Take the session, or another, anew.
    error SessionManager_LeaseOver(uint256 sessionId, uint256 deadline);

    /// @notice The lease runs until `deadline`; before that only its taker ends it.
    error SessionManager_LeaseRunning(uint256 sessionId, uint256 deadline);

    /// @notice Requests in flight hold `held`. Wait for them to settle, or expire them after their deadlines.
    error SessionManager_RequestsInFlight(uint256 sessionId, uint256 held);

    /// @notice Nothing has come back for `user` since the last payment.
    error SessionManager_NothingToWithdraw(address user);

    /// @notice The token refuses to pay `amount` to `to`. Name another with `withdrawTo`.
    error SessionManager_RefundRefused(address to, uint256 amount);

    /// @notice The ETH sent is not what the requests are to be given.
    error SessionManager_EtherMismatch(uint256 sentWei, uint256 neededWei);

    /// @notice `to` does not take back `amountWei` of refused requests. Ask from an account that does, or send none.
    error SessionManager_EtherRefused(address to, uint256 amountWei);

    /// @notice A callback to the fee token, the AI contract or the manager would act in the manager's name.
    error SessionManager_TargetForbidden(address target);

    /// @notice The target of a request's callback reverted or ran out of its gas.
    error SessionManager_TargetFailed(bytes32 requestId, address target);

    /// @notice The request was not made through this contract.
    error SessionManager_RequestNotFound(bytes32 requestId);

    /// @notice Only the AI contract calls this.
    error SessionManager_OnlyAi(address caller);

    /// @notice Only the contract itself calls this.
    error SessionManager_OnlySelf(address caller);

    /// @notice `name` must be `min` to `max`.
    error SessionManager_ConfigOutOfRange(string name, uint256 value, uint256 min, uint256 max);
}
