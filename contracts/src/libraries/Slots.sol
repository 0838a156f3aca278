// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

/// @title Slots
/// @notice The one storage word of a request, from the high bits down:
///
///     pending   tag 8 │ digest of the terms 248
///     settled   tag 8 │ next free slot 32 │ several nodes 8 │ unused 48 │ low 160 bits of the id
///     kept      tag 8 │ code that holds the response 160 │ low 88 bits of the id
///
/// and of its id: session number 64 │ slot 32 │ low 160 bits of the digest of the terms.
/// @dev A settled slot is reused by the session's next request; a kept one never. The tag's low four bits are the
/// status. 248 bits of digest cannot be made to collide; the bits of an id in a settled or kept word only tell
/// the slot's last request from earlier ones of the same session. A kept word has not all of them: the code it names
/// has (see {ResponseStore}).
library Slots {
    uint256 private constant PENDING = 0x10;
    uint256 private constant SETTLED = 0x20;
    uint256 private constant KEPT = 0x30;

    function requestIdOf(uint256 sessionId, uint32 slot, uint256 digest) internal pure returns (bytes32) {
        return bytes32((uint256(uint64(sessionId)) << 192) | (uint256(slot) << 160) | uint160(digest));
    }

    /// @dev Where a request's word lies: its session's number and its slot.
    function keyOf(bytes32 requestId) internal pure returns (uint256) {
        return uint256(requestId) >> 160;
    }

    function pending(uint256 digest) internal pure returns (uint256) {
        return (PENDING << 248) | uint248(digest);
    }

    function settled(IDtnAi.ResponseStatus status, uint32 next, bool several, bytes32 requestId)
        internal
        pure
        returns (uint256)
    {
        return ((SETTLED | uint256(status)) << 248) | (uint256(next) << 216) | (several ? 1 << 208 : 0)
            | uint160(uint256(requestId));
    }

    function kept(IDtnAi.ResponseStatus status, address code, bytes32 requestId) internal pure returns (uint256) {
        return ((KEPT | uint256(status)) << 248) | (uint256(uint160(code)) << 88) | uint88(uint256(requestId));
    }

    function isKept(uint256 word) internal pure returns (bool) {
        return (word >> 248) & 0xf0 == KEPT;
    }

    /// @dev Whether the word is that of this request, and not of an earlier or later one in the same slot.
    function isOf(uint256 word, bytes32 requestId) internal pure returns (bool) {
        if (isKept(word)) return uint88(word) == uint88(uint256(requestId));
        return word != 0 && uint160(word) == uint160(uint256(requestId));
    }

    function statusOf(uint256 word) internal pure returns (IDtnAi.ResponseStatus) {
        return IDtnAi.ResponseStatus((word >> 248) & 0x0f);
    }

    /// @dev The next free slot, of a settled word.
    function nextOf(uint256 word) internal pure returns (uint32) {
        return uint32(word >> 216);
    }

    /// @dev Whether several nodes had to answer, of a settled word.
    function severalOf(uint256 word) internal pure returns (bool) {
        return (word >> 208) & 1 == 1;
    }

    /// @dev The code that holds the response, of a kept word.
    function codeOf(uint256 word) internal pure returns (address) {
        return address(uint160(word >> 88));
    }
}
