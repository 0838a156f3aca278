// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {WithDtnAi} from "@deeptrust/contracts/with-dtn-ai.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title ImageConsumer
/// @notice Asks a model for an image and keeps its content id on IPFS: a contract to copy and start from.
/// @dev Pay it by sending the fee token to `ai.feeTargetOf(address(this))`; `close` gives back what is left. Only the
/// owner asks, since the contract pays. Whoever shows the image fetches it by its id, and checks that it is of this id.
contract ImageConsumer is WithDtnAi {
    using SafeERC20 for IERC20;

    /// @notice Base units of the fee token: for a byte of the question, for a byte of the id, and for the answer.
    uint256 public constant FEE_PER_BYTE_REQ = 10;
    uint256 public constant FEE_PER_BYTE_RES = 20;
    uint256 public constant FEE_PER_RES_MAX = 20_000;

    /// @notice Gas for storing an id.
    uint256 public constant CALLBACK_GAS = 300_000;

    address public immutable owner;
    uint256 public sessionId;
    mapping(bytes32 requestId => bool) public asked;

    /// @notice The content id of each image, such as "bafkrei…"; empty until it is there.
    mapping(bytes32 requestId => string) public images;

    event Asked(bytes32 indexed requestId, string prompt);
    event Drawn(bytes32 indexed requestId, string contentId);
    event NotDrawn(bytes32 indexed requestId, string why);

    error ImageConsumer_NotOwner(address caller);
    error ImageConsumer_NotAsked(bytes32 requestId);

    modifier onlyOwner() {
        if (msg.sender != owner) revert ImageConsumer_NotOwner(msg.sender);
        _;
    }

    /// @param owner_ Who asks.
    constructor(address ai_, address owner_) {
        setAi(ai_);
        owner = owner_;
    }

    /// @notice Asks any node of the system namespace, for an hour. ETH sent along pays for the callback's gas.
    function draw(string calldata model, string calldata prompt) external payable onlyOwner returns (bytes32 requestId) {
        if (sessionId == 0) sessionId = ai.startUserSession();
        requestId = ai.request{value: msg.value}(
            sessionId,
            ai.modelId(model),
            DtnDefaults.defaultSystemTrust(),
            IDtnAi.DtnRequest({
                call: abi.encode(DtnDefaults.singleArray(prompt)),
                extraParams: "",
                calltype: IDtnAi.CallType.IPFS,
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

    /// @notice The AI contract calls this with an answer. Anyone may ask it with this contract as target: only what
    /// was asked here counts.
    function onSuccess(bytes32 requestId) external onlyDtn {
        if (!asked[requestId]) revert ImageConsumer_NotAsked(requestId);
        (,, bytes memory response) = ai.fetchResponse(requestId);
        images[requestId] = abi.decode(response, (string));
        emit Drawn(requestId, images[requestId]);
    }

    /// @notice The AI contract calls this when nodes could not answer, or nobody did in time.
    function onFailure(bytes32 requestId) external onlyDtn {
        if (!asked[requestId]) revert ImageConsumer_NotAsked(requestId);
        (, string memory why,) = ai.fetchResponse(requestId);
        emit NotDrawn(requestId, why);
    }

    /// @notice Closes the session and sends all that the contract has of the fee token to `to`. What a question in
    /// flight holds comes back when it settles: call it again then.
    function close(address to) external onlyOwner {
        if (sessionId != 0) ai.closeUserSession(sessionId);
        sessionId = 0;
        IERC20 token = IERC20(ai.feeToken());
        token.safeTransfer(to, token.balanceOf(address(this)));
    }
}
