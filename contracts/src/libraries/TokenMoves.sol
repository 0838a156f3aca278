// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

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

    /// @dev Pays `amount` to `to`, with at most `gasLimit` gas, and returns what of it the token refused, or the receiver
    /// gave back as it was told of it (ERC-777): nobody can make this revert who is only paid. Reverts if more left.
    /// What a fee takes on the way is between token and receiver: our books need only what we paid.
    function push(address token, address to, uint256 amount, uint256 gasLimit) internal returns (uint256 unpaid) {
        uint256 before = IERC20(token).balanceOf(address(this));
        send(token, to, amount, gasLimit);
        uint256 left = Math.saturatingSub(before, IERC20(token).balanceOf(address(this)));
        if (left > amount) revert IDtnAiEvents.DtnAi_TransferInexact(amount, left);
        return amount - left;
    }

    /// @dev Asks the token to pay. A refusal shows in the balances, whether it reverts or returns false.
    function send(address token, address to, uint256 amount, uint256 gasLimit) internal {
        bytes memory data = abi.encodeCall(IERC20.transfer, (to, amount));
        assembly ("memory-safe") {
            pop(call(gasLimit, token, 0, add(data, 32), mload(data), 0, 0))
        }
    }

    /// @dev Reverts unless our balance grew by `amount` since it was `before`.
    function requireArrived(address token, uint256 before, uint256 amount) internal view {
        uint256 arrived = IERC20(token).balanceOf(address(this)) - before;
        if (arrived != amount) revert IDtnAiEvents.DtnAi_TransferInexact(amount, arrived);
    }
}
