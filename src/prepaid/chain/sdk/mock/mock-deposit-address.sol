// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title MockDepositAddress
/// @notice Holds an owner's deposit until the mock takes it.
contract MockDepositAddress {
    address private immutable AI = msg.sender;

    /// @notice Sends `amount` of `token`, in base units, to the mock, which alone may ask for it.
    /// @dev Reverts with a string for anybody else; whether the tokens came, the mock sees by its balance.
    function collect(address token, uint256 amount) external {
        require(msg.sender == AI, "MockDepositAddress: only the mock");
        bytes memory data = abi.encodeCall(IERC20.transfer, (AI, amount));
        // Tokens return what they like, or nothing: the mock looks at what has arrived.
        assembly ("memory-safe") {
            pop(call(gas(), token, 0, add(data, 32), mload(data), 0, 0))
        }
    }
}
