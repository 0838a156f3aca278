// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {WithDtnAi} from "@deeptrust/contracts/with-dtn-ai.sol";

/// @notice Told of an outcome, stores one word; or does what it was told to do instead.
contract AskerMock is WithDtnAi {
    enum Mood {
        STORE,
        FETCH,
        REVERT,
        BURN
    }

    bytes32 public told;
    Mood public mood;
    IDtnAi.ResponseStatus public status;
    string public message;
    bytes public response;

    constructor(address newAi) {
        setAi(newAi);
        told = bytes32(uint256(1));
    }

    function setMood(Mood newMood) external {
        mood = newMood;
    }

    function onSuccess(bytes32 requestId) external onlyDtn {
        _tell(requestId);
    }

    function onFailure(bytes32 requestId) external onlyDtn {
        _tell(~requestId);
    }

    function _tell(bytes32 word) private {
        told = word;
        if (mood == Mood.REVERT) revert("no");
        if (mood == Mood.BURN) while (true) told = bytes32(uint256(told) + 1);
        if (mood == Mood.FETCH) {
            (status, message, response) = ai.fetchResponse(uint256(word) >> 255 == 0 ? word : ~word);
        }
    }
}

/// @notice Stores one word, and looks at nothing: what a callback costs at least.
contract WordAsker {
    bytes32 public told = bytes32(uint256(1));

    function onSuccess(bytes32 requestId) external {
        told = requestId;
    }

    function onFailure(bytes32 requestId) external {
        told = requestId;
    }
}

/// @notice A wallet that is a contract: signs by its owner's signature (ERC-1271).
contract WalletMock {
    address public immutable signer;

    constructor(address signer_) {
        signer = signer_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 s, uint8 v) = (bytes32(signature[:32]), bytes32(signature[32:64]), uint8(signature[64]));
        return ecrecover(digest, v, r, s) == signer ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    function execute(address target, bytes calldata data) external payable returns (bytes memory result) {
        bool done;
        (done, result) = target.call{value: msg.value}(data);
        if (!done) {
            assembly {
                revert(add(result, 32), mload(result))
            }
        }
    }

    receive() external payable {}
}
