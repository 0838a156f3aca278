// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {SessionManager} from "../../src/session-manager/SessionManager.sol";
import {Fixture} from "./Fixture.sol";
import {TargetMock} from "./Targets.sol";
import {Vm} from "./Vm.sol";

/// @notice A session manager on a real AI contract, and users with money: ann owns, bob takes, thief tries.
abstract contract ManagerFixture is Fixture {
    uint256 internal constant MIN = 10 * USD;
    uint256 internal constant AGE = 1 days;
    uint256 internal constant LEASE = 1 hours;
    uint256 internal constant FUNDS = 1_000 * USD;

    SessionManager internal manager;
    TargetMock internal target;
    Person internal ann;
    Person internal bob;

    function setUp() public virtual override {
        super.setUp();
        vm.warp(1_800_000_000);
        (ann, bob) = (person("ann"), person("bob"));
        manager = new SessionManager(address(ai), admin.addr, settings());
        target = new TargetMock(manager);
        address[3] memory users = [ann.addr, bob.addr, thief.addr];
        for (uint256 i = 0; i < users.length; i++) {
            token.mint(users[i], FUNDS);
            vm.prank(users[i]);
            token.approve(address(manager), type(uint256).max);
            vm.deal(users[i], 10 ether);
        }
    }

    function settings() internal pure returns (ISessionManager.Config memory) {
        return ISessionManager.Config({
            minSessionBalance: uint96(MIN),
            maxSessionAgeSeconds: uint40(AGE),
            sessionPoolSize: 3,
            leaseSeconds: uint40(LEASE)
        });
    }

    // ─────────────────────────────────────────── asking ──────────────────────────────────────────────

    function create(Person memory user, uint256 balance) internal returns (uint256 sessionId) {
        vm.prank(user.addr);
        return manager.createSession(balance);
    }

    /// @dev A question that holds `holdOf("hello")` and tells `target` of its outcome.
    function hello() internal view returns (IDtnAi.BatchRequest memory asked) {
        asked.modelId = modelId();
        asked.routing = routing(IDtnAi.AggregationType.ANY, 1);
        asked.request = question("hello");
        asked.callback = IDtnAi.CallBack(TargetMock.good.selector, TargetMock.bad.selector, address(target));
        asked.callbackGas = 150_000;
    }

    function helloHold() internal pure returns (uint256) {
        return holdOf("hello");
    }

    /// @dev What a response of `length` bytes to `hello` costs.
    function helloCost(uint256 length) internal pure returns (uint256) {
        uint256 response = length * FEE_RES;
        return 5 * FEE_REQ + (response < FEE_RES_MAX ? response : FEE_RES_MAX);
    }

    /// @dev Asks as `user`; the terms are for `respond`, from the AI contract's event.
    function askOf(Person memory user, uint256 sessionId) internal returns (bytes32 requestId, bytes memory terms) {
        return askOf(user, sessionId, hello());
    }

    function askOf(Person memory user, uint256 sessionId, IDtnAi.BatchRequest memory asked)
        internal
        returns (bytes32 requestId, bytes memory terms)
    {
        vm.recordLogs();
        vm.prank(user.addr);
        requestId = manager.makeAIRequest{value: asked.callbackWei}(sessionId, asked);
        return (requestId, publishedTerms());
    }

    function answer(bytes memory terms, bytes memory response) internal {
        respond(terms, success(response));
    }

    function getOrCreate(Person memory user) internal returns (uint256 sessionId) {
        vm.prank(user.addr);
        return manager.getOrCreateSession();
    }

    // ─────────────────────────────────────────── looking ─────────────────────────────────────────────

    function free(uint256 sessionId) internal view returns (uint256 available) {
        (, available,,) = ai.sessionOf(sessionId);
    }

    function inFlight(uint256 sessionId) internal view returns (uint256 held) {
        (,, held,) = ai.sessionOf(sessionId);
    }

    function assertState(uint256 sessionId, ISessionManager.SessionState state) internal view {
        vm.assertEq(uint256(manager.stateOf(sessionId)), uint256(state));
    }

    function poolCounts() internal view returns (uint256 pooled, uint256 leased) {
        (pooled, leased,) = manager.getPoolStatus();
    }

    function share(Person memory user, uint256 sessionId, uint256 takerCap, uint256 budget) internal {
        vm.prank(user.addr);
        manager.addToPool(sessionId, uint96(takerCap), uint96(budget));
    }

    function take(Person memory user) internal returns (uint256 sessionId) {
        vm.prank(user.addr);
        return manager.getFromPool();
    }

    /// @dev Checks that `emitter` logged this since `recordLogs`; for ids that are not known before the call.
    /// @param topics ABI-encoded words.
    function assertLogged(address emitter, bytes memory topics, bytes memory data) internal {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            bool same = keccak256(abi.encodePacked(logs[i].topics)) == keccak256(topics);
            if (same && logs[i].emitter == emitter && keccak256(logs[i].data) == keccak256(data)) return;
        }
        revert("no such event");
    }

    /// @dev Of every test that moves money: nothing rests in the manager, no ETH in purses.
    modifier restsNowhere() {
        _;
        vm.assertEq(token.balanceOf(address(manager)), 0, "tokens in the manager");
        vm.assertEq(address(manager).balance, 0, "ETH in the manager");
        vm.assertEq(manager.purseOf(ann.addr).balance + manager.purseOf(bob.addr).balance, 0, "ETH in a purse");
    }
}
