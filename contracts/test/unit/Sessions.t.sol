// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {WalletMock} from "../kit/Askers.sol";
import {Fixture} from "../kit/Fixture.sol";
import {FeeTokenMock, TetherMock} from "../kit/Tokens.sol";

contract SessionsTest is Fixture {
    function deposit(Person memory payer, uint256 amount) private {
        address target = ai.feeTargetOf(payer.addr);
        token.mint(payer.addr, amount);
        vm.prank(payer.addr);
        token.transfer(target, amount);
    }

    function assertSession(uint256 sessionId, address sessionOwner, uint256 available) private view {
        (address owner_, uint256 available_, uint256 held, bool open) = ai.sessionOf(sessionId);
        vm.assertEq(owner_, sessionOwner);
        vm.assertEq(available_, available);
        vm.assertEq(held, 0);
        vm.assertTrue(open);
    }

    // ─────────────────────────────────────────── feeTarget ───────────────────────────────────────────

    function test_RevertWhen_NobodyAsksForTheFeeTarget() external {
        vm.expectRevert(IDtnAiEvents.DtnAi_NoCaller.selector);
        vm.prank(address(0));
        ai.feeTarget();
    }

    function test_WhenTwoOwnersAskForTheirFeeTargets() external {
        vm.prank(owner.addr);
        address mine = ai.feeTarget();
        vm.prank(thief.addr);
        address other = ai.feeTarget();
        vm.assertNotEq(mine, other);
        vm.assertEq(mine, ai.feeTargetOf(owner.addr));
    }

    // ──────────────────────────────── startUserSession from the deposit address ──────────────────────

    function test_RevertGiven_NothingWasDeposited() external {
        address target = ai.feeTargetOf(owner.addr);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_NothingDeposited.selector, owner.addr, target));
        vm.prank(owner.addr);
        ai.startUserSession();
    }

    function test_GivenTheFirstDepositOfAnOwner() external {
        deposit(owner, 5 * USD);
        vm.prank(owner.addr);
        uint256 sessionId = ai.startUserSession();
        assertSession(sessionId, owner.addr, 5 * USD);
        vm.assertEq(token.balanceOf(ai.feeTargetOf(owner.addr)), 0);
        vm.assertEq(token.balanceOf(address(ai)), 5 * USD);
    }

    /// @dev Spec A2: a shared fee target that credits whoever calls next fails this.
    function test_GivenDepositsOfTwoOwnersInterleave() external {
        deposit(owner, 5 * USD);
        deposit(thief, 1);
        vm.prank(thief.addr);
        uint256 theirs = ai.startUserSession();
        vm.prank(owner.addr);
        uint256 mine = ai.startUserSession();
        assertSession(theirs, thief.addr, 1);
        assertSession(mine, owner.addr, 5 * USD);
    }

    function test_GivenALaterDepositOfAnOwner() external {
        deposit(owner, 5 * USD);
        vm.prank(owner.addr);
        uint256 first = ai.startUserSession();
        deposit(owner, 7 * USD);
        vm.prank(owner.addr);
        uint256 second = ai.startUserSession();
        assertSession(first, owner.addr, 5 * USD);
        assertSession(second, owner.addr, 7 * USD);
    }

    // ───────────────────────────────────── startUserSession by allowance ─────────────────────────────

    function test_RevertWhen_TheAmountIsZero() external {
        vm.expectRevert(IDtnAiEvents.DtnAi_AmountZero.selector);
        start(0);
    }

    function test_RevertGiven_NoAllowance() external {
        token.mint(thief.addr, USD);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(ai), 0, USD));
        vm.prank(thief.addr);
        ai.startUserSession(USD);
    }

    function test_RevertGiven_ATokenThatTakesAFee() external {
        (IDtn other, TetherMock taker) = withToken(new FeeTokenMock());
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_TransferInexact.selector, 100, 99));
        vm.prank(owner.addr);
        other.startUserSession(100);
        vm.assertEq(taker.balanceOf(address(other)), 0);
    }

    function test_GivenATokenThatReturnsNothing() external {
        (IDtn other,) = withToken(new TetherMock(6));
        vm.startPrank(owner.addr);
        uint256 sessionId = other.startUserSession(100);
        (, uint256 available,,) = other.sessionOf(sessionId);
        vm.assertEq(available, 100);
        other.closeUserSession(sessionId);
        vm.stopPrank();
    }

    function test_RevertWhen_TheAmountDoesNotFitTheBooks() external {
        uint256 amount = uint256(type(uint96).max) + 1;
        token.mint(owner.addr, amount);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_AmountTooLarge.selector, amount, type(uint96).max));
        start(amount);
    }

    function test_GivenAnAllowance() external {
        uint256 expected = (uint256(uint160(owner.addr)) << 96) | 1;
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.SessionStarted(expected, owner.addr, 5 * USD);
        uint256 sessionId = start(5 * USD);
        vm.assertEq(sessionId, expected);
        assertSession(sessionId, owner.addr, 5 * USD);
    }

    // ───────────────────────────────────── startUserSessionWithPermit ────────────────────────────────

    function test_GivenAPermitNobodyUsed() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(thief, USD);
        vm.prank(thief.addr);
        assertSession(ai.startUserSessionWithPermit(USD, block.timestamp, v, r, s), thief.addr, USD);
    }

    function test_GivenAPermitSomebodyElseSubmittedFirst() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(thief, USD);
        token.permit(thief.addr, address(ai), USD, block.timestamp, v, r, s);
        vm.prank(thief.addr);
        assertSession(ai.startUserSessionWithPermit(USD, block.timestamp, v, r, s), thief.addr, USD);
    }

    function test_RevertGiven_APermitOfSomebodyElse() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(thief, USD);
        vm.expectRevert();
        vm.prank(admin.addr);
        ai.startUserSessionWithPermit(USD, block.timestamp, v, r, s);
    }

    // ────────────────────────────────── startUserSessionWithAuthorization ────────────────────────────

    function test_GivenAnAuthorizationThatAnyoneSubmits() external {
        bytes memory signature = sign(owner, authorization(owner.addr, USD));
        vm.prank(thief.addr);
        uint256 sessionId =
            ai.startUserSessionWithAuthorization(owner.addr, USD, 0, block.timestamp + 1, bytes32(0), signature);
        assertSession(sessionId, owner.addr, USD);
    }

    function test_GivenAnAuthorizationOfAContractWallet() external {
        address wallet = address(new WalletMock(owner.addr));
        token.mint(wallet, USD);
        bytes memory signature = sign(owner, authorization(wallet, USD));
        uint256 sessionId =
            ai.startUserSessionWithAuthorization(wallet, USD, 0, block.timestamp + 1, bytes32(0), signature);
        assertSession(sessionId, wallet, USD);
    }

    function test_RevertGiven_AnAuthorizationThatWasUsedBefore() external {
        bytes memory signature = sign(owner, authorization(owner.addr, USD));
        ai.startUserSessionWithAuthorization(owner.addr, USD, 0, block.timestamp + 1, bytes32(0), signature);
        vm.expectRevert();
        ai.startUserSessionWithAuthorization(owner.addr, USD, 0, block.timestamp + 1, bytes32(0), signature);
    }

    // ────────────────────────────────────────── fundSession ──────────────────────────────────────────

    function test_RevertWhen_FundingASessionThatDoesNotExist() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionNotFound.selector, 7, owner.addr));
        vm.prank(owner.addr);
        ai.fundSession(7, 1);
    }

    function test_RevertWhen_FundingAClosedSession() external {
        uint256 sessionId = start(USD);
        vm.startPrank(owner.addr);
        ai.closeUserSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionAlreadyClosed.selector, sessionId));
        ai.fundSession(sessionId, 1);
        vm.stopPrank();
    }

    function test_RevertWhen_FundingWithNothing() external {
        uint256 sessionId = start(USD);
        vm.expectRevert(IDtnAiEvents.DtnAi_AmountZero.selector);
        vm.prank(owner.addr);
        ai.fundSession(sessionId, 0);
    }

    function test_WhenSomebodyElseFundsASession() external {
        uint256 sessionId = start(USD);
        token.mint(thief.addr, 3);
        vm.startPrank(thief.addr);
        token.approve(address(ai), 3);
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.SessionFunded(sessionId, thief.addr, 3);
        ai.fundSession(sessionId, 3);
        vm.stopPrank();
        assertSession(sessionId, owner.addr, USD + 3);
    }

    function test_GivenADepositToFundWith() external {
        uint256 sessionId = start(USD);
        deposit(owner, 9);
        vm.prank(owner.addr);
        ai.fundSession(sessionId);
        assertSession(sessionId, owner.addr, USD + 9);
    }

    function test_RevertGiven_NoDepositToFundWith() external {
        uint256 sessionId = start(USD);
        address target = ai.feeTargetOf(owner.addr);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_NothingDeposited.selector, owner.addr, target));
        vm.prank(owner.addr);
        ai.fundSession(sessionId);
    }

    // ──────────────────────────────────────── closeUserSession ───────────────────────────────────────

    /// @dev Spec A5.
    function test_RevertWhen_TheSessionIsOfSomebodyElse() external {
        uint256 sessionId = start(USD);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionNotFound.selector, sessionId, thief.addr));
        vm.prank(thief.addr);
        ai.closeUserSession(sessionId);
    }

    function test_RevertWhen_TheSessionNeverWas() external {
        uint256 never = (uint256(uint160(owner.addr)) << 96) | 99;
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionNotFound.selector, never, owner.addr));
        vm.prank(owner.addr);
        ai.closeUserSession(never);
    }

    function test_RevertWhen_TheIdIsForgedFromAStrangersNumber() external {
        uint256 forged = (uint256(uint160(thief.addr)) << 96) | uint64(start(USD));
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionNotFound.selector, forged, thief.addr));
        vm.prank(thief.addr);
        ai.closeUserSession(forged);
    }

    /// @dev Spec A9.
    function test_RevertWhen_TheSessionIsClosedAlready() external {
        uint256 sessionId = start(USD);
        vm.startPrank(owner.addr);
        ai.closeUserSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionAlreadyClosed.selector, sessionId));
        ai.closeUserSession(sessionId);
        vm.stopPrank();
    }

    function test_GivenNothingInFlight() external {
        uint256 before = token.balanceOf(owner.addr);
        uint256 sessionId = start(USD);
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.SessionClosed(sessionId, owner.addr, USD, 0);
        vm.prank(owner.addr);
        ai.closeUserSession(sessionId);
        vm.assertEq(token.balanceOf(owner.addr), before);
    }

    /// @dev Spec A6.
    function test_GivenARequestInFlight() external {
        uint256 before = token.balanceOf(owner.addr);
        uint256 sessionId = start(USD);
        (, bytes memory terms) = ask(sessionId);
        (,, uint256 held,) = ai.sessionOf(sessionId);
        vm.assertTrue(held > 0);
        vm.prank(owner.addr);
        ai.closeUserSession(sessionId);
        vm.assertEq(token.balanceOf(owner.addr), before - held);
        respond(terms, success("ok"));
        vm.assertEq(token.balanceOf(owner.addr), before - ai.earned(nodeIds[0]));
        vm.assertEq(token.balanceOf(address(ai)), ai.earned(nodeIds[0]));
    }

    function test_GivenATokenThatRefusesTheOwner() external {
        (IDtn other, TetherMock tether) = withToken(new TetherMock(6));
        vm.prank(owner.addr);
        uint256 sessionId = other.startUserSession(100);
        tether.setBlocked(owner.addr, true);
        vm.expectEmit(address(other));
        emit IDtnAiEvents.RefundClaimable(owner.addr, 100, 0);
        vm.prank(owner.addr);
        other.closeUserSession(sessionId);
        (uint256 tokens,) = other.claimable(owner.addr);
        vm.assertEq(tokens, 100);
        vm.prank(owner.addr);
        other.claimRefund(payable(admin.addr));
        vm.assertEq(tether.balanceOf(admin.addr), 100);
    }

    // ────────────────────────────────────────── claimRefund ──────────────────────────────────────────

    function test_RevertGiven_NothingToClaim() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_NothingToClaim.selector, thief.addr));
        vm.prank(thief.addr);
        ai.claimRefund(payable(thief.addr));
    }

    function test_RevertGiven_ATokenThatStillRefuses() external {
        (IDtn other, TetherMock tether) = withToken(new TetherMock(6));
        vm.prank(owner.addr);
        uint256 sessionId = other.startUserSession(100);
        tether.setBlocked(owner.addr, true);
        vm.startPrank(owner.addr);
        other.closeUserSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_PaymentRefused.selector, owner.addr, 100, 0));
        other.claimRefund(payable(owner.addr));
        vm.stopPrank();
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function withToken(TetherMock other) private returns (IDtn deployed, TetherMock) {
        deployed = deployAi(address(other), admin.addr);
        other.mint(owner.addr, 1_000);
        vm.prank(owner.addr);
        other.approve(address(deployed), type(uint256).max);
        return (deployed, other);
    }

    function permit(Person memory payer, uint256 amount) private returns (uint8 v, bytes32 r, bytes32 s) {
        token.mint(payer.addr, amount);
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 hash = keccak256(abi.encode(typehash, payer.addr, address(ai), amount, 0, block.timestamp));
        return vm.sign(payer.key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), hash)));
    }

    function authorization(address payer, uint256 amount) private view returns (bytes32) {
        return token.authorizationDigest(payer, address(ai), amount, 0, block.timestamp + 1, bytes32(0));
    }
}
