// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {TokenMock} from "./Tokens.sol";

/// @notice The fee token of the fixtures, once it has learnt to refuse people: its code takes the place of theirs.
contract BlockableToken is TokenMock(6) {
    mapping(address => bool) public blocked;

    error Refused();

    function setBlocked(address account, bool isBlocked) external {
        blocked[account] = isBlocked;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (blocked[from] || blocked[to]) revert Refused();
        super._update(from, to, amount);
    }
}
