// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// @title IDtnAiModels
/// @notice How a model's name becomes the id that requests carry.
interface IDtnAiModels {
    /// @notice The id of the model called `name`: keccak256 of its bytes.
    /// @dev Says nothing about whether the model is offered; `request` reverts for one that is not.
    // slither-disable-next-line shadowing-local: parameters of that name are the seeds' own
    function modelId(string calldata name) external pure returns (bytes32);
}

/// @title IDtnAi
/// @notice AI sessions paid in one ERC-20: fund a session, spend it on requests, get back what is left.
/// @dev All amounts are in base units of `feeToken()` unless they say wei. What nodes and name owners call is in
/// `IDtnNodes`, events and errors are in `IDtnAiEvents`; all are one contract. Source: spec A1 to A17.
interface IDtnAi is IDtnAiModels {
    // ───────────────────────────────────────────── types ─────────────────────────────────────────────

    /// @notice How question and answer travel. It is also what "API" means in a model's entry.
    /// @custom:value IPFS The bytes are a content id; the content is on IPFS.
    /// @custom:value DIRECT The bytes are the content itself, ABI-encoded as the model expects it.
    enum CallType {
        IPFS,
        DIRECT
    }

    /// @notice Where a request stands. PENDING is the only one that changes.
    /// @custom:value PENDING Asked, its money held, its deadline not settled.
    /// @custom:value SUCCESS Answered; the success callback was called.
    /// @custom:value FAILED Nodes reported that it cannot be answered; no response fee was taken.
    /// @custom:value TIMEOUT Expired after its deadline; nothing was taken.
    enum ResponseStatus {
        PENDING,
        SUCCESS,
        FAILED,
        TIMEOUT
    }

    /// @notice How several nodes make one answer. `redundancy` is n below.
    /// @custom:value ANY One trusted node answers; it alone is held for and paid, whatever n is.
    /// @custom:value ALL n nodes sign the same answer; each is paid.
    /// @custom:value SELECT_BEST n nodes propose an answer each and pick the best of the others'; the most picked is
    /// delivered (of equals, the first proposed); each node is paid for the length of the delivered answer.
    /// @custom:value VOTE At least `max(n/2 + 1, ⌈n·confidenceLevel/100⌉)` of n nodes sign the same answer; those who
    /// signed are paid.
    /// @custom:value RANK n nodes propose an answer each and order the others' (Borda count; of equals, the first
    /// proposed); all are delivered, best first, as `abi.encode(bytes[])`; each node is paid for its own.
    enum AggregationType {
        ANY,
        ALL,
        SELECT_BEST,
        VOTE,
        RANK
    }

    /// @notice Who may answer, and how many must.
    /// @param trustNamespaceIds Every node of these namespaces may answer.
    /// @param trustedNodeIds These nodes may answer, in whatever namespace they are.
    /// @param redundancy How many different nodes, 1 to 7.
    /// @param confidenceLevel For VOTE: the share of nodes, in percent (0 to 100), that must agree, beyond a majority.
    /// @param aggregationType How their answers make one.
    struct DtnRouting {
        bytes32[] trustNamespaceIds;
        bytes32[] trustedNodeIds;
        uint32 redundancy;
        uint8 confidenceLevel;
        AggregationType aggregationType;
    }

    /// @notice What is asked, and the most that it may cost.
    /// @dev Held per node: `(call.length + extraParams.length) * feePerByteReq + totalFeePerRes`. Taken per node that
    /// answers: the request's part and `min(totalFeePerRes, response.length * feePerByteRes)`. Source: spec A10.
    /// @param call The prompt, ABI-encoded as the model expects it, or its content id for `IPFS`.
    /// @param extraParams ABI-encoded values for the prompt's placeholders; nodes fill them in (spec A16).
    /// @param calltype How question and answer travel.
    /// @param feePerByteReq Base units per byte of `call` and `extraParams`.
    /// @param feePerByteRes Base units per byte of response.
    /// @param totalFeePerRes The most that one node's response may cost.
    struct DtnRequest {
        bytes call;
        bytes extraParams;
        CallType calltype;
        uint256 feePerByteReq;
        uint256 feePerByteRes;
        uint256 totalFeePerRes;
    }

