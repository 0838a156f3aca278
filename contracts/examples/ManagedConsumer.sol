// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title ManagedConsumer
/// @notice Asks through the session manager, which starts, reuses and closes the sessions: a contract to copy and start
/// from.
/// @dev Pay it by sending the fee token to its own address. Only the owner asks, since the contract pays. The manager
/// calls back, not the AI contract.
contract ManagedConsumer {
    using SafeERC20 for IERC20;

    /// @notice Base units of the fee token: for a byte of the question, for a byte of the answer, and for the answer.
    uint256 public constant FEE_PER_BYTE_REQ = 10;
    uint256 public constant FEE_PER_BYTE_RES = 20;
    uint256 public constant FEE_PER_RES_MAX = 20_000;

    /// @notice Gas for storing an answer of some hundred bytes.
    uint256 public constant CALLBACK_GAS = 700_000;

    ISessionManager public immutable manager;
    IDtnAi public immutable ai;
    address public immutable owner;
    mapping(bytes32 requestId => bool) public asked;
    mapping(bytes32 requestId => string) public answers;

    event Answered(bytes32 indexed requestId, string text);
    event NotAnswered(bytes32 indexed requestId, string why);

    error ManagedConsumer_NotOwner(address caller);
    error ManagedConsumer_NotManager(address caller);
    error ManagedConsumer_NotAsked(bytes32 requestId);

    modifier onlyOwner() {
        if (msg.sender != owner) revert ManagedConsumer_NotOwner(msg.sender);
        _;
    }

    /// @dev Anyone may ask through the manager with this contract as target: only what was asked here counts.
    modifier onlyAnswers(bytes32 requestId) {
        if (msg.sender != address(manager)) revert ManagedConsumer_NotManager(msg.sender);
        if (!asked[requestId]) revert ManagedConsumer_NotAsked(requestId);
        _;
    }

    /// @param owner_ Who asks.
    constructor(ISessionManager manager_, address owner_) {
        manager = manager_;
        ai = manager_.ai();
        owner = owner_;
    }

    /// @notice Asks any node of the system namespace, of the current session, or of a new one with the manager's
    /// minimum. ETH sent along pays for the callback's gas.
    function ask(string calldata model, string calldata prompt) external payable onlyOwner returns (bytes32 requestId) {
        IERC20(ai.feeToken()).forceApprove(address(manager), manager.config().minSessionBalance);
        requestId = manager.makeAIRequest{value: msg.value}(
            0,
            IDtnAi.BatchRequest({
                modelId: ai.modelId(model),
                routing: DtnDefaults.defaultRoutingSystemValidatedAny(),
                request: IDtnAi.DtnRequest({
                    call: abi.encode(DtnDefaults.singleArray(prompt)),
                    extraParams: "",
                    calltype: IDtnAi.CallType.DIRECT,
                    feePerByteReq: FEE_PER_BYTE_REQ,
                    feePerByteRes: FEE_PER_BYTE_RES,
                    totalFeePerRes: FEE_PER_RES_MAX
                }),
                callback: IDtnAi.CallBack(this.onSuccess.selector, this.onFailure.selector, address(this)),
                user: msg.sender,
                callbackGas: CALLBACK_GAS,
                callbackWei: msg.value,
                options: IDtnAi.RequestOptions({timeoutSeconds: 0, keepResponse: false})
            })
        );
        asked[requestId] = true;
    }

    /// @notice The manager calls this with an answer.
    function onSuccess(bytes32 requestId) external onlyAnswers(requestId) {
        (,, bytes memory response) = ai.fetchResponse(requestId);
        answers[requestId] = abi.decode(response, (string));
        emit Answered(requestId, answers[requestId]);
    }

    /// @notice The manager calls this when nodes could not answer, or nobody did in time.
    function onFailure(bytes32 requestId) external onlyAnswers(requestId) {
        (, string memory why,) = ai.fetchResponse(requestId);
        emit NotAnswered(requestId, why);
    }

    /// @notice Closes all sessions and sends all that the contract has of the fee token to `to`.
    function close(address to) external onlyOwner {
        manager.closeAllSessions();
        IERC20 token = IERC20(ai.feeToken());
        token.safeTransfer(to, token.balanceOf(address(this)));
    }
}
