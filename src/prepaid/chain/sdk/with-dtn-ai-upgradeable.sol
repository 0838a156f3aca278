// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {IDtnAi, IDtnAiModels} from "./idtn-ai.sol";

/// @title WithDtnAiUpgradeable
/// @notice `WithDtnAi` for contracts behind a proxy.
/// @dev Call `__WithDtnAi_init` in the initializer; guard callbacks with `onlyDtn`, and read its warning. Its state
/// lies in a namespaced slot (ERC-7201), so later versions can add to it without moving the inheriting contract's own.
abstract contract WithDtnAiUpgradeable is Initializable {
    /// @custom:storage-location erc7201:deeptrust.storage.WithDtnAi
    struct WithDtnAiStorage {
        IDtnAi ai;
    }

    // keccak256(abi.encode(uint256(keccak256("deeptrust.storage.WithDtnAi")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant WITH_DTN_AI_STORAGE = 0xfdbdfb1f45309f7771888e8bbf0f4443450a7b92fbe48e4711456395a6c51b00;

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
        if (msg.sender != address(ai())) revert WithDtnAi_OnlyDtn(msg.sender, address(ai()));
        _;
    }

    /// @notice The AI contract: who is asked, and who alone may call back.
    function ai() public view returns (IDtnAi) {
        return _withDtnAiStorage().ai;
    }

    /// @dev Call once, in the inheriting contract's initializer.
    // slither-disable-next-line dead-code: it is for those who inherit
    function __WithDtnAi_init(address newAi) internal onlyInitializing {
        setAi(newAi);
    }

    /// @dev Sets the AI contract. Whoever can reach this decides who may call back: keep it to an administrator.
    // slither-disable-next-line dead-code: it is for those who inherit
    function setAi(address newAi) internal {
        if (newAi.code.length == 0) revert WithDtnAi_NotAContract(newAi);
        _withDtnAiStorage().ai = IDtnAi(newAi);
    }

    function _withDtnAiStorage() private pure returns (WithDtnAiStorage storage $) {
        assembly ("memory-safe") {
            $.slot := WITH_DTN_AI_STORAGE
        }
    }
}
