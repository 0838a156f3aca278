// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../interfaces/IDtnNodes.sol";

/// @title TermsCodec
/// @notice The bytes of a request's terms, as words of 32 bytes, each from its high bytes on:
///
///     word 0   sessionId 32
///     word 1   content 32
///     word 2   user 20 │ callbackWei 12
///     word 3   callback.target 20 │ requestFee 12
///     word 4   feePerByteRes 12 │ totalFeePerRes 12 │ callback.successSelector 4 │ callback.failureSelector 4
///     word 5   zero 8 │ deadline 8 │ slot 4 │ serial 4 │ callbackGas 4 │ redundancy 1 │ quorum 1 │ aggregationType 1 │
///              keepResponse 1
///     word 6…  trusted, 32 each
///
/// @dev Packed because they are logged once and sent back once: ABI-encoded, three quarters of them would be zeros.
/// Every value has one encoding, so that the hash of the bytes is the hash of the terms.
library TermsCodec {
    uint256 private constant FIXED_WORDS = 6;

    function encode(IDtnAiEvents.Terms memory terms) internal pure returns (bytes memory) {
        return abi.encodePacked(
            terms.sessionId,
            terms.content,
            (uint256(uint160(terms.user)) << 96) | terms.callbackWei,
            (uint256(uint160(terms.callback.target)) << 96) | terms.requestFee,
            (uint256(terms.feePerByteRes) << 160) | (uint256(terms.totalFeePerRes) << 64)
                | (uint256(uint32(terms.callback.successSelector)) << 32) | uint32(terms.callback.failureSelector),
            _numbers(terms),
            terms.trusted
        );
    }

    /// @dev Only bytes whose hash is known mean anything, so that nothing but their length is checked.
    function decode(bytes calldata encoded) internal pure returns (IDtnAiEvents.Terms memory terms) {
        if (encoded.length < 32 * FIXED_WORDS) revert IDtnNodes.DtnAi_TermsTooShort(encoded.length);
        terms.sessionId = _word(encoded, 0);
        terms.content = bytes32(_word(encoded, 1));
        uint256 word = _word(encoded, 2);
        terms.user = address(uint160(word >> 96));
        terms.callbackWei = uint96(word);
        word = _word(encoded, 3);
        terms.callback.target = address(uint160(word >> 96));
        terms.requestFee = uint96(word);
        word = _word(encoded, 4);
        terms.feePerByteRes = uint96(word >> 160);
        terms.totalFeePerRes = uint96(word >> 64);
        terms.callback.successSelector = bytes4(uint32(word >> 32));
        terms.callback.failureSelector = bytes4(uint32(word));
        word = _word(encoded, 5);
        terms.deadline = uint64(word >> 128);
        terms.slot = uint32(word >> 96);
        terms.serial = uint32(word >> 64);
        terms.callbackGas = uint32(word >> 32);
        terms.redundancy = uint8(word >> 24);
        terms.quorum = uint8(word >> 16);
        terms.aggregationType = IDtnAi.AggregationType(uint8(word >> 8));
        terms.keepResponse = uint8(word) != 0;
        terms.trusted = new bytes32[](encoded.length / 32 - FIXED_WORDS);
        for (uint256 i = 0; i < terms.trusted.length; i++) {
            terms.trusted[i] = bytes32(_word(encoded, FIXED_WORDS + i));
        }
    }

    function _numbers(IDtnAiEvents.Terms memory terms) private pure returns (uint256) {
        return (uint256(terms.deadline) << 128) | (uint256(terms.slot) << 96) | (uint256(terms.serial) << 64)
            | (uint256(terms.callbackGas) << 32) | (uint256(terms.redundancy) << 24) | (uint256(terms.quorum) << 16)
            | (uint256(terms.aggregationType) << 8) | (terms.keepResponse ? 1 : 0);
    }

    /// @dev Word `i`, which must lie within `encoded`.
    function _word(bytes calldata encoded, uint256 i) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(encoded.offset, mul(i, 32)))
        }
    }
}
