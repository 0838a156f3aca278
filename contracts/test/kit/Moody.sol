// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

/// @notice Reads the response when called back, and reverts or burns its gas if told to.
contract Moody {
    uint8 public mood;
    bytes32 public heard;

    function setMood(uint8 newMood) external {
        mood = newMood % 3;
    }

    function good(bytes32 requestId) external {
        _hear("good", requestId);
    }

    function bad(bytes32 requestId) external {
        _hear("bad", requestId);
    }

    function _hear(string memory how, bytes32 requestId) private {
        (IDtnAi.ResponseStatus status, string memory message, bytes memory response) =
            IDtnAi(msg.sender).fetchResponse(requestId);
        if (mood == 1) revert("no");
        if (mood == 2) while (true) heard = keccak256(abi.encode(heard));
        heard = keccak256(abi.encode(heard, how, requestId, status, message, response));
    }
}