    /// @notice Who is told of the outcome: `target.selector(bytes32 requestId)`. No target: nobody.
    /// @dev WARNING: anyone may ask with anyone's contract as target, and choose who answers. That the AI contract
    /// calls (`onlyDtn`) says nothing about who asked: a callback that acts on an answer must check that the id is one
    /// it asked for, as `onlyDtn` of {WithDtnAi} shows.
    /// @param successSelector Called when the status is SUCCESS.
    /// @param failureSelector Called when the status is FAILED or TIMEOUT.
    /// @param target The contract called.
    struct CallBack {
        bytes4 successSelector;
        bytes4 failureSelector;
        address target;
    }

    /// @notice What the seven-argument `request` leaves at its default.
    /// @param timeoutSeconds How long nodes have to answer, 60 to 604,800; 0 is the default of 3,600.
    /// @param keepResponse Whether the response is kept on chain, so that `fetchResponse` returns it for ever.
    struct RequestOptions {
        uint32 timeoutSeconds;
        bool keepResponse;
    }

    /// @notice One request of a batch; fields as the arguments of `request`, and its share of the ETH sent.
    struct BatchRequest {
        bytes32 modelId;
        DtnRouting routing;
        DtnRequest request;
        CallBack callback;
        address user;
        uint256 callbackGas;
        uint256 callbackWei;
        RequestOptions options;
    }

    /// @notice What became of one request of a batch: an id, or the error it would have reverted with.
    struct BatchResult {
        bytes32 requestId;
        bytes reason;
    }

    /// @notice Which of a request's fees an error is about.
    enum FeeKind {
        REQUEST_BYTE,
        RESPONSE_BYTE,
        RESPONSE_TOTAL
    }

    // ──────────────────────────────────────────── sessions ───────────────────────────────────────────

    /// @notice The ERC-20 that sessions are paid in. Never changes.
    function feeToken() external view returns (address);

    /// @notice Where the caller sends tokens before `startUserSession()`: an address of the caller's own.
    /// @dev The address depends on `msg.sender`, so deposits of two owners never mix. Off chain, ask `feeTargetOf`, or
    /// set `from`. Reverts with `DtnAi_NoCaller` for the zero address, which is what an `eth_call` without `from` sends.
    function feeTarget() external view returns (address);

    /// @notice The deposit address of `owner`. Tokens sent there can only become a session of `owner`.
    function feeTargetOf(address owner) external view returns (address);

    /// @notice Starts a session with everything that lies at the caller's deposit address.
    /// @dev Credits what arrives, and so never strands a deposit. Emits {SessionStarted}. Requirements: something lies
    /// there (`DtnAi_NothingDeposited`).
    /// @return sessionId The new session; the caller owns it.
    function startUserSession() external returns (uint256 sessionId);

    /// @notice Starts a session with `amount` taken from the caller by allowance.
    /// @dev Emits {SessionStarted}. Requirements: `amount` is not zero; exactly `amount` arrives.
    function startUserSession(uint256 amount) external returns (uint256 sessionId);

    /// @notice `startUserSession(amount)` with the allowance given by an EIP-2612 signature of the caller.
    /// @dev A permit that somebody else has already submitted does not matter: the allowance counts.
    function startUserSessionWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        returns (uint256 sessionId);

