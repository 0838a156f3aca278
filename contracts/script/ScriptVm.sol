// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice The cheat codes the deployment uses.
interface ScriptVm {
    function envAddress(string calldata name) external view returns (address);
    function envUint(string calldata name) external view returns (uint256);
    function envOr(string calldata name, uint256 otherwise) external view returns (uint256);
    function envOr(string calldata name, address otherwise) external view returns (address);
    function getCode(string calldata artifact) external view returns (bytes memory);
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function startBroadcast() external;
    function stopBroadcast() external;
    function snapshotState() external returns (uint256 id);
    function revertToState(uint256 id) external returns (bool);
    function etch(address account, bytes calldata code) external;
    function resetNonce(address account) external;
    function toString(uint256 value) external pure returns (string memory);
    function toString(address value) external pure returns (string memory);
    function createDir(string calldata path, bool recursive) external;
    function serializeAddress(string calldata json, string calldata key, address value)
        external
        returns (string memory);
    function serializeUint(string calldata json, string calldata key, uint256 value) external returns (string memory);
    function writeJson(string calldata json, string calldata path) external;
}
