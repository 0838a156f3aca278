// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";

/// @title TokenMoves
/// @notice Token movements, judged by what they did to our balance and by nothing the token says.
/// @dev Tokens return true, nothing (USDT on Ethereum), or false on success (USDT on TRON); none of it is read.
library TokenMoves {
    /// @dev Takes exactly `amount` from `from`, who must have given us the allowance. A token's own error is passed on.
    function pull(address token, address from, uint256 amount) internal {
        uint256 before = IERC20(token).balanceOf(address(this));
        bytes memory transferFrom = abi.encodeCall(IERC20.transferFrom, (from, address(this), amount));
        if (!LowLevelCall.callNoReturn(token, transferFrom)) LowLevelCall.bubbleRevert();
        requireArrived(token, before, amount);
    }

    /// @dev Pays `amount` to `to`; false if the token refused. Reverts if anything but all or nothing left.
    /// What a fee takes on the way is between token and receiver: our books need only what we paid.
    function push(address token, address to, uint256 amount) internal returns (bool paid) {
        uint256 before = IERC20(token).balanceOf(address(this));
        send(token, to, amount);
        uint256 left = before - IERC20(token).balanceOf(address(this));
        if (left == amount) return true;
        if (left == 0) return false;
        revert IDtnAiEvents.DtnAi_TransferInexact(amount, left);
    }

    /// @dev Asks the token to pay. A refusal shows in the balances, whether it reverts or returns false.
    function send(address token, address to, uint256 amount) internal {
        LowLevelCall.callNoReturn(token, abi.encodeCall(IERC20.transfer, (to, amount)));
    }

    /// @dev Reverts unless our balance grew by `amount` since it was `before`.
    function requireArrived(address token, uint256 before, uint256 amount) internal view {
        uint256 arrived = IERC20(token).balanceOf(address(this)) - before;
        if (arrived != amount) revert IDtnAiEvents.DtnAi_TransferInexact(amount, arrived);
    }
}
