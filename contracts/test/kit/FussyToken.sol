// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {TokenMock} from "./Tokens.sol";

/// @notice A fee token that can refuse people, and that tells one of them when it is paid, as ERC-777 does.
contract FussyToken is TokenMock {
    mapping(address => bool) public blocked;
    address private told;

    error Refused();

    constructor(uint8 decimals_) TokenMock(decimals_) {}

    function setBlocked(address account, bool isBlocked) external {
        blocked[account] = isBlocked;
    }

    function tell(address account) external {
        told = account;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (blocked[from] || blocked[to]) revert Refused();
        super._update(from, to, amount);
        if (to == told && from != address(0)) ITold(told).onTokens(amount);
    }
}

interface ITold {
    function onTokens(uint256 amount) external;
}
