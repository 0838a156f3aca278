// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

/// @notice A user's contract: reads the response when it is told, or does something hostile instead.
contract TargetMock {
    enum Mood {
        READ,
        REVERT,
        BURN,
        RETURN_MEGABYTES,
        CLOSE
    }

    ISessionManager public immutable manager;
    Mood public mood;
    uint256 public sessionId;
    uint256 public goodCalls;
    uint256 public badCalls;
    bytes32 public requestId;
    IDtnAi.ResponseStatus public status;
    string public message;
    bytes public response;

    error NotTheManager();

    constructor(ISessionManager manager_) {
        manager = manager_;
    }

    function setMood(Mood newMood, uint256 newSessionId) external {
        (mood, sessionId) = (newMood, newSessionId);
    }

    function good(bytes32 id) external {
        goodCalls++;
        _hear(id);
    }

    function bad(bytes32 id) external {
        badCalls++;
        _hear(id);
    }

    function execute(address callee, bytes calldata data) external payable returns (bytes memory result) {
        bool done;
        (done, result) = callee.call{value: msg.value}(data);
        if (!done) {
            assembly {
                revert(add(result, 32), mload(result))
            }
        }
    }

    function _hear(bytes32 id) private {
        if (msg.sender != address(manager)) revert NotTheManager();
        requestId = id;
        if (mood == Mood.REVERT) revert("no");
        if (mood == Mood.BURN) while (true) goodCalls++;
        if (mood == Mood.RETURN_MEGABYTES) {
            assembly {
                return(0, 400000)
            }
        }
        if (mood == Mood.CLOSE) manager.closeSession(sessionId);
        (status, message, response) = manager.ai().fetchResponse(id);
    }
}

/// @notice Counts its calls and the gas they had, and does nothing else.
contract Ringing {
    uint256 public rings;
    uint256 public gasLeft;

    function ring(bytes32) external {
        gasLeft = gasleft();
        rings++;
    }
}
