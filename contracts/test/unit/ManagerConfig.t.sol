// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {Purse} from "../../src/session-manager/Purse.sol";
import {ManagerFixture} from "../kit/ManagerFixture.sol";

contract ManagerConfigTest is ManagerFixture {
    // ────────────────────────────────────────── updateConfig ─────────────────────────────────────────

    /// @dev Spec B11.
    function test_RevertWhen_AnybodyButTheAdministratorChangesTheConfiguration() external {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, thief.addr));
        vm.prank(thief.addr);
        manager.updateConfig(settings());
    }

    function test_RevertWhen_TheMinimumBalanceIsZero() external {
        ISessionManager.Config memory bad = settings();
        bad.minSessionBalance = 0;
        assertRefused(bad, "minSessionBalance", 0, 1, type(uint96).max);
    }

    function test_RevertWhen_TheAgeIsOutOfRange() external {
        ISessionManager.Config memory bad = settings();
        bad.maxSessionAgeSeconds = 1 hours - 1;
        assertRefused(bad, "maxSessionAgeSeconds", 1 hours - 1, 1 hours, 365 days);
        bad.maxSessionAgeSeconds = 365 days + 1;
        assertRefused(bad, "maxSessionAgeSeconds", 365 days + 1, 1 hours, 365 days);
    }

    function test_RevertWhen_ThePoolIsTooLarge() external {
        ISessionManager.Config memory bad = settings();
        bad.sessionPoolSize = 10_001;
        assertRefused(bad, "sessionPoolSize", 10_001, 0, 10_000);
    }

    function test_RevertWhen_ALeaseIsLongerThanTheAgeOrTooShort() external {
        ISessionManager.Config memory bad = settings();
        bad.leaseSeconds = uint40(AGE + 1);
        assertRefused(bad, "leaseSeconds", AGE + 1, 1 minutes, AGE);
        bad.leaseSeconds = 59;
        assertRefused(bad, "leaseSeconds", 59, 1 minutes, AGE);
    }

    /// @dev Spec B11.
    function test_WhenTheAdministratorChangesTheConfiguration() external {
        uint256 sessionId = create(ann, MIN);
        ISessionManager.Config memory changed = settings();
        (changed.minSessionBalance, changed.maxSessionAgeSeconds) = (uint96(MIN + 1), 2 hours);
        vm.expectEmit(address(manager));
        emit ISessionManager.ConfigUpdated(changed);
        vm.prank(admin.addr);
        manager.updateConfig(changed);
        vm.assertEq(keccak256(abi.encode(manager.config())), keccak256(abi.encode(changed)));
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_BalanceTooLow.selector, MIN, MIN + 1));
        create(ann, MIN);
        vm.warp(block.timestamp + 2 hours + 1);
        manager.cleanupOldSessions(1);
        assertState(sessionId, ISessionManager.SessionState.CLOSED);
    }

    // ───────────────────────────────────────── administration ────────────────────────────────────────

    function test_GivenASuccessorWhoHasNotAccepted() external {
        vm.prank(admin.addr);
        manager.transferOwnership(bob.addr);
        vm.assertEq(manager.owner(), admin.addr);
        vm.prank(bob.addr);
        manager.acceptOwnership();
        vm.assertEq(manager.owner(), bob.addr);
    }

    // ───────────────────────────────────────────── purses ────────────────────────────────────────────

    function test_RevertWhen_AnybodyButTheManagerUsesAPurse() external {
        uint256 sessionId = create(ann, MIN);
        Purse purse = Purse(manager.purseOf(ann.addr));
        // Its user neither: what the manager knows of the sessions would no longer be true.
        vm.startPrank(ann.addr);
        expectOnlyManager();
        purse.fund(0, 0);
        expectOnlyManager();
        purse.ask(sessionId, hello());
        expectOnlyManager();
        purse.close(sessionId, ann.addr);
        expectOnlyManager();
        purse.payOut(ann.addr, 0);
    }

    // ─────────────────────────────────────────────────────────────────────────────────────────────────

    function assertRefused(
        ISessionManager.Config memory bad,
        string memory name,
        uint256 value,
        uint256 min,
        uint256 max
    ) private {
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_ConfigOutOfRange.selector, name, value, min, max)
        );
        vm.prank(admin.addr);
        manager.updateConfig(bad);
    }

    function expectOnlyManager() private {
        vm.expectRevert(abi.encodeWithSelector(Purse.Purse_OnlyManager.selector, ann.addr));
    }
}
