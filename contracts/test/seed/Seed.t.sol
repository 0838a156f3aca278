// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {WithDtnAi} from "@deeptrust/contracts/with-dtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Fixture} from "../kit/Fixture.sol";
import {TokenMock} from "../kit/Tokens.sol";
import {AdvancedSessionManager} from "./generated/AdvancedSessionManager.sol";

/// @notice The contract of seed 000, as it stands in the document, with OpenZeppelin 4.9, on our AI contract (spec B15).
/// @dev The token has 18 decimals, which the contract takes for granted.
contract SeedTest is Fixture {
    uint256 private constant USDT = 1e18;

    AdvancedSessionManager private seed;

    function setUp() public override {
        super.setUp();
        token = new TokenMock(18);
        ai = deployAi(address(token), admin.addr);
        vm.startPrank(admin.addr);
        ai.setModel("gpt-3.5-turbo", IDtnNodes.Model(0.001e18, 0.001e18, 1e18, 3));
        for (uint256 i = 0; i < 7; i++) {
            ai.registerNode("system", string.concat("node-", vm.toString(i)), person(nodeName(i)).addr);
        }
        vm.stopPrank();
        seed = new AdvancedSessionManager(address(ai));
        fund(owner);
        fund(thief);
    }

    function test_CreateSession() external {
        create(50 * USDT);
        uint256 sessionId = seed.userSessions(owner.addr, 0);
        (address user, uint256 balance,, bool active,) = seed.getSessionStats(sessionId);
        vm.assertEq(user, owner.addr);
        vm.assertEq(balance, 50 * USDT);
        vm.assertTrue(active);
        vm.assertEq(free(sessionId), 50 * USDT);
        vm.assertEq(seed.getUserSessionCount(owner.addr), 1);
    }

    function test_RequestAndCallback() external {
        create(50 * USDT);
        uint256 sessionId = seed.userSessions(owner.addr, 0);
        uint256 etherBefore = owner.addr.balance;
        (bytes32 requestId, bytes memory terms) = makeRequest();
        vm.expectEmit(address(seed));
        emit AdvancedSessionManager.AIResponseReceived(requestId, IDtnAi.ResponseStatus.SUCCESS, "");
        respond(terms, success("Sunny."));
        uint256 callBytes = abi.encode(DtnDefaults.singleArray(string("What is the weather like?"))).length;
        vm.assertEq(free(sessionId), 50 * USDT - (callBytes + 6) * 0.001e18);
        vm.assertEq(owner.addr.balance, etherBefore, "the callback's ETH comes back");
    }

    function test_RequestThatFails() external {
        create(50 * USDT);
        (bytes32 requestId, bytes memory terms) = makeRequest();
        vm.expectEmit(address(seed));
        emit AdvancedSessionManager.AIRequestFailed(requestId, "cannot say");
        respond(terms, failure("cannot say"));
    }

    function test_OnlyTheAIContractCallsBack() external {
        vm.expectRevert(abi.encodeWithSelector(WithDtnAi.WithDtnAi_OnlyDtn.selector, thief.addr, address(ai)));
        vm.prank(thief.addr);
        seed.onSuccess(0);
    }

    function test_GetOrCreateMakesTheMinimum() external {
        makeRequest();
        (, uint256 balance,,,) = seed.getSessionStats(seed.userSessions(owner.addr, 0));
        vm.assertEq(balance, 10 * USDT);
    }

    function test_Pool() external {
        create(50 * USDT);
        uint256 sessionId = seed.userSessions(owner.addr, 0);
        vm.prank(owner.addr);
        seed.addToPool(sessionId);
        (uint256 size, uint256 max) = seed.getPoolStatus();
        vm.assertEq(size, 1);
        vm.assertEq(max, 5);
        vm.prank(thief.addr);
        vm.assertEq(seed.getFromPool(), sessionId);
    }

    /// @dev The contract only sends tokens to the fee target: they serve when the session runs dry.
    function test_Renew() external {
        create(10 * USDT);
        uint256 sessionId = seed.userSessions(owner.addr, 0);
        vm.prank(owner.addr);
        seed.renewSession(sessionId, 25 * USDT);
        vm.assertEq(token.balanceOf(ai.feeTargetOf(address(seed))), 25 * USDT);
        for (uint256 i = 0; i < 12; i++) {
            makeRequest();
        }
        (, uint256 available, uint256 held,) = ai.sessionOf(sessionId);
        vm.assertEq(available + held, 35 * USDT);
        vm.assertEq(token.balanceOf(ai.feeTargetOf(address(seed))), 0);
    }

    function test_CleanUp() external {
        create(50 * USDT);
        uint256 sessionId = seed.userSessions(owner.addr, 0);
        vm.warp(block.timestamp + 24 hours + 1);
        vm.expectEmit(address(seed));
        emit AdvancedSessionManager.SessionClosed(sessionId, owner.addr, 50 * USDT);
        seed.cleanupOldSessions();
        assertClosed(sessionId);
        vm.assertEq(token.balanceOf(address(seed)), 50 * USDT);
    }

    function test_Close() external {
        create(50 * USDT);
        uint256 sessionId = seed.userSessions(owner.addr, 0);
        vm.prank(owner.addr);
        seed.closeSession(sessionId);
        assertClosed(sessionId);
        vm.assertEq(token.balanceOf(address(seed)), 50 * USDT);
    }

    function test_CloseAll() external {
        create(50 * USDT);
        create(20 * USDT);
        vm.prank(owner.addr);
        seed.closeAllSessions();
        assertClosed(seed.userSessions(owner.addr, 0));
        assertClosed(seed.userSessions(owner.addr, 1));
        vm.assertEq(token.balanceOf(address(seed)), 70 * USDT);
    }

    // ─────────────────────────────────────────────────────────────────────────────────────────────────

    function nodeName(uint256 i) private pure returns (string memory) {
        return string.concat("node-", vm.toString(i));
    }

    function fund(Person memory user) private {
        token.mint(user.addr, 1_000 * USDT);
        vm.deal(user.addr, 10 ether);
        vm.prank(user.addr);
        token.approve(address(seed), type(uint256).max);
    }

    function create(uint256 balance) private {
        vm.prank(owner.addr);
        seed.createSession(balance);
    }

    function makeRequest() private returns (bytes32 requestId, bytes memory terms) {
        vm.recordLogs();
        vm.prank(owner.addr);
        requestId = seed.makeAIRequest{value: 0.1 ether}(
            "What is the weather like?", "gpt-3.5-turbo", DtnDefaults.defaultSystemTrust()
        );
        return (requestId, publishedTerms());
    }

    function free(uint256 sessionId) private view returns (uint256 available) {
        (, available,,) = ai.sessionOf(sessionId);
    }

    function assertClosed(uint256 sessionId) private view {
        (,,, bool active,) = seed.getSessionStats(sessionId);
        (, uint256 available,, bool open) = ai.sessionOf(sessionId);
        vm.assertFalse(active || open);
        vm.assertEq(available, 0);
    }
}
