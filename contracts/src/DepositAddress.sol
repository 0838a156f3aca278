// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {TokenMoves} from "./libraries/TokenMoves.sol";

/// @title DepositAddress
/// @notice An owner's deposit address: holds tokens until the AI contract takes them for a session of that owner.
/// @dev The AI contract clones it (EIP-1167) at an address made from the owner's, the first time there is something to
/// take. It has no other way out, and no say: whose deposit it is, the AI contract knows from the address.
contract DepositAddress {
    address private immutable AI = msg.sender;

    /// @notice Only the AI contract takes deposits.
    error DepositAddress_OnlyAi(address caller);

    /// @notice Sends `amount` of `token` to the AI contract.
    /// @dev It takes two arguments so that no request's callback, which carries one word, can be a call to it.
    function collect(address token, uint256 amount) external {
        if (msg.sender != AI) revert DepositAddress_OnlyAi(msg.sender);
        // The AI contract judges by its own balance what has arrived.
        TokenMoves.send(token, AI, amount, gasleft());
    }
}
