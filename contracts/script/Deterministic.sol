// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ScriptVm} from "./ScriptVm.sol";

/// @notice Deployment by the deterministic deployment proxy: an address depends on the code and on what the constructor is
/// given, and on nothing else. Salt zero, as `prepaid.chain.deploying` has it; both find what the other has deployed.
abstract contract Deterministic {
    ScriptVm internal constant vm = ScriptVm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// At this address on every chain that has it.
    address internal constant PROXY = 0x4e59b44847b379578588920cA78FbF26c0B4956C;
    bytes32 internal constant SALT = 0;

    /// @notice This chain has no deterministic deployment proxy. Deploy it first; its transaction is signed already:
    /// https://github.com/Arachnid/deterministic-deployment-proxy
    error NoProxy(address proxy, uint256 chainId);

    /// @notice The constructor refuses these arguments; its own error follows.
    error ConstructorReverted(string name, bytes reason);

    /// @notice What is at `target` is not what this code makes of these arguments. Do not use it.
    error CodeDiffers(string name, address target, bytes32 expected, bytes32 found);

    /// @notice Nothing is at `target` yet. Deploy first.
    error NotDeployed(string name, address target);

    /// @dev Where `code`, with the constructor's arguments behind it, comes to lie.
    function predict(bytes memory code) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", PROXY, SALT, keccak256(code))))));
    }

    /// @dev Deploys, unless it is there already; either way what is there is what it has to be.
    function deployOnce(string memory name, bytes memory code) internal returns (address target) {
        if (PROXY.code.length == 0) revert NoProxy(PROXY, block.chainid);
        target = predict(code);
        bytes32 expected = _expected(name, target, code);
        if (target.code.length == 0) {
            vm.startBroadcast();
            _create(name, code);
            vm.stopBroadcast();
        }
        _requireCode(name, target, expected);
    }

    /// @dev Reverts unless it has been deployed, and is what it has to be.
    function requireDeployed(string memory name, bytes memory code) internal returns (address target) {
        if (PROXY.code.length == 0) revert NoProxy(PROXY, block.chainid);
        target = predict(code);
        if (target.code.length == 0) revert NotDeployed(name, target);
        _requireCode(name, target, _expected(name, target, code));
    }

    /// @dev The hash of the code that creating it leaves, found by creating it where nothing is and undoing that. The
    /// arguments alone do not tell: constructors write into the code what they read of the chain.
    function _expected(string memory name, address target, bytes memory code) private returns (bytes32 codeHash) {
        uint256 before = vm.snapshotState();
        _clear(target);
        // Both contracts create one other, their first.
        _clear(vm.computeCreateAddress(target, 1));
        _create(name, code);
        codeHash = target.codehash;
        vm.revertToState(before);
    }

    function _clear(address target) private {
        if (target.code.length == 0) return;
        vm.etch(target, "");
        vm.resetNonce(target);
    }

    function _create(string memory name, bytes memory code) private {
        (bool created, bytes memory reason) = PROXY.call(abi.encodePacked(SALT, code));
        if (created) return;
        // The proxy passes no reasons on: ask the constructor itself.
        assembly ("memory-safe") {
            if iszero(create(0, add(code, 32), mload(code))) {
                reason := mload(0x40)
                mstore(0x40, add(add(reason, 32), returndatasize()))
                mstore(reason, returndatasize())
                returndatacopy(add(reason, 32), 0, returndatasize())
            }
        }
        revert ConstructorReverted(name, reason);
    }

    function _requireCode(string memory name, address target, bytes32 expected) private view {
        if (target.codehash != expected) revert CodeDiffers(name, target, expected, target.codehash);
    }
}
