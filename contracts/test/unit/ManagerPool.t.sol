// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

import {ManagerFixture} from "../kit/ManagerFixture.sol";

contract ManagerPoolTest is ManagerFixture {
    uint256 private sessionId;

    function setUp() public override {
        super.setUp();
        sessionId = create(ann, 50 * USD);
    }

    // ─────────────────────────────────────────── addToPool ───────────────────────────────────────────

    /// @dev Spec B7.
    function test_RevertWhen_SomebodyElsePoolsTheSession() external {
        expectNotFound(thief);
        share(thief, sessionId, 1, 1);
    }

    /// @dev Spec B7.
    function test_RevertWhen_TheSessionIsPooledAlready() external {
        share(ann, sessionId, 1, 1);
        expectPooled();
        share(ann, sessionId, 1, 1);
    }

    function test_RevertWhen_ThePooledSessionIsClosed() external {
        vm.prank(ann.addr);
        manager.closeSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_SessionAlreadyClosed.selector, sessionId));
        share(ann, sessionId, 1, 1);
    }

    function test_RevertWhen_TheSessionToPoolHasExpired() external {
        uint256 used = block.timestamp;
        vm.warp(used + AGE + 1);
        expectExpired(used);
        share(ann, sessionId, 1, 1);
    }

    function test_RevertWhen_TheCapIsZero() external {
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_CapOutOfRange.selector, 0, 1));
        share(ann, sessionId, 0, 1);
    }

    function test_RevertWhen_TheCapIsAboveTheBudget() external {
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_CapOutOfRange.selector, 2, 1));
        share(ann, sessionId, 2, 1);
    }

    /// @dev Spec B7, B14. Sessions on lease keep their place.
    function test_RevertGiven_ThePoolIsFull() external {
        for (uint256 i = 0; i < 3; i++) {
            share(bob, create(bob, MIN), 1, 1);
        }
        take(thief);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_PoolFull.selector, 3));
        share(ann, sessionId, 1, 1);
    }

    function test_RevertGiven_ARequestOfTheSessionIsInFlight() external {
        askOf(ann, sessionId);
        expectInFlight(helloHold());
        share(ann, sessionId, 1, 1);
    }

    function test_RevertGiven_LessThanTheMinimumIsFree() external {
        spend(ann, sessionId, 40 * USD + 1);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_BalanceTooLow.selector, MIN - 1, MIN));
        share(ann, sessionId, 1, 1);
    }

    /// @dev Spec B7, B10, B12.
    function test_GivenRoomInThePool() external {
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionPooled(sessionId, ann.addr, 5, 6);
        share(ann, sessionId, 5, 6);
        assertState(sessionId, ISessionManager.SessionState.POOLED);
        (uint256 pooled, uint256 leased, uint256 size) = manager.getPoolStatus();
        vm.assertEq(pooled, 1);
        vm.assertEq(leased, 0);
        vm.assertEq(size, 3);
    }

    // ───────────────────────────────────────── removeFromPool ────────────────────────────────────────

    function test_RevertWhen_SomebodyElseRemovesIt() external {
        share(ann, sessionId, 1, 1);
        expectNotFound(thief);
        remove(thief);
    }

    function test_RevertGiven_ItIsNotInThePool() external {
        expectNotPooled();
        remove(ann);
    }

    function test_RevertGiven_ItIsOnLease() external {
        share(ann, sessionId, 1, 1);
        take(bob);
        expectNotPooled();
        remove(ann);
    }

    function test_GivenItWaitsInThePool() external {
        share(ann, sessionId, 1, 1);
        create(ann, MIN);
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionUnpooled(sessionId, ann.addr);
        remove(ann);
        assertState(sessionId, ISessionManager.SessionState.ACTIVE);
        vm.assertEq(getOrCreate(ann), sessionId);
        (uint256 pooled,) = poolCounts();
        vm.assertEq(pooled, 0);
        vm.expectRevert(ISessionManager.SessionManager_PoolEmpty.selector);
        take(bob);
    }

    // ─────────────────────────────────────────── getFromPool ─────────────────────────────────────────

    /// @dev Spec B8.
    function test_RevertGiven_AnEmptyPool() external {
        vm.expectRevert(ISessionManager.SessionManager_PoolEmpty.selector);
        take(bob);
    }

    /// @dev Spec B8.
    function test_GivenSeveralSessionsWait() external {
        share(ann, sessionId, 5, 6);
        share(bob, create(bob, MIN), 1, 1);
        vm.warp(block.timestamp + 9);
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionTaken(sessionId, thief.addr, block.timestamp + LEASE, 5);
        vm.assertEq(take(thief), sessionId);
        ISessionManager.Lease memory made = manager.leaseOf(sessionId);
        vm.assertEq(made.taker, thief.addr);
        vm.assertEq(made.deadline, block.timestamp + LEASE);
        vm.assertEq(made.start, 50 * USD);
        vm.assertEq(made.room, 5);
        (,, uint256 lastUsed,, uint256 requests) = manager.getSessionStats(sessionId);
        vm.assertEq(lastUsed, block.timestamp);
        vm.assertEq(requests, 1);
        (uint256 pooled, uint256 leased) = poolCounts();
        vm.assertEq(pooled, 2);
        vm.assertEq(leased, 1);
    }

    function test_RevertGiven_TheOneThatWaitsHasExpired() external {
        share(ann, sessionId, 1, 1);
        uint256 used = block.timestamp;
        vm.warp(used + AGE + 1);
        expectExpired(used);
        take(bob);
    }

    function test_RevertGiven_TheTakerHasUsedUpItsCap() external {
        share(ann, sessionId, 10 * USD, 20 * USD);
        take(bob);
        spend(bob, sessionId, 10 * USD);
        giveBack(bob);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISessionManager.SessionManager_LeaseCapReached.selector, sessionId, bob.addr, 10 * USD, 10 * USD
            )
        );
        take(bob);
    }

    /// @dev Takers cost nothing to make up: the budget is what bounds them all.
    function test_GivenLittleBudgetIsLeft() external {
        share(ann, sessionId, 10 * USD, 15 * USD);
        take(bob);
        spend(bob, sessionId, 10 * USD);
        giveBack(bob);
        take(thief);
        vm.assertEq(manager.leaseOf(sessionId).room, 5 * USD);
    }

    function test_RevertWhen_ASessionThatDoesNotWaitIsNamed() external {
        expectNotPooled();
        vm.prank(bob.addr);
        manager.getFromPool(sessionId);
    }

    function test_WhenASessionThatWaitsIsNamed() external {
        share(bob, create(bob, MIN), 1, 1);
        share(ann, sessionId, 1, 1);
        vm.prank(thief.addr);
        manager.getFromPool(sessionId);
        vm.assertEq(manager.leaseOf(sessionId).taker, thief.addr);
    }

    // ─────────────────────────────────────── asking during a lease ───────────────────────────────────

    /// @dev Spec B8.
    function test_WhenTheTakerAsksWithinItsCap() external restsNowhere {
        lease(helloHold());
        askOf(bob, sessionId);
        vm.assertEq(inFlight(sessionId), helloHold());
        vm.assertEq(token.balanceOf(bob.addr), FUNDS);
    }

    /// @dev Spec B8.
    function test_RevertWhen_TheTakerAsksBeyondItsCap() external {
        lease(helloHold() - 1);
        expectCapReached(helloHold(), helloHold() - 1);
        bobAsks();
    }

    /// @dev What is booked is what was spent, not the worst case.
    function test_WhenTheTakerGetsBackWhatARequestDidNotCost() external {
        lease(helloHold() + helloCost(2));
        (, bytes memory terms) = askOf(bob, sessionId);
        answer(terms, "hi");
        askOf(bob, sessionId);
        expectCapReached(2 * helloHold() + helloCost(2), helloHold() + helloCost(2));
        bobAsks();
    }

    /// @dev Spec B8: a taker who vanishes does not drain the pool, nor does one who stays.
    function test_RevertWhen_TheTakerAsksAfterTheDeadline() external {
        lease(MIN);
        uint256 deadline = block.timestamp + LEASE;
        vm.warp(deadline);
        bobAsks();
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_LeaseOver.selector, sessionId, deadline));
        bobAsks();
    }

    function test_RevertWhen_TheOwnerAsksDuringTheLease() external {
        lease(MIN);
        IDtnAi.BatchRequest memory asked = hello();
        expectPooled();
        vm.prank(ann.addr);
        manager.makeAIRequest(sessionId, asked);
    }

    function test_RevertWhen_SomebodyElseAsksDuringTheLease() external {
        lease(MIN);
        IDtnAi.BatchRequest memory asked = hello();
        expectNotFound(thief);
        vm.prank(thief.addr);
        manager.makeAIRequest(sessionId, asked);
    }

    function test_RevertWhen_TheTakerClosesOrRenewsOrPools() external {
        lease(MIN);
        vm.startPrank(bob.addr);
        expectNotFound(bob);
        manager.closeSession(sessionId);
        expectNotFound(bob);
        manager.renewSession(sessionId, 1);
        expectNotFound(bob);
        manager.addToPool(sessionId, 1, 1);
        expectNotFound(bob);
        manager.removeFromPool(sessionId);
    }

    function test_WhenTheOwnerRenewsDuringTheLease() external {
        lease(helloHold());
        vm.prank(ann.addr);
        manager.renewSession(sessionId, 5 * USD);
        askOf(bob, sessionId);
        expectCapReached(2 * helloHold(), helloHold());
        bobAsks();
    }

    // ─────────────────────────────────────────── returnToPool ────────────────────────────────────────

    function test_RevertGiven_NobodyLeasesIt() external {
        share(ann, sessionId, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_NotLeased.selector, sessionId));
        giveBack(bob);
    }

    function test_RevertWhen_SomebodyElseReturnsItBeforeTheDeadline() external {
        lease(MIN);
        uint256 deadline = block.timestamp + LEASE;
        vm.warp(deadline);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_LeaseRunning.selector, sessionId, deadline)
        );
        giveBack(ann);
    }

    function test_RevertGiven_ARequestOfTheLeaseIsInFlight() external {
        lease(MIN);
        askOf(bob, sessionId);
        expectInFlight(helloHold());
        giveBack(bob);
    }

    /// @dev Spec B8: accounted to the taker.
    function test_WhenTheTakerReturnsIt() external restsNowhere {
        lease(MIN);
        uint256 other = create(thief, MIN);
        share(thief, other, 1, 1);
        (, bytes memory terms) = askOf(bob, sessionId);
        answer(terms, "hi");
        vm.expectEmit(address(manager));
        emit ISessionManager.LeaseEnded(sessionId, bob.addr, helloCost(2));
        giveBack(bob);
        vm.assertEq(manager.spentBy(sessionId, bob.addr), helloCost(2));
        vm.assertEq(manager.offerOf(sessionId).budget, MIN - helloCost(2));
        assertState(sessionId, ISessionManager.SessionState.POOLED);
        vm.assertEq(take(bob), other);
        vm.assertEq(take(bob), sessionId);
    }

    function test_WhenAnyoneReturnsItAfterTheDeadline() external {
        lease(MIN);
        vm.warp(block.timestamp + LEASE + 1);
        giveBack(thief);
        assertState(sessionId, ISessionManager.SessionState.POOLED);
        (uint256 pooled, uint256 leased) = poolCounts();
        vm.assertEq(pooled, 1);
        vm.assertEq(leased, 0);
    }

    function test_GivenLessThanTheMinimumIsLeft() external {
        lease(50 * USD);
        spend(bob, sessionId, 40 * USD + 1);
        assertReturnedToOwner();
    }

    function test_GivenNoBudgetIsLeft() external {
        lease(10 * USD);
        spend(bob, sessionId, 10 * USD);
        assertReturnedToOwner();
    }

    function test_GivenThePoolShrankMeanwhile() external {
        lease(MIN);
        ISessionManager.Config memory none = settings();
        none.sessionPoolSize = 0;
        vm.prank(admin.addr);
        manager.updateConfig(none);
        giveBack(bob);
        assertState(sessionId, ISessionManager.SessionState.POOLED);
    }

    // ─────────────────────────────────────────────────────────────────────────────────────────────────

    function lease(uint256 cap) private {
        share(ann, sessionId, cap, cap);
        take(bob);
    }

    function bobAsks() private {
        IDtnAi.BatchRequest memory asked = hello();
        vm.prank(bob.addr);
        manager.makeAIRequest(sessionId, asked);
    }

    function giveBack(Person memory by) private {
        vm.prank(by.addr);
        manager.returnToPool(sessionId);
    }

    function remove(Person memory by) private {
        vm.prank(by.addr);
        manager.removeFromPool(sessionId);
    }

    /// @dev A request that is answered at exactly this cost.
    function spend(Person memory user, uint256 id, uint256 cost) private {
        IDtnAi.BatchRequest memory asked = hello();
        asked.callback.target = address(0);
        asked.request.feePerByteRes = cost;
        asked.request.totalFeePerRes = cost - 5 * FEE_REQ;
        (, bytes memory terms) = askOf(user, id, asked);
        answer(terms, "hi");
    }

    function assertReturnedToOwner() private {
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionUnpooled(sessionId, ann.addr);
        giveBack(bob);
        assertState(sessionId, ISessionManager.SessionState.ACTIVE);
        (uint256 pooled, uint256 leased) = poolCounts();
        vm.assertEq(pooled + leased, 0);
        askOf(ann, sessionId);
    }

    function expectNotFound(Person memory caller) private {
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionNotFound.selector, sessionId, caller.addr)
        );
    }

    function expectPooled() private {
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_AlreadyPooled.selector, sessionId));
    }

    function expectNotPooled() private {
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_NotPooled.selector, sessionId));
    }

    function expectInFlight(uint256 held) private {
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_RequestsInFlight.selector, sessionId, held)
        );
    }

    function expectExpired(uint256 used) private {
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionExpired.selector, sessionId, used, AGE)
        );
    }

    function expectCapReached(uint256 exposure, uint256 room) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                ISessionManager.SessionManager_LeaseCapReached.selector, sessionId, bob.addr, exposure, room
            )
        );
    }
}
