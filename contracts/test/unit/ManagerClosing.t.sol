// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

import {BlockableToken} from "../kit/BlockableToken.sol";
import {ManagerFixture} from "../kit/ManagerFixture.sol";

contract ManagerClosingTest is ManagerFixture {
    function setUp() public override {
        super.setUp();
        vm.etch(address(token), address(new BlockableToken()).code);
    }

    // ────────────────────────────────────────── closeSession ─────────────────────────────────────────

    /// @dev Spec A5.
    function test_RevertWhen_SomebodyElseCloses() external {
        uint256 sessionId = create(ann, MIN);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionNotFound.selector, sessionId, thief.addr)
        );
        close(thief, sessionId);
    }

    /// @dev Spec A9.
    function test_RevertWhen_TheSessionWasClosedBefore() external {
        uint256 sessionId = create(ann, MIN);
        close(ann, sessionId);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_SessionAlreadyClosed.selector, sessionId));
        close(ann, sessionId);
    }

    /// @dev Spec B4.
    function test_GivenNothingInFlight() external restsNowhere {
        uint256 sessionId = create(ann, 50 * USD);
        (, bytes memory terms) = askOf(ann, sessionId);
        answer(terms, "hi");
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionClosed(sessionId, ann.addr, 50 * USD - helloCost(2), 0);
        vm.expectEmit(address(manager));
        emit ISessionManager.RefundPaid(ann.addr, ann.addr, 50 * USD - helloCost(2));
        close(ann, sessionId);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - helloCost(2));
        vm.assertEq(manager.getUserSessionCount(ann.addr), 0);
        assertState(sessionId, ISessionManager.SessionState.CLOSED);
    }

    /// @dev Spec A6, B4.
    function test_GivenARequestInFlight() external restsNowhere {
        uint256 sessionId = create(ann, 50 * USD);
        (, bytes memory terms) = askOf(ann, sessionId);
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionClosed(sessionId, ann.addr, 50 * USD - helloHold(), helloHold());
        close(ann, sessionId);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - helloHold());
        answer(terms, "hi");
        vm.assertEq(target.goodCalls(), 1);
        vm.assertEq(manager.withdrawable(ann.addr), helloHold() - helloCost(2));
        manager.withdraw(ann.addr);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - helloCost(2));
    }

    /// @dev Spec A6, A17.
    function test_GivenARequestInFlightThatNobodyAnswers() external restsNowhere {
        uint256 sessionId = create(ann, 50 * USD);
        (, bytes memory terms) = askOf(ann, sessionId);
        close(ann, sessionId);
        vm.warp(block.timestamp + 1 hours + 1);
        ai.expire(terms);
        manager.withdraw(ann.addr);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS);
    }

    function test_GivenLateRefundsOfAnotherSession() external restsNowhere {
        uint256 sessionId = create(ann, 50 * USD);
        uint256 other = create(ann, 20 * USD);
        (, bytes memory terms) = askOf(ann, sessionId);
        close(ann, sessionId);
        answer(terms, "hi");
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionClosed(other, ann.addr, 20 * USD, 0);
        vm.expectEmit(address(manager));
        emit ISessionManager.RefundPaid(ann.addr, ann.addr, 20 * USD + helloHold() - helloCost(2));
        close(ann, other);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - helloCost(2));
    }

    function test_GivenASessionThatWaitsInThePool() external {
        uint256 sessionId = create(ann, MIN);
        share(ann, sessionId, 1, 1);
        close(ann, sessionId);
        (uint256 pooled,) = poolCounts();
        vm.assertEq(pooled, 0);
        vm.assertEq(manager.offerOf(sessionId).budget, 0);
        vm.expectRevert(ISessionManager.SessionManager_PoolEmpty.selector);
        take(bob);
    }

    function test_GivenASessionOnLease() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        share(ann, sessionId, 5 * USD, 5 * USD);
        take(bob);
        (, bytes memory terms) = askOf(bob, sessionId);
        vm.expectEmit(address(manager));
        emit ISessionManager.LeaseEnded(sessionId, bob.addr, helloHold());
        close(ann, sessionId);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - helloHold());
        (uint256 pooled, uint256 leased) = poolCounts();
        vm.assertEq(pooled + leased, 0);
        vm.assertEq(manager.leaseOf(sessionId).taker, address(0));
        vm.assertEq(manager.spentBy(sessionId, bob.addr), helloHold());
        answer(terms, "hi");
        manager.withdraw(ann.addr);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - helloCost(2));
    }

    function test_GivenATokenThatRefusesTheUser() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        refuse(ann.addr, true);
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionClosed(sessionId, ann.addr, MIN, 0);
        vm.expectEmit(address(manager));
        emit ISessionManager.RefundWaiting(ann.addr, MIN);
        close(ann, sessionId);
        vm.assertEq(manager.withdrawable(ann.addr), MIN);
    }

    function test_GivenATokenThatRefusesThePurse() external {
        uint256 sessionId = create(ann, MIN);
        refuse(manager.purseOf(ann.addr), true);
        close(ann, sessionId);
        (uint256 owed,) = ai.claimable(manager.purseOf(ann.addr));
        vm.assertEq(owed, MIN);
        vm.assertEq(manager.withdrawable(ann.addr), MIN);
    }

    // ──────────────────────────────────────── closeAllSessions ───────────────────────────────────────

    /// @dev Spec B5.
    function test_GivenSeveralSessionsOfSeveralUsers() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        share(ann, sessionId, 1, 1);
        uint256 bobs = create(bob, MIN);
        create(ann, 2 * MIN);
        vm.prank(ann.addr);
        vm.assertEq(manager.closeAllSessions(), 2);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS);
        vm.assertEq(manager.getUserSessionCount(ann.addr), 0);
        assertState(bobs, ISessionManager.SessionState.ACTIVE);
    }

    function test_GivenMoreSessionsThanTheMaximum() external {
        uint256[3] memory ids = [create(ann, MIN), create(ann, MIN), create(ann, MIN)];
        vm.prank(ann.addr);
        vm.assertEq(manager.closeAllSessions(2), 2);
        assertState(ids[0], ISessionManager.SessionState.CLOSED);
        assertState(ids[1], ISessionManager.SessionState.CLOSED);
        assertState(ids[2], ISessionManager.SessionState.ACTIVE);
    }

    function test_GivenNoSessions() external {
        vm.prank(ann.addr);
        vm.assertEq(manager.closeAllSessions(), 0);
    }

    // ─────────────────────────────────────── cleanupOldSessions ──────────────────────────────────────

    function test_GivenSessionsWithinTheirAge() external {
        create(ann, MIN);
        vm.warp(block.timestamp + AGE);
        vm.assertEq(manager.cleanupOldSessions(10), 0);
    }

    /// @dev Spec B9.
    function test_GivenExpiredSessionsOfSeveralUsers() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        create(bob, MIN);
        vm.warp(block.timestamp + AGE + 1);
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionClosed(sessionId, ann.addr, MIN, 0);
        vm.prank(thief.addr);
        vm.assertEq(manager.cleanupOldSessions(10), 2);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS);
        vm.assertEq(token.balanceOf(bob.addr), FUNDS);
    }

    /// @dev Spec B9: bounded batches, in order.
    function test_GivenMoreExpiredSessionsThanTheMaximum() external {
        uint256[3] memory ids = [create(ann, MIN), create(bob, MIN), create(ann, MIN)];
        vm.warp(block.timestamp + 1);
        askOf(ann, ids[0]);
        vm.warp(block.timestamp + AGE + 1);
        vm.assertEq(manager.cleanupOldSessions(1), 1);
        assertState(ids[1], ISessionManager.SessionState.CLOSED);
        vm.assertEq(manager.cleanupOldSessions(1), 1);
        assertState(ids[2], ISessionManager.SessionState.CLOSED);
        assertState(ids[0], ISessionManager.SessionState.ACTIVE);
    }

    function test_GivenAnOldSessionThatWasUsedSince() external {
        uint256 sessionId = create(ann, MIN);
        vm.warp(block.timestamp + AGE);
        askOf(ann, sessionId);
        vm.warp(block.timestamp + AGE);
        vm.assertEq(manager.cleanupOldSessions(10), 0);
    }

    /// @dev Spec B9: work proportional to what expired.
    function test_GivenManyLiveSessions() external {
        uint256[2] memory gasUsed;
        for (uint256 round = 0; round < 2; round++) {
            create(thief, MIN);
            vm.warp(block.timestamp + AGE + 1);
            for (uint256 i = 0; i < 1 + 20 * round; i++) {
                create(ann, MIN);
            }
            vm.cool(address(manager));
            vm.assertEq(manager.cleanupOldSessions(1), 1);
            gasUsed[round] = vm.lastCallGas().gasTotalUsed;
            manager.cleanupOldSessions(100);
            vm.prank(ann.addr);
            manager.closeAllSessions();
        }
        vm.assertLe(gasUsed[1], gasUsed[0] + 1_000);
    }

    function test_GivenAUserWhomTheTokenRefusesAmongTheExpired() external restsNowhere {
        create(ann, MIN);
        create(bob, MIN);
        refuse(ann.addr, true);
        vm.warp(block.timestamp + AGE + 1);
        vm.assertEq(manager.cleanupOldSessions(10), 2);
        vm.assertEq(token.balanceOf(bob.addr), FUNDS);
        vm.assertEq(manager.withdrawable(ann.addr), MIN);
    }

    // ──────────────────────────────────────────── withdraw ───────────────────────────────────────────

    function test_RevertGiven_NothingCameBack() external {
        create(ann, MIN);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_NothingToWithdraw.selector, ann.addr));
        manager.withdraw(ann.addr);
    }

    function test_GivenARefundCameBack() external restsNowhere {
        refundWaits();
        refuse(ann.addr, false);
        vm.expectEmit(address(manager));
        emit ISessionManager.RefundPaid(ann.addr, ann.addr, MIN);
        vm.prank(thief.addr);
        vm.assertEq(manager.withdraw(ann.addr), MIN);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS);
    }

    function test_RevertGiven_TheTokenStillRefusesTheUser() external {
        refundWaits();
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_RefundRefused.selector, ann.addr, MIN));
        manager.withdraw(ann.addr);
    }

    function test_GivenTheAIContractOwesThePurse() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        refuse(manager.purseOf(ann.addr), true);
        close(ann, sessionId);
        vm.assertEq(manager.withdraw(ann.addr), MIN);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS);
    }

    // ─────────────────────────────────────────── withdrawTo ──────────────────────────────────────────

    function test_RevertGiven_ARefundOfSomebodyElse() external {
        refundWaits();
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_NothingToWithdraw.selector, thief.addr));
        vm.prank(thief.addr);
        manager.withdrawTo(thief.addr);
    }

    function test_GivenARefundOfTheCaller() external restsNowhere {
        refundWaits();
        vm.prank(ann.addr);
        vm.assertEq(manager.withdrawTo(owner.addr), MIN);
        vm.assertEq(token.balanceOf(owner.addr), 1_000_000 * USD + MIN);
    }

    // ─────────────────────────────────────────────────────────────────────────────────────────────────

    function close(Person memory user, uint256 sessionId) private {
        vm.prank(user.addr);
        manager.closeSession(sessionId);
    }

    /// @dev Makes the token refuse `account`, as USDT can, or no longer.
    function refuse(address account, bool blocked) private {
        BlockableToken(address(token)).setBlocked(account, blocked);
    }

    /// @dev A closed session of ann's, whose refund the token refused to pay.
    function refundWaits() private {
        uint256 sessionId = create(ann, MIN);
        refuse(ann.addr, true);
        close(ann, sessionId);
    }
}
