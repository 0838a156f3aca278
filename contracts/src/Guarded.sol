// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";

/// @title Guarded
/// @notice One lock over everything that changes state, in transient storage.
/// @dev While tokens or ETH move, nothing can be entered: the balances are being judged. While a callback runs, its
/// effects are all written, and it may start, fund, ask, close and claim, so that an answer can lead to the next
/// question; but it may not settle other requests, whose responses would take the place of the one being delivered.
abstract contract Guarded {
    uint8 private constant OPEN = 0;
    uint8 private constant BUSY = 1;
    uint8 private constant CALLING_BACK = 2;

    uint8 private transient _lock;

    /// @dev For what callbacks may enter.
    modifier guarded() {
        uint8 before = _lock;
        if (before == BUSY) revert IDtnAiEvents.DtnAi_Reentered();
        _lock = BUSY;
        _;
        _lock = before;
    }

    /// @dev For what settles requests.
    modifier guardedFromCallbacks() {
        if (_lock != OPEN) revert IDtnAiEvents.DtnAi_Reentered();
        _lock = BUSY;
        _;
        _lock = OPEN;
    }

    /// @dev Around the call of a callback.
    modifier callingBack() {
        _lock = CALLING_BACK;
        _;
        _lock = BUSY;
    }
}
