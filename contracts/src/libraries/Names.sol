// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Names
/// @notice Which names can be registered: 1 to 32 characters of a-z, 0-9 and the hyphen.
/// @dev No capitals, no look-alikes, and no dot, which joins a namespace's name to a node's.
library Names {
    uint256 private constant LENGTH_MAX = 32;

    function isValid(string memory name) internal pure returns (bool) {
        bytes memory chars = bytes(name);
        if (chars.length == 0 || chars.length > LENGTH_MAX) return false;
        for (uint256 i = 0; i < chars.length; i++) {
            bytes1 char = chars[i];
            bool allowed = (char >= "a" && char <= "z") || (char >= "0" && char <= "9") || char == "-";
            if (!allowed) return false;
        }
        return true;
    }
}
