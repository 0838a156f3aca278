// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice A token in any state: any balances, any allowances, anybody refused.
contract AnyToken {
    uint8 public constant decimals = 6;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => bool) public refused;

    error Refused();

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        allowance[from][msg.sender] -= amount;
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (refused[to]) revert Refused();
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}
