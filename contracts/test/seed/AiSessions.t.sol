// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";

import {Fixture} from "../kit/Fixture.sol";
import {AiSessions, AiSessionsOnDemand} from "./generated/AiSessions.sol";

/// @notice The snippets of seed 002, each doing what the document says of it (spec A2 to A8).
contract AiSessionsTest is Fixture {
    AiSessions private user;

    function setUp() public override {
        super.setUp();
        user =
            new AiSessions(address(ai), modelId(), DtnDefaults.defaultSystemTrust(), question("What is the weather?"));
        token.mint(address(user), 100 * USD);
    }

    function test_StartUseClose() external {
        user.startSession();
        vm.assertEq(free(user.sessionId()), 100 * USD);
        vm.prank(owner.addr);
        user.makeAIRequest{value: 1}("What is the weather?");
        (, uint256 available, uint256 held,) = ai.sessionOf(user.sessionId());
        vm.assertEq(held, holdOf("What is the weather?"));
        user.closeSession();
        vm.assertEq(user.sessionId(), 0);
        vm.assertEq(token.balanceOf(address(user)), available);
    }

    /// @dev Spec A4.
    function test_RequestWithoutSession() external {
        token.mint(ai.feeTargetOf(address(user)), 10 * USD);
        user.makeAIRequestWithoutSession();
        vm.assertNotEq(user.requestId(), 0);
        vm.assertEq(token.balanceOf(address(ai)), 10 * USD);
    }

    /// @dev Spec A8.
    function test_RestartSession() external {
        user.startSession();
        uint256 first = user.sessionId();
        user.restartSession();
        vm.assertNotEq(user.sessionId(), first);
        vm.assertEq(free(user.sessionId()), 100 * USD);
        vm.assertEq(free(first), 0);
    }

    function test_SafeStart() external {
        vm.expectRevert("Failed to start session");
        user.safeStartSession();
        token.mint(ai.feeTargetOf(address(user)), 10 * USD);
        user.safeStartSession();
        vm.assertEq(free(user.sessionId()), 10 * USD);
    }

    function test_CreateSessionIfNeeded() external {
        AiSessionsOnDemand onDemand = new AiSessionsOnDemand(
            address(ai), modelId(), DtnDefaults.defaultSystemTrust(), question("What is the weather?")
        );
        token.mint(address(onDemand), 10 * USD);
        onDemand.makeRequest("What is the weather?");
        vm.assertNotEq(onDemand.requestId(), 0);
        vm.assertEq(free(onDemand.sessionId()), 10 * USD - holdOf("What is the weather?"));
    }

    /// @dev Spec A9: the document's "session already closed".
    function test_ClosedElsewhere() external {
        user.startSession();
        uint256 sessionId = user.sessionId();
        vm.prank(address(user));
        ai.closeUserSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionAlreadyClosed.selector, sessionId));
        user.closeSession();
    }

    function free(uint256 sessionId) private view returns (uint256 available) {
        (, available,,) = ai.sessionOf(sessionId);
    }
}