    /// @notice Starts a session of `owner` with `amount` moved by `owner`'s EIP-3009 authorization to this contract.
    /// @dev Anyone may submit it: what it does is what `owner` signed. A contract's `signature` is passed on as bytes,
    /// an account's is split into r, s, v.
    function startUserSessionWithAuthorization(
        address owner,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external returns (uint256 sessionId);

    /// @notice Adds `amount`, by allowance of the caller, to an open session, whoever owns it.
    /// @dev Emits {SessionFunded}. Requirements: the session is open; exactly `amount`, not zero, arrives.
    function fundSession(uint256 sessionId, uint256 amount) external;

    /// @notice Adds everything at the caller's deposit address to the caller's open session.
    /// @dev Emits {SessionFunded}. Requirements: something lies there (`DtnAi_NothingDeposited`).
    function fundSession(uint256 sessionId) external;

    /// @notice Closes the caller's session for good and pays back what is free, at once.
    /// @dev What requests in flight hold is paid back as each settles; a request nobody answers can be expired by anyone
    /// after its deadline. Money the token refuses to pay becomes claimable. Emits {SessionClosed}.
    /// Requirements: the caller owns the session (`DtnAi_SessionNotFound`) and it is open (`DtnAi_SessionAlreadyClosed`).
    function closeUserSession(uint256 sessionId) external;

    /// @notice What a session has: free, held by requests in flight, and whether it is open.
    /// @return owner Who started it, or zero if there is no such session.
    function sessionOf(uint256 sessionId)
        external
        view
        returns (address owner, uint256 available, uint256 held, bool open);

    /// @notice Refunds that could not be paid to `account`: tokens, and wei of callback budgets.
    function claimable(address account) external view returns (uint256 tokens, uint256 etherWei);

    /// @notice Pays the caller's claimable refunds to `to`. Emits {RefundClaimed}.
    /// @dev Requirements: there is something (`DtnAi_NothingToClaim`) and it can be paid to `to`.
    function claimRefund(address payable to) external;

    // ──────────────────────────────────────────── requests ───────────────────────────────────────────

    /// @notice Asks, with one answer of any node in `routing`, which lists node ids and namespace ids.
    /// @dev See the overload with {DtnRouting}, and its warning; this is redundancy 1, ANY.
    function request(
        uint256 sessionId,
        bytes32 modelId,
        bytes32[] calldata routing,
        DtnRequest calldata dtnRequest,
        CallBack calldata callback,
        address user,
        uint256 callbackGas
    ) external payable returns (bytes32 requestId);

    /// @notice Asks, holding the worst case in the session. See the overload with {RequestOptions}, and its warning.
    function request(
        uint256 sessionId,
        bytes32 modelId,
        DtnRouting calldata routing,
        DtnRequest calldata dtnRequest,
        CallBack calldata callback,
        address user,
        uint256 callbackGas
    ) external payable returns (bytes32 requestId);

    /// @notice Asks, holding the worst case in the session.
    /// @dev A session that cannot pay first takes what lies at its owner's deposit address. Emits {RequestMade}.
    /// Requirements, each with its error: the caller owns the session and it is open; the model is offered, has the API
    /// and its prices are met; the routing is in its limits and trusts as many nodes as must answer; the session has
    /// the hold; the timeout is in its limits.
    /// WARNING: keep the id that this returns. A contract is called back for requests of strangers that name it as their
    /// target, too: see {CallBack}.
    /// @param sessionId The caller's session; 0 starts one from the caller's deposit address.
    /// @param user Who gets back what is left of the ETH sent.
    /// @param callbackGas Gas for the callback, at most 2,500,000 (more is lowered to it); 0 is the default of 200,000.
    /// The ETH sent pays the answering node for gas the callback used, at no more per gas than ETH sent / callbackGas.
    /// @return requestId Unique for ever on this contract.
    function request(
        uint256 sessionId,
        bytes32 modelId,
        DtnRouting calldata routing,
        DtnRequest calldata dtnRequest,
        CallBack calldata callback,
        address user,
        uint256 callbackGas,
        RequestOptions calldata options
    ) external payable returns (bytes32 requestId);

    /// @notice Asks several questions of one session; each is made or refused on its own.
    /// @dev ETH of refused requests goes back to the caller. Requirements: the session is the caller's and open; the ETH
    /// sent is the sum of `callbackWei` (`DtnAi_EtherMismatch`).
    function requestBatch(uint256 sessionId, BatchRequest[] calldata batch)
        external
        payable
        returns (BatchResult[] memory results);

    /// @notice What became of a request.
    /// @dev During the callback, and to the end of its transaction, the whole response. Afterwards the response if it was
    /// kept, because the request asked for it or because its callback failed; else the status, with empty bytes and
    /// the message "not kept" (it is in {ResponseDelivered}), until the session reuses the request's storage. Then,
    /// as for an id that never was, `DtnAi_RequestNotFound`.
    /// @return status PENDING, SUCCESS, FAILED or TIMEOUT.
    /// @return message What a node said about it, or why it failed.
    /// @return response The response's bytes.
    function fetchResponse(bytes32 requestId)
        external
        view
        returns (ResponseStatus status, string memory message, bytes memory response);
}
