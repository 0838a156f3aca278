// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi, IDtnAiModels} from "./idtn-ai.sol";

/// @title WithDtnAi
/// @notice A contract that asks the AI contract and is called back by it.
/// @dev Call `setAi` in the constructor; guard callbacks with `onlyDtn`, and read its warning. For proxies:
/// `WithDtnAiUpgradeable`.
abstract contract WithDtnAi {
    /// @notice The AI contract: who is asked, and who alone may call back.
    IDtnAi public ai;

    /// @notice `caller` is not the AI contract `ai`.
    error WithDtnAi_OnlyDtn(address caller, address ai);

    /// @notice `ai` is no contract: a call to it would do nothing and seem to succeed.
    error WithDtnAi_NotAContract(address ai);

    /// @dev Refuses everybody but the AI contract.
    ///
    /// WARNING: it says who calls, not who asked. Whoever pays for a request may name your contract as the callback's
    /// target, and the nodes that answer; then a stranger's text arrives through `onlyDtn`. Check that the id is of a
    /// request of yours, and that it is used once:
    ///
    ///     mapping(bytes32 => bool) private asked;
    ///     asked[ai.request(...)] = true;                  // where you ask
    ///     require(asked[requestId]); delete asked[requestId];    // first in each callback
    modifier onlyDtn() {
        if (msg.sender != address(ai)) revert WithDtnAi_OnlyDtn(msg.sender, address(ai));
        _;
    }

    /// @dev Sets the AI contract. Whoever can reach this decides who may call back: keep it to the constructor or an
    /// administrator.
    // slither-disable-next-line dead-code: it is for those who inherit
    function setAi(address newAi) internal {
        if (newAi.code.length == 0) revert WithDtnAi_NotAContract(newAi);
        ai = IDtnAi(newAi);
    }
}
