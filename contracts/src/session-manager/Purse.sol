// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {TokenMoves} from "../libraries/TokenMoves.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// slither-disable-start incorrect-equality

/// @title Purse
/// @notice Owns one user's AI sessions, so that whatever the AI contract pays back, whenever, is that user's by address.
/// @dev The manager clones it (EIP-1167) at an address made from the user's, and alone uses it. Every function takes
/// two words or more, so that no request's callback, which carries one, can be a call to it in the manager's name.
contract Purse {
    using SafeERC20 for IERC20;

    /// Gas for paying the user when others wait in the same transaction: several times what any known token takes. What
    /// needs more is paid by `payOut`, with all there is.
    uint256 private constant TOKEN_GAS = 500_000;

    address private immutable MANAGER = msg.sender;
    IDtnAi private immutable AI;
    address private immutable TOKEN;

    /// @notice Only the manager uses purses.
    error Purse_OnlyManager(address caller);

    modifier onlyManager() {
        if (msg.sender != MANAGER) revert Purse_OnlyManager(msg.sender);
        _;
    }

    constructor(IDtnAi ai) {
        AI = ai;
        TOKEN = ai.feeToken();
    }

    /// @notice Moves `amount` of the purse's tokens into a session; 0 starts one.
    function fund(uint256 sessionId, uint256 amount) external onlyManager returns (uint256 fundedId) {
        if (IERC20(TOKEN).allowance(address(this), address(AI)) < amount) {
            // The AI contract takes from the purse only what the purse asks it to take.
            IERC20(TOKEN).forceApprove(address(AI), type(uint256).max);
        }
        if (sessionId == 0) return AI.startUserSession(amount);
        AI.fundSession(sessionId, amount);
        return sessionId;
    }

    /// @notice Asks of a session; the ETH that comes along is the request's.
    function ask(uint256 sessionId, IDtnAi.BatchRequest calldata asked)
        external
        payable
        onlyManager
        returns (bytes32 requestId)
    {
        return AI.request{value: msg.value}(
            sessionId,
            asked.modelId,
            asked.routing,
            asked.request,
            asked.callback,
            asked.user,
            asked.callbackGas,
            asked.options
        );
    }

    /// @notice Closes a session and pays everything in the purse to `to`.
    /// @return refund What the session paid back.
    /// @return paid What went to `to`.
    /// @return waiting What the token refused to pay to `to`.
    function close(uint256 sessionId, address to)
        external
        onlyManager
        returns (uint256 refund, uint256 paid, uint256 waiting)
    {
        uint256 before = _balance();
        AI.closeUserSession(sessionId);
        refund = _balance() - before;
        waiting = _pay(to, before + refund, TOKEN_GAS);
        paid = before + refund - waiting;
    }

    /// @notice Pays everything in the purse, and what the AI contract owes it, to `to`.
    /// @param owed What the AI contract owes the purse; if it is 0, it is not asked.
    /// @return amount What was in the purse and owed to it.
    /// @return waiting What the token refused to pay to `to`.
    function payOut(address to, uint256 owed) external onlyManager returns (uint256 amount, uint256 waiting) {
        amount = _balance();
        if (owed > 0) AI.claimRefund(payable(to));
        waiting = _pay(to, amount, gasleft());
        amount += owed;
    }

    function _pay(address to, uint256 amount, uint256 gasLimit) private returns (uint256 waiting) {
        return amount == 0 ? 0 : TokenMoves.push(TOKEN, to, amount, gasLimit);
    }

    function _balance() private view returns (uint256) {
        return IERC20(TOKEN).balanceOf(address(this));
    }
}

// slither-disable-end incorrect-equality
