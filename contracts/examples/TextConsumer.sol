// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {WithDtnAi} from "@deeptrust/contracts/with-dtn-ai.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title TextConsumer
/// @notice Asks a model for text and keeps what it says: a contract to copy and start from.
/// @dev Pay it by sending the fee token to `ai.feeTargetOf(address(this))`; `close` gives back what is left. Only the
/// owner asks, since the contract pays.
contract TextConsumer is WithDtnAi {
    using SafeERC20 for IERC20;

    /// @notice What became of a question. PENDING with no text: it was asked, or never was; see `asked`.
    struct Outcome {
        IDtnAi.ResponseStatus status;
        string text;
    }

    /// @notice Base units of the fee token: for a byte of the question, for a byte of the answer, and for the answer.
    uint256 public constant FEE_PER_BYTE_REQ = 10;
    uint256 public constant FEE_PER_BYTE_RES = 20;
    uint256 public constant FEE_PER_RES_MAX = 20_000;

    /// @notice Gas for storing an answer of some hundred bytes.
    uint256 public constant CALLBACK_GAS = 700_000;

    address public immutable owner;
    uint256 public sessionId;
    mapping(bytes32 requestId => bool) public asked;
    mapping(bytes32 requestId => Outcome) public outcomes;

    event Asked(bytes32 indexed requestId, string prompt);
    event Settled(bytes32 indexed requestId, IDtnAi.ResponseStatus status, string text);

    error TextConsumer_NotOwner(address caller);
    error TextConsumer_NotAsked(bytes32 requestId);

    modifier onlyOwner() {
        if (msg.sender != owner) revert TextConsumer_NotOwner(msg.sender);
        _;
    }

    /// @param owner_ Who asks. Not `msg.sender`, which may be a contract that deploys for others.
    constructor(address ai_, address owner_) {
        setAi(ai_);
        owner = owner_;
    }

    /// @notice Asks a model; any one node of `routing` (ids of nodes and namespaces) may answer, within an hour. An
    /// empty `routing` is the system namespace. ETH sent along pays for the callback's gas.
    function ask(string calldata model, string calldata prompt, bytes32[] calldata routing)
        external
        payable
        onlyOwner
        returns (bytes32 requestId)
    {
        if (sessionId == 0) sessionId = ai.startUserSession();
        requestId = ai.request{value: msg.value}(
            sessionId,
            ai.modelId(model),
            routing.length == 0 ? DtnDefaults.defaultSystemTrust() : routing,
            IDtnAi.DtnRequest({
                call: abi.encode(DtnDefaults.singleArray(prompt)),
                extraParams: "",
                calltype: IDtnAi.CallType.DIRECT,
                feePerByteReq: FEE_PER_BYTE_REQ,
                feePerByteRes: FEE_PER_BYTE_RES,
                totalFeePerRes: FEE_PER_RES_MAX
            }),
            IDtnAi.CallBack(this.onSuccess.selector, this.onFailure.selector, address(this)),
            msg.sender,
            CALLBACK_GAS
        );
        asked[requestId] = true;
        emit Asked(requestId, prompt);
    }

    /// @notice The AI contract calls this with an answer.
    function onSuccess(bytes32 requestId) external onlyDtn {
        (IDtnAi.ResponseStatus status,, bytes memory response) = ai.fetchResponse(requestId);
        _settle(requestId, status, abi.decode(response, (string)));
    }

    /// @notice The AI contract calls this when nodes could not answer, or nobody did in time.
    function onFailure(bytes32 requestId) external onlyDtn {
        (IDtnAi.ResponseStatus status, string memory message,) = ai.fetchResponse(requestId);
        _settle(requestId, status, message);
    }

    /// @notice Closes the session and sends all that the contract has of the fee token to `to`. What a question in
    /// flight holds comes back when it settles: call it again then.
    function close(address to) external onlyOwner {
        if (sessionId != 0) ai.closeUserSession(sessionId);
        sessionId = 0;
        IERC20 token = IERC20(ai.feeToken());
        token.safeTransfer(to, token.balanceOf(address(this)));
    }

    /// @dev Anyone may ask the AI contract with this one as target: only what was asked here counts.
    function _settle(bytes32 requestId, IDtnAi.ResponseStatus status, string memory text) private {
        if (!asked[requestId]) revert TextConsumer_NotAsked(requestId);
        outcomes[requestId] = Outcome(status, text);
        emit Settled(requestId, status, text);
    }
}
