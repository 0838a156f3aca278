// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {SessionManager} from "../../src/session-manager/SessionManager.sol";
import {ManagerFixture} from "../kit/ManagerFixture.sol";
import {FeeTokenMock, TetherMock} from "../kit/Tokens.sol";

contract ManagerSessionsTest is ManagerFixture {
    // ────────────────────────────────────────── createSession ────────────────────────────────────────

    /// @dev Spec B1.
    function test_RevertWhen_TheBalanceIsBelowTheMinimum() external {
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_BalanceTooLow.selector, MIN - 1, MIN));
        create(ann, MIN - 1);
    }

    function test_RevertGiven_NoAllowanceToTheManager() external {
        vm.prank(ann.addr);
        token.approve(address(manager), MIN - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(manager), MIN - 1, MIN)
        );
        create(ann, MIN);
    }

    function test_RevertGiven_ATokenThatTakesAFeeOnTheWayToThePurse() external {
        FeeTokenMock feeToken = new FeeTokenMock();
        address feeAi = deploy("DtnAi.sol:DtnAi", abi.encode(address(feeToken), admin.addr));
        SessionManager other = new SessionManager(feeAi, admin.addr, settings());
        feeToken.mint(ann.addr, FUNDS);
        vm.startPrank(ann.addr);
        feeToken.approve(address(other), FUNDS);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_TransferInexact.selector, 100 * USD, 99 * USD)
        );
        other.createSession(100 * USD);
    }

    /// @dev Spec A1: USDT on Ethereum.
    function test_GivenATokenThatReturnsNothingAnywhere() external {
        TetherMock tether = new TetherMock(6);
        SessionManager other =
            new SessionManager(address(deployAi(address(tether), admin.addr)), admin.addr, settings());
        tether.mint(ann.addr, FUNDS);
        vm.startPrank(ann.addr);
        tether.approve(address(other), FUNDS);
        uint256 sessionId = other.createSession(MIN);
        other.renewSession(sessionId, MIN);
        vm.assertEq(tether.balanceOf(ann.addr), FUNDS - 2 * MIN);
        other.closeSession(sessionId);
        vm.assertEq(tether.balanceOf(ann.addr), FUNDS);
    }

    /// @dev Spec B1, B12.
    function test_GivenAnAllowanceToTheManager() external restsNowhere {
        vm.recordLogs();
        uint256 sessionId = create(ann, 50 * USD);
        assertLogged(
            address(manager),
            abi.encode(ISessionManager.SessionCreated.selector, sessionId, ann.addr),
            abi.encode(50 * USD)
        );
        (address sessionOwner, uint256 available,, bool open) = ai.sessionOf(sessionId);
        vm.assertEq(sessionOwner, manager.purseOf(ann.addr));
        vm.assertEq(available, 50 * USD);
        vm.assertTrue(open);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - 50 * USD);
        vm.assertEq(current(ann), sessionId);
        vm.assertEq(manager.getUserSessionCount(ann.addr), 1);
        (address user, uint256 balance, uint256 lastUsed, bool active, uint256 requests) =
            manager.getSessionStats(sessionId);
        vm.assertEq(user, ann.addr);
        vm.assertEq(balance, 50 * USD);
        vm.assertEq(lastUsed, block.timestamp);
        vm.assertTrue(active);
        vm.assertEq(requests, 0);
    }

    // ──────────────────────────────────── createSessionWithPermit ────────────────────────────────────

    function test_GivenAPermitToTheManagerThatNobodyUsed() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(20 * USD);
        vm.prank(ann.addr);
        vm.assertEq(free(manager.createSessionWithPermit(20 * USD, block.timestamp, v, r, s)), 20 * USD);
    }

    function test_GivenAPermitToTheManagerThatSomebodyElseSubmittedFirst() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(20 * USD);
        vm.prank(thief.addr);
        token.permit(ann.addr, address(manager), 20 * USD, block.timestamp, v, r, s);
        vm.prank(ann.addr);
        vm.assertEq(free(manager.createSessionWithPermit(20 * USD, block.timestamp, v, r, s)), 20 * USD);
    }

    // ──────────────────────────────────────── getOrCreateSession ─────────────────────────────────────

    /// @dev Spec B2.
    function test_GivenNoSession() external {
        vm.assertEq(free(getOrCreate(ann)), MIN);
        vm.assertEq(manager.getUserSessionCount(ann.addr), 1);
    }

    /// @dev Spec B2.
    function test_GivenACurrentSessionWithMoney() external {
        uint256 sessionId = create(ann, 20 * USD);
        vm.warp(block.timestamp + 5);
        vm.assertEq(getOrCreate(ann), sessionId);
        (,, uint256 lastUsed,, uint256 requests) = manager.getSessionStats(sessionId);
        vm.assertEq(lastUsed, block.timestamp);
        vm.assertEq(requests, 1);
    }

    function test_GivenACurrentSessionWithoutMoney() external {
        uint256 sessionId = create(ann, 20 * USD);
        IDtnAi.BatchRequest memory all = hello();
        all.request.totalFeePerRes = 20 * USD - 5 * FEE_REQ;
        askOf(ann, sessionId, all);
        vm.assertEq(free(sessionId), 0);
        uint256 other = getOrCreate(ann);
        vm.assertNotEq(other, sessionId);
        vm.assertEq(free(other), MIN);
    }

    function test_GivenACurrentSessionThatHasExpired() external {
        uint256 sessionId = create(ann, 20 * USD);
        vm.warp(block.timestamp + AGE + 1);
        uint256 other = getOrCreate(ann);
        assertState(sessionId, ISessionManager.SessionState.CLOSED);
        vm.assertEq(free(other), MIN);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - MIN);
    }

    function test_GivenTheCurrentSessionIsInThePool() external {
        uint256 first = create(ann, 20 * USD);
        uint256 second = create(ann, 20 * USD);
        share(ann, second, 1, 1);
        vm.assertEq(getOrCreate(ann), first);
    }

    function test_GivenAllSessionsAreInThePool() external {
        uint256 sessionId = create(ann, 20 * USD);
        share(ann, sessionId, 1, 1);
        vm.assertNotEq(getOrCreate(ann), sessionId);
        vm.assertEq(manager.getUserSessionCount(ann.addr), 2);
    }

    /// @dev Spec B2: constant cost, not a scan. The one session found is not the last used, in both cases.
    function test_GivenManySessions() external {
        uint256[2] memory gasUsed;
        for (uint256 round = 0; round < 2; round++) {
            for (uint256 i = 0; i < 2 + 20 * round; i++) {
                create(ann, MIN);
            }
            create(bob, MIN);
            create(thief, MIN);
            vm.cool(address(manager));
            getOrCreate(ann);
            gasUsed[round] = vm.lastCallGas().gasTotalUsed;
        }
        vm.assertLe(gasUsed[1], gasUsed[0] + 1_000);
    }

    // ─────────────────────────────────────────── renewSession ────────────────────────────────────────

    function test_RevertWhen_SomebodyElseRenews() external {
        uint256 sessionId = create(ann, MIN);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionNotFound.selector, sessionId, thief.addr)
        );
        vm.prank(thief.addr);
        manager.renewSession(sessionId, 1);
    }

    function test_RevertWhen_TheRenewedSessionIsClosed() external {
        uint256 sessionId = create(ann, MIN);
        vm.startPrank(ann.addr);
        manager.closeSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_SessionAlreadyClosed.selector, sessionId));
        manager.renewSession(sessionId, 1);
    }

    /// @dev Spec B14.
    function test_RevertWhen_TheRenewedSessionHasExpired() external {
        uint256 sessionId = create(ann, MIN);
        uint256 used = block.timestamp;
        vm.warp(used + AGE + 1);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionExpired.selector, sessionId, used, AGE)
        );
        vm.prank(ann.addr);
        manager.renewSession(sessionId, 1);
    }

    function test_RevertWhen_NothingIsAdded() external {
        uint256 sessionId = create(ann, MIN);
        vm.expectRevert(IDtnAiEvents.DtnAi_AmountZero.selector);
        vm.prank(ann.addr);
        manager.renewSession(sessionId, 0);
    }

    /// @dev Spec B6.
    function test_WhenTheOwnerRenews() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        uint256 other = create(ann, MIN);
        vm.warp(block.timestamp + AGE);
        vm.expectEmit(address(manager));
        emit ISessionManager.SessionRenewed(sessionId, MIN + 5 * USD);
        vm.prank(ann.addr);
        manager.renewSession(sessionId, 5 * USD);
        vm.assertEq(free(sessionId), MIN + 5 * USD);
        vm.assertEq(free(other), MIN);
        vm.assertEq(current(ann), sessionId);
        (,, uint256 lastUsed,,) = manager.getSessionStats(sessionId);
        vm.assertEq(lastUsed, block.timestamp);
    }

    // ───────────────────────────────────────────── reading ───────────────────────────────────────────

    /// @dev Spec B10.
    function test_GivenASessionNobodyStarted() external view {
        (address user, uint256 balance, uint256 lastUsed, bool active, uint256 requests) = manager.getSessionStats(7);
        vm.assertEq(user, address(0));
        vm.assertEq(balance + lastUsed + requests, 0);
        vm.assertFalse(active);
        assertState(7, ISessionManager.SessionState.NONE);
    }

    /// @dev Spec B10.
    function test_GivenMoreSessionsThanAPageHas() external {
        uint256[3] memory ids = [create(ann, MIN), create(ann, MIN), create(ann, MIN)];
        uint256[] memory page = manager.getUserSessions(ann.addr, 0, 2);
        vm.assertEq(page.length, 2);
        vm.assertEq(page[0], ids[2]);
        vm.assertEq(page[1], ids[1]);
        page = manager.getUserSessions(ann.addr, ids[1], 2);
        vm.assertEq(page.length, 1);
        vm.assertEq(page[0], ids[0]);
        vm.assertEq(manager.getUserSessions(ann.addr, ids[0], 2).length, 0);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionNotFound.selector, ids[0], bob.addr)
        );
        manager.getUserSessions(bob.addr, ids[0], 2);
    }

    // ─────────────────────────────────────────────────────────────────────────────────────────────────

    function current(Person memory user) private view returns (uint256) {
        return manager.getUserSessions(user.addr, 0, 1)[0];
    }

    function permit(uint256 amount) private returns (uint8 v, bytes32 r, bytes32 s) {
        vm.prank(ann.addr);
        token.approve(address(manager), 0);
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 data = keccak256(abi.encode(typehash, ann.addr, address(manager), amount, 0, block.timestamp));
        return vm.sign(ann.key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), data)));
    }
}
