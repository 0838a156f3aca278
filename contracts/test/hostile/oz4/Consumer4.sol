// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {WithDtnAiUpgradeable} from "@deeptrust/contracts/with-dtn-ai-upgradeable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

/// @notice What `UpgradeableTest` has as `Consumer5`, with the imports of this folder: OpenZeppelin 4.9.
contract Consumer4 is OwnableUpgradeable, WithDtnAiUpgradeable {
    bytes32 public heard;

    function initialize(address newAi) external initializer {
        __Ownable_init();
        __WithDtnAi_init(newAi);
    }

    function onAnswer(bytes32 requestId) external onlyDtn {
        heard = requestId;
    }
}

contract Proxy4 is ERC1967Proxy {
    constructor(address implementation, bytes memory data) ERC1967Proxy(implementation, data) {}
}
