// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";

import {IDtnNodes} from "../src/interfaces/IDtnNodes.sol";
import {Deterministic} from "./Deterministic.sol";

/// @notice Deploys the AI contract and a session manager; again, it finds them. README.md has the commands.
/// @dev From the environment: FEE_TOKEN; ADMINISTRATOR, who registers system nodes and models; MIN_SESSION_BALANCE in base
/// units; and unless their defaults will do, MANAGER_ADMINISTRATOR (ADMINISTRATOR), MAX_SESSION_AGE_SECONDS (a day),
/// SESSION_POOL_SIZE (5), LEASE_SECONDS (an hour). Any other value of these is another address.
contract Deploy is Deterministic {
    bool public IS_SCRIPT = true;
    uint8 private constant DECIMALS_MAX = 18;

    /// @notice FEE_TOKEN is no token that sessions can be paid in: nothing is there, or its amounts do not fit.
    error TokenNotSupported(address token, uint256 codeBytes, uint256 decimals);

    /// @notice A value of the environment is beyond what the contract can hold.
    error OutOfRange(string name, uint256 value, uint256 max);

    struct Deployment {
        address token;
        address administrator;
        address ai;
        address sessionManager;
    }

    /// @notice Deploys what is not there, checks all of it, and writes the addresses to `deployments/CHAIN.json`.
    function run() external returns (Deployment memory made) {
        made = _asked();
        made.ai = deployOnce("DtnAi", _aiCode(made));
        made.sessionManager = deployOnce("SessionManager", _managerCode(made.ai, made.administrator));
        _check(made);
        _write(made);
    }

    /// @notice Reverts unless both are there and are what they have to be. Sends nothing.
    function verify() external returns (Deployment memory found) {
        found = _asked();
        found.ai = requireDeployed("DtnAi", _aiCode(found));
        found.sessionManager = requireDeployed("SessionManager", _managerCode(found.ai, found.administrator));
        _check(found);
    }

    /// @notice Where they are or will be. Sends nothing.
    function addresses() external view returns (Deployment memory made) {
        made = _asked();
        made.ai = predict(_aiCode(made));
        made.sessionManager = predict(_managerCode(made.ai, made.administrator));
    }

    function _asked() private view returns (Deployment memory asked) {
        asked.token = vm.envAddress("FEE_TOKEN");
        asked.administrator = vm.envAddress("ADMINISTRATOR");
        uint256 decimals = asked.token.code.length == 0 ? 0 : IERC20Metadata(asked.token).decimals();
        if (asked.token.code.length == 0 || decimals > DECIMALS_MAX) {
            revert TokenNotSupported(asked.token, asked.token.code.length, decimals);
        }
    }

    function _aiCode(Deployment memory made) private view returns (bytes memory) {
        return abi.encodePacked(vm.getCode("DtnAi.sol:DtnAi"), abi.encode(made.token, made.administrator));
    }

    function _managerCode(address ai, address administrator) private view returns (bytes memory) {
        ISessionManager.Config memory config = ISessionManager.Config({
            minSessionBalance: uint96(_within("MIN_SESSION_BALANCE", vm.envUint("MIN_SESSION_BALANCE"), type(uint96).max)),
            maxSessionAgeSeconds: uint40(_setting("MAX_SESSION_AGE_SECONDS", 1 days, type(uint40).max)),
            sessionPoolSize: uint32(_setting("SESSION_POOL_SIZE", 5, type(uint32).max)),
            leaseSeconds: uint40(_setting("LEASE_SECONDS", 1 hours, type(uint40).max))
        });
        address owner = vm.envOr("MANAGER_ADMINISTRATOR", administrator);
        return abi.encodePacked(
            vm.getCode("SessionManager.sol:SessionManager"), abi.encode(ai, owner, config)
        );
    }

    /// @dev The code is right; so must be what it was told.
    function _check(Deployment memory made) private view {
        assert(IDtnAi(made.ai).feeToken() == made.token);
        assert(address(ISessionManager(made.sessionManager).ai()) == made.ai);
        assert(IDtnNodes(made.ai).administrator() != address(0));
    }

    function _write(Deployment memory made) private {
        vm.serializeUint("made", "chainId", block.chainid);
        vm.serializeAddress("made", "feeToken", made.token);
        vm.serializeAddress("made", "dtnAi", made.ai);
        string memory json = vm.serializeAddress("made", "sessionManager", made.sessionManager);
        vm.createDir("deployments", true);
        vm.writeJson(json, string.concat("deployments/", vm.toString(block.chainid), ".json"));
    }

    function _setting(string memory name, uint256 otherwise, uint256 max) private view returns (uint256) {
        return _within(name, vm.envOr(name, otherwise), max);
    }

    function _within(string memory name, uint256 value, uint256 max) private pure returns (uint256) {
        if (value > max) revert OutOfRange(name, value, max);
        return value;
    }
}
