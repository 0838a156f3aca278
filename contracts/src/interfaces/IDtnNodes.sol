// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

/// @title IDtnNodes
/// @notice The AI contract as nodes, relays and owners of names see it: answering, expiring, earning, registering.
/// @dev Amounts are base units of the fee token unless they say wei. `terms` are always the bytes that `RequestMade`
/// published; a field of what they say (`IDtnAiEvents.Terms`) is written `terms.field`. The same contract is `IDtnAi` to those who ask.
interface IDtnNodes {
    // ───────────────────────────────────────────── types ─────────────────────────────────────────────

    /// @notice What nodes answer.
    /// @param status SUCCESS, or FAILED for a question that cannot be answered, which takes no response fee.
    /// @param message Said to the asker, free of charge.
    /// @param response The response; with `message` at most 24,000 bytes. Longer ones go by content id.
    struct Answer {
        IDtnAi.ResponseStatus status;
        string message;
        bytes response;
    }

    /// @notice A node's EIP-712 signature of
    /// `Answer(bytes32 requestId,uint8 status,string message,bytes response)`, by its operator (ERC-1271 for contracts).
    struct Seal {
        bytes32 nodeId;
        bytes signature;
    }

    /// @notice A node's candidate and its opinion of the others', for SELECT_BEST and RANK, with its EIP-712 signature of
    /// `Ballot(bytes32 requestId,bytes32 candidates,uint256 preference)`.
    /// @dev `candidates` is keccak256 of all ballots' `nodeId` and `responseHash`, packed, in order: a relay cannot mix
    /// ballots that were cast on other sets.
    /// @param nodeId The node; ballots are in ascending order of it.
    /// @param responseHash keccak256 of the node's candidate.
    /// @param preference SELECT_BEST: the index of the best candidate. RANK: all indices, best first, four bits each, the
    /// best in the lowest. What a node says of its own candidate does not count.
    /// @param signature By the node's operator (ERC-1271 for contracts).
    struct Ballot {
        bytes32 nodeId;
        bytes32 responseHash;
        uint256 preference;
        bytes signature;
    }

    /// @notice A model's price: a request must offer at least this, per byte and per response, in base units.
    /// @param apis Bit i is set where `CallType(i)` is offered; 0 takes the model off the list.
    struct Model {
        uint80 feePerByteReq;
        uint80 feePerByteRes;
        uint80 totalFeePerRes;
        uint8 apis;
    }

    // ──────────────────────────────────────────── answering ──────────────────────────────────────────

    /// @notice Settles a request with the answer of one node, called by its operator.
    /// @dev For requests of which one node's word is enough (`terms.quorum` 1, not SELECT_BEST or RANK). The node is paid
    /// first; then the callback gets exactly `terms.callbackGas`, and whatever it does changes nothing of the payment.
    /// Emits {ResponseDelivered}, perhaps {CallbackFailed}.
    /// Requirements: the terms are those of a pending request; its deadline has not passed; the node is trusted by them.
    function respondToRequest(bytes calldata terms, bytes32 nodeId, Answer calldata answer) external;

    /// @notice Settles a request with one answer that several nodes signed; anyone may relay it.
    /// @dev For ANY, ALL and VOTE, and for a FAILED answer of SELECT_BEST and RANK. Every signer is paid, so there are at
    /// most `terms.redundancy`. Needed: `terms.quorum` seals for SUCCESS, a majority of `terms.redundancy` for FAILED.
    /// @param seals In ascending order of `nodeId`.
    function respondToRequest(bytes calldata terms, Answer calldata answer, Seal[] calldata seals) external;

    /// @notice Settles a SELECT_BEST or RANK request by the ballots of `terms.redundancy` nodes; anyone may relay it.
    /// @param responses SELECT_BEST: the winner's only. RANK: every candidate, in the order of the ballots.
    function respondToRequest(bytes calldata terms, bytes[] calldata responses, Ballot[] calldata ballots) external;

    /// @notice Settles a request whose deadline has passed: its hold is free again, the failure callback is called, the
    /// status is TIMEOUT. Anyone may call it. Emits {RequestExpired}, perhaps {CallbackFailed}.
    /// @dev The message is "timeout", or "consensus timeout" where several nodes had to answer.
    function expire(bytes calldata terms) external;

    /// @notice The EIP-712 digest that a node's operator signs for a {Seal}.
    function answerDigest(bytes32 requestId, Answer calldata answer) external view returns (bytes32);

    /// @notice The EIP-712 digest that a node's operator signs for a {Ballot}.
    function ballotDigest(bytes32 requestId, bytes32 candidates, uint256 preference) external view returns (bytes32);

    // ───────────────────────────────────────── earnings ──────────────────────────────────────────────

    /// @notice What a node has earned and not withdrawn.
    function earned(bytes32 nodeId) external view returns (uint256);

    /// @notice Pays what a node has earned to `to`; called by its operator. Emits {EarningsWithdrawn}.
    /// @dev Requirements: something was earned, and the token pays it.
    function withdraw(bytes32 nodeId, address to) external returns (uint256 amount);

    // ───────────────────────────────────────── names and models ──────────────────────────────────────

    /// @notice Registers a namespace for the caller: first come, first served, for good. Emits {NamespaceRegistered}.
    /// @dev A name is 1 to 32 characters of a-z, 0-9 and the hyphen. Its id is keccak256 of the name.
    function registerNamespace(string calldata name) external returns (bytes32 namespaceId);

    /// @notice Gives a namespace to `newOwner`. Emits {NamespaceTransferred}. Warning: in one step, so check the address.
    /// @dev The owner of "system" is the administrator: it registers system nodes and models, and nothing else.
    function transferNamespace(bytes32 namespaceId, address newOwner) external;

