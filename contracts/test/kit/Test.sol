// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Vm} from "./Vm.sol";

/// @notice What every test contract has: the cheat codes, and people with names.
abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    struct Person {
        address addr;
        uint256 key;
    }

    /// @dev forge looks for this to know a test contract.
    bool public IS_TEST = true;

    /// @dev The same name is always the same person.
    function person(string memory name) internal returns (Person memory made) {
        made.key = uint256(keccak256(bytes(name)));
        made.addr = vm.addr(made.key);
        vm.label(made.addr, name);
    }

    function sign(Person memory signer, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(signer.key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev Deploys a contract by its artefact; reverts with its constructor's error.
    function deploy(string memory artifact, bytes memory arguments) internal returns (address deployed) {
        bytes memory code = abi.encodePacked(vm.getCode(artifact), arguments);
        assembly ("memory-safe") {
            deployed := create(0, add(code, 32), mload(code))
            if iszero(deployed) {
                returndatacopy(code, 0, returndatasize())
                revert(code, returndatasize())
            }
        }
    }

    /// @dev `value`, folded into `min` to `max`.
    function bound(uint256 value, uint256 min, uint256 max) internal pure returns (uint256) {
        if (value >= min && value <= max) return value;
        uint256 size = max - min + 1;
        return size == 0 ? value : min + value % size;
    }
}
