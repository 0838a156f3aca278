// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice The cheat codes of halmos that our proofs use: values that may be anything.
interface Svm {
    function enableSymbolicStorage(address account) external;
    function createUint256(string calldata name) external returns (uint256);
    function createUint(uint256 bits, string calldata name) external returns (uint256);
    function createBytes32(string calldata name) external returns (bytes32);
    function createBytes(uint256 length, string calldata name) external returns (bytes memory);
    function createAddress(string calldata name) external returns (address);
    function createBool(string calldata name) external returns (bool);
}