    /// @notice Registers a node in a namespace; called by the namespace's owner. Emits {NodeRegistered}.
    /// @dev The node's id is keccak256 of `namespace.name`. What it earns belongs to `operator`, out of reach of the
    /// namespace's owner. A name is used once.
    function registerNode(string calldata namespace, string calldata name, address operator)
        external
        returns (bytes32 nodeId);

    /// @notice Takes a node out of its namespace; called by the namespace's owner. Emits {NodeRetired}.
    /// @dev From then on, requests in flight too, trusting the namespace no longer trusts the node; naming it does. Its
    /// earnings stay its operator's.
    function retireNode(bytes32 nodeId) external;

    /// @notice Gives a node, and what it has earned, to `newOperator`; called by its operator. Emits {NodeTransferred}.
    function transferNode(bytes32 nodeId, address newOperator) external;

    /// @notice Offers a model, or changes its price for later requests; called by the administrator. Emits {ModelSet}.
    function setModel(string calldata name, Model calldata model) external returns (bytes32 modelId);

    /// @notice Who may register system nodes and models: the owner of the namespace "system".
    function administrator() external view returns (address);

    /// @notice A namespace's owner, or zero, and how many nodes it has.
    function namespaceOf(bytes32 namespaceId) external view returns (address owner, uint256 nodes);

    /// @notice A node's operator, or zero if there is none, and its namespace, or zero once it is retired.
    function nodeOf(bytes32 nodeId) external view returns (address operator, bytes32 namespaceId);

    /// @notice A model's price and APIs; all zero if it is not offered.
    function modelOf(bytes32 modelId) external view returns (Model memory);

    // ───────────────────────────────────────────── events ────────────────────────────────────────────

    /// @notice `owner` registered the namespace `name`.
    event NamespaceRegistered(bytes32 indexed namespaceId, address indexed owner, string name);

    /// @notice A namespace has a new owner.
    event NamespaceTransferred(bytes32 indexed namespaceId, address indexed owner);

    /// @notice The node `name` was registered in a namespace, run by `operator`.
    event NodeRegistered(bytes32 indexed nodeId, bytes32 indexed namespaceId, address indexed operator, string name);

    /// @notice A node was taken out of its namespace.
    event NodeRetired(bytes32 indexed nodeId, bytes32 indexed namespaceId);

    /// @notice A node has a new operator.
    event NodeTransferred(bytes32 indexed nodeId, address indexed operator);

    /// @notice A model is offered at this price, or no longer if it has no APIs.
    event ModelSet(bytes32 indexed modelId, string name, Model model);

    /// @notice A node's earnings were paid to `to`.
    event EarningsWithdrawn(bytes32 indexed nodeId, address indexed to, uint256 amount);

    // ───────────────────────────────────────────── errors ────────────────────────────────────────────

    /// @notice No terms are so short. Hand back what {RequestMade} published.
    error DtnAi_TermsTooShort(uint256 length);

    /// @notice The request was settled before, with this status. An answer counts once.
    error DtnAi_RequestSettled(bytes32 requestId, IDtnAi.ResponseStatus status);

    /// @notice The deadline has passed; only `expire` settles the request now.
    error DtnAi_DeadlinePassed(uint256 deadline, uint256 time);

    /// @notice Nodes may answer until the deadline; `expire` waits for it to pass.
    error DtnAi_DeadlineNotPassed(uint256 deadline, uint256 time);

    /// @notice The request does not trust this node, or its namespace no longer has it.
    error DtnAi_NodeNotTrusted(bytes32 requestId, bytes32 nodeId);

    /// @notice `caller` does not operate the node.
    error DtnAi_NotOperator(bytes32 nodeId, address caller);

    /// @notice The signature is not one of the node's operator for this answer.
    error DtnAi_SignatureInvalid(bytes32 nodeId);

    /// @notice Nodes must be in ascending order, each once.
    error DtnAi_NodesNotAscending(bytes32 nodeId);

    /// @notice `given` nodes answered, where `min` to `max` must.
    error DtnAi_QuorumNotMet(uint256 given, uint256 min, uint256 max);

    /// @notice This way of answering is not one for the request's aggregation.
    error DtnAi_WrongAggregation(IDtnAi.AggregationType aggregationType);

    /// @notice An answer is SUCCESS or FAILED.
    error DtnAi_StatusInvalid(IDtnAi.ResponseStatus status);

    /// @notice The answer is longer than `max` bytes. Send it by content id.
    error DtnAi_AnswerTooLong(uint256 length, uint256 max);

    /// @notice A preference names no candidate, or does not name each once.
    error DtnAi_PreferenceInvalid(bytes32 nodeId, uint256 preference);

    /// @notice A response is not the one its ballot's hash promised, or there are too few or too many.
    error DtnAi_ResponseMismatch(uint256 index);

    /// @notice The callback is owed `needed` gas and so much is not left. Send the transaction with more.
    error DtnAi_GasTooLow(uint256 needed, uint256 left);

    /// @notice The node has earned nothing since the last withdrawal.
    error DtnAi_NothingEarned(bytes32 nodeId);

    /// @notice A name is 1 to 32 characters of a-z, 0-9 and the hyphen.
    error DtnAi_NameInvalid(string name);

    /// @notice The name is registered already.
    error DtnAi_NameTaken(string name);

    /// @notice `caller` does not own the namespace.
    error DtnAi_NotNamespaceOwner(bytes32 namespaceId, address caller);

    /// @notice An operator or owner is nobody.
    error DtnAi_AddressZero();

    /// @notice The fee token is no contract, or has more than 18 decimals, so that its amounts do not fit.
    error DtnAi_TokenNotSupported(address token, uint256 decimals);
}
