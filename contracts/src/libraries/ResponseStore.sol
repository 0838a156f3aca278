// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

/// @title ResponseStore
/// @notice Where responses can be read: in transient storage to the end of the transaction, as contract code for ever.
/// @dev Both hold the message, then the response. A byte costs 3 gas in transient storage, 200 as code, 690 in slots.
library ResponseStore {
    /// keccak256("dtn.ai.response"): where the last response of this transaction starts. Its id, its status and
    /// lengths, then its bytes, each of message and response from a word of its own.
    uint256 private constant BASE = 0xf77b71e2ad9b4a1aa8f10edfc6967bf2e4949af512adf529e6fc036727426d98;

    /// @dev What `fetchResponse(requestId)` answers from now to the end of the transaction.
    function put(bytes32 requestId, IDtnAi.ResponseStatus status, string memory message, bytes memory response)
        internal
    {
        uint256 lengths = (uint256(status) << 64) | (bytes(message).length << 32) | response.length;
        uint256 next;
        assembly ("memory-safe") {
            tstore(BASE, requestId)
            tstore(add(BASE, 1), lengths)
            next := add(BASE, 2)
        }
        next = _put(bytes(message), next);
        _put(response, next);
    }

    /// @dev The response of this transaction, if it is that of `requestId`.
    function get(bytes32 requestId)
        internal
        view
        returns (bool found, IDtnAi.ResponseStatus status, string memory message, bytes memory response)
    {
        uint256 lengths;
        uint256 next;
        assembly ("memory-safe") {
            lengths := tload(add(BASE, 1))
            // Nothing has been put where the status is zero; then what lies there would be the response of id zero.
            found := and(eq(tload(BASE), requestId), gt(lengths, 0))
            next := add(BASE, 2)
        }
        if (!found) return (false, status, message, response);
        status = IDtnAi.ResponseStatus(lengths >> 64);
        message = string(_get(next, uint32(lengths >> 32)));
        response = _get(next + (bytes(message).length + 31) / 32, uint32(lengths));
    }

    /// @dev Keeps message and response as the code of a new contract, behind a STOP so that it cannot be run. Before
    /// them stand the message's length and the bits of the id that do not say where its slot is: the slot, which has
    /// room for few of them, would answer to many ids.
    function keep(bytes32 requestId, string memory message, bytes memory response) internal returns (address code) {
        bytes memory data =
            abi.encodePacked(uint32(bytes(message).length), uint160(uint256(requestId)), message, response);
        // PUSH2 size, DUP1, PUSH1 10, RETURNDATASIZE, CODECOPY, RETURNDATASIZE, RETURN: returns what follows it.
        bytes memory init = abi.encodePacked(hex"61", uint16(data.length + 1), hex"80600a3d393df3", hex"00", data);
        assembly ("memory-safe") {
            code := create(0, add(init, 32), mload(init))
            // Nothing but a lack of gas makes it fail; then the answer fails with it, and can be sent again.
            if iszero(code) { revert(0, 0) }
        }
    }

    /// @dev What was kept at `code`, if it was kept for `requestId`.
    function read(address code, bytes32 requestId)
        internal
        view
        returns (bool found, string memory message, bytes memory response)
    {
        uint256 header;
        assembly ("memory-safe") {
            extcodecopy(code, 8, 1, 24)
            header := and(mload(0), 0xffffffffffffffffffffffffffffffffffffffffffffffff)
        }
        uint256 messageLength = header >> 160;
        found = uint160(header) == uint160(uint256(requestId));
        message = string(_code(code, 25, messageLength));
        response = _code(code, 25 + messageLength, code.code.length - 25 - messageLength);
    }

    function _put(bytes memory data, uint256 next) private returns (uint256) {
        assembly ("memory-safe") {
            let from := add(data, 32)
            for { let end := add(from, mload(data)) } lt(from, end) { from := add(from, 32) } {
                tstore(next, mload(from))
                next := add(next, 1)
            }
        }
        return next;
    }

    function _get(uint256 next, uint256 length) private view returns (bytes memory data) {
        data = new bytes(length);
        assembly ("memory-safe") {
            let to := add(data, 32)
            for { let end := add(to, length) } lt(to, end) { to := add(to, 32) } {
                mstore(to, tload(next))
                next := add(next, 1)
            }
            // What follows the bytes in the last word was whatever followed them in memory: make it zero.
            if and(length, 31) { mstore(add(add(data, 32), length), 0) }
        }
    }

    function _code(address code, uint256 offset, uint256 length) private view returns (bytes memory data) {
        data = new bytes(length);
        assembly ("memory-safe") {
            extcodecopy(code, add(data, 32), offset, length)
        }
    }
}
