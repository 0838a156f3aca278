// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnNodes} from "../interfaces/IDtnNodes.sol";

/// @title Callbacks
/// @notice Calls a contract that may do anything with the gas it was promised, and with nothing else.
library Callbacks {
    /// What lies between the check and the call, the call's own price included: 2,600 for a cold account, and as much
    /// again for the code that it delegates to (EIP-7702).
    uint256 private constant CALL_COST = 8_000;

    /// @dev Calls `target.selector(requestId)` with exactly `gasLimit` gas, and reads nothing of what it returns.
    /// Reverts if so much is not left: an EVM call passes on at most 63/64 of the gas, silently, so a node that sends
    /// too little could make the callback fail, or succeed at catching its own lack of gas.
    function call(address target, bytes4 selector, bytes32 requestId, uint256 gasLimit)
        internal
        returns (bool succeeded)
    {
        uint256 left = gasleft();
        uint256 needed = gasLimit + gasLimit / 63 + 1 + CALL_COST;
        if (left < needed) revert IDtnNodes.DtnAi_GasTooLow(needed, left);
        bytes memory data = abi.encodeWithSelector(selector, requestId);
        assembly ("memory-safe") {
            succeeded := call(gasLimit, target, 0, add(data, 32), mload(data), 0, 0)
        }
    }
}
