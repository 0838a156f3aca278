// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Fixture} from "../kit/Fixture.sol";
import {TetherMock, TokenMock} from "../kit/Tokens.sol";

/// @notice Fee tokens as they are, and as they should not be. With each, money goes in, is spent, and comes out, to the
/// unit; or it cannot go in.
contract TokensTest is Fixture {
    OddToken private odd;
    uint256 private sessionId;

    function setUp() public override {
        super.setUp();
        use(new OddToken(6));
    }

    // ───────────────────────────────────── what transfers return ─────────────────────────────────────

    function test_NothingIsReturned() external {
        odd.setReturn(OddToken.Says.NOTHING);
        goesInAndOut();
    }

    /// @dev USDT on TRON says false when it has paid.
    function test_FalseIsReturnedOnSuccess() external {
        odd.setReturn(OddToken.Says.FALSE);
        goesInAndOut();
    }

    function test_KilobytesAreReturned() external {
        odd.setReturn(OddToken.Says.KILOBYTES);
        goesInAndOut();
    }

    /// @dev Tokens of before 2018 say false, and do nothing, where others revert.
    function test_FalseIsReturnedInsteadOfARevert() external {
        odd.setReturn(OddToken.Says.FALSE);
        odd.setDeed(OddToken.Deed.DO_NOTHING);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_TransferInexact.selector, USD, 0));
        vm.prank(owner.addr);
        ai.startUserSession(USD);
        odd.setDeed(OddToken.Deed.MOVE);
        sessionId = start(USD);
        odd.setDeed(OddToken.Deed.DO_NOTHING);
        close();
        assertClaimable(USD);
    }

    // ──────────────────────────────────────────── refusals ───────────────────────────────────────────

    function test_TheOwnerIsBlockedWhileClosing() external {
        sessionId = start(USD);
        odd.setBlocked(owner.addr, true);
        close();
        assertClaimable(USD);
        vm.prank(owner.addr);
        ai.claimRefund(payable(admin.addr));
        vm.assertEq(odd.balanceOf(admin.addr), USD);
        vm.assertEq(odd.balanceOf(address(ai)), 0);
    }

    function test_TheOwnerIsBlockedWhileARequestSettles() external {
        sessionId = start(USD);
        (, bytes memory terms) = ask(sessionId);
        close();
        odd.setBlocked(owner.addr, true);
        respond(terms, success("ok"));
        assertClaimable(FEE_RES_MAX - 2 * FEE_RES);
    }

    /// @dev Frozen, as USDT can: everything settles, and is there when it thaws.
    function test_TheContractIsBlocked() external {
        sessionId = start(USD);
        (, bytes memory terms) = ask(sessionId);
        odd.setBlocked(address(ai), true);
        respond(terms, success("ok"));
        close();
        uint256 earned = ai.earned(nodeIds[0]);
        assertClaimable(USD - earned);
        vm.expectRevert(
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_PaymentRefused.selector, operators[0].addr, earned, 0)
        );
        vm.prank(operators[0].addr);
        ai.withdraw(nodeIds[0], operators[0].addr);
        odd.setBlocked(address(ai), false);
        vm.prank(operators[0].addr);
        ai.withdraw(nodeIds[0], operators[0].addr);
        vm.prank(owner.addr);
        ai.claimRefund(payable(owner.addr));
        vm.assertEq(odd.balanceOf(address(ai)), 0);
    }

    // ──────────────────────────────────── what arrives is not what left ──────────────────────────────

    function test_AFeeOnTheWayIn() external {
        odd.setDeed(OddToken.Deed.TAKE_FEE);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_TransferInexact.selector, USD, USD - USD / 100));
        start(USD);
    }

    /// @dev USDT can begin to take one: what lies at a deposit address comes in, less the fee.
    function test_AFeeOnTheWayFromTheDepositAddress() external {
        odd.mint(ai.feeTargetOf(owner.addr), USD);
        odd.setDeed(OddToken.Deed.TAKE_FEE);
        vm.prank(owner.addr);
        sessionId = ai.startUserSession();
        assertAvailable(USD - USD / 100);
    }

    function test_AFeeOnTheWayOut() external {
        sessionId = start(USD);
        uint256 before = odd.balanceOf(owner.addr);
        odd.setDeed(OddToken.Deed.TAKE_FEE);
        close();
        vm.assertEq(odd.balanceOf(owner.addr), before + USD - USD / 100);
        vm.assertEq(odd.balanceOf(address(ai)), 0);
    }

    /// @dev What such a token would take of others' money is not paid at all.
    function test_AFeeOnTopOfWhatIsPaid() external {
        sessionId = start(USD);
        odd.mint(address(ai), USD);
        odd.setDeed(OddToken.Deed.TAKE_MORE);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_TransferInexact.selector, USD, USD + USD / 100));
        vm.prank(owner.addr);
        ai.closeUserSession(sessionId);
    }

    /// @dev Nobody gets another's: what is missing is missing to who comes last.
    function test_BalancesShrink() external {
        sessionId = start(USD);
        uint256 second = start(USD);
        odd.burn(address(ai), 1);
        close();
        sessionId = second;
        close();
        assertClaimable(USD);
        vm.expectRevert();
        vm.prank(owner.addr);
        ai.claimRefund(payable(owner.addr));
        odd.mint(address(ai), 1);
        vm.prank(owner.addr);
        ai.claimRefund(payable(owner.addr));
    }

    // ──────────────────────────────────── receivers that are told (ERC-777) ──────────────────────────

    /// @dev Else an owner who has closed its session could keep a node from being paid for what it has read by then.
    function test_TheOwnerGivesSomeBackAsItIsPaid() external {
        Receiver receiver = closedWithARequest(Receiver.Deed.GIVE_BACK);
        (uint256 tokens,) = ai.claimable(address(receiver));
        vm.assertEq(tokens, 1);
        vm.assertEq(odd.balanceOf(address(ai)), ai.earned(nodeIds[0]) + 1);
    }

    function test_TheOwnerGivesMoreBackThanItIsPaid() external {
        Receiver receiver = closedWithARequest(Receiver.Deed.GIVE_MORE_BACK);
        (uint256 tokens,) = ai.claimable(address(receiver));
        vm.assertEq(tokens, FEE_RES_MAX - 2 * FEE_RES);
        vm.assertEq(odd.balanceOf(address(ai)), ai.earned(nodeIds[0]) + tokens + 1);
    }

    function test_TheOwnerBurnsAllGasAsItIsPaid() external {
        uint256 before = gasleft();
        Receiver receiver = closedWithARequest(Receiver.Deed.BURN);
        vm.assertLe(before - gasleft(), 4_000_000);
        (uint256 tokens,) = ai.claimable(address(receiver));
        vm.assertEq(tokens, FEE_RES_MAX - 2 * FEE_RES);
    }

    // ──────────────────────────────────────────── decimals ───────────────────────────────────────────

    function test_NoDecimals() external {
        use(new OddToken(0));
        goesInAndOut();
    }

    function test_EighteenDecimals() external {
        use(new OddToken(18));
        goesInAndOut();
    }

    function test_TwentyFourDecimals() external {
        address fine = address(new TokenMock(24));
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_TokenNotSupported.selector, fine, 24));
        this.deployFor(fine);
    }

    // ────────────────────────────────────────── huge balances ────────────────────────────────────────

    /// @dev A session takes what it can hold; the rest stays at the deposit address for the next.
    function test_ADepositThatNoSessionCanHold() external {
        address target = ai.feeTargetOf(owner.addr);
        odd.mint(target, uint256(type(uint96).max) + 5);
        vm.startPrank(owner.addr);
        sessionId = ai.startUserSession();
        assertAvailable(type(uint96).max);
        vm.assertEq(odd.balanceOf(target), 5);
        vm.expectRevert(
            abi.encodeWithSelector(
                IDtnAiEvents.DtnAi_AmountTooLarge.selector, uint256(type(uint96).max) + 5, type(uint96).max
            )
        );
        ai.fundSession(sessionId);
        sessionId = ai.startUserSession();
        vm.stopPrank();
        assertAvailable(5);
    }

    function test_AllThatASessionCanHoldIsAskedWithAndComesBack() external {
        odd.mint(owner.addr, type(uint96).max);
        sessionId = start(type(uint96).max);
        (, bytes memory terms) = ask(sessionId);
        vm.expectRevert();
        vm.prank(owner.addr);
        ai.fundSession(sessionId, 1);
        vm.warp(termsOf(terms).deadline + 1);
        ai.expire(terms);
        close();
        vm.assertEq(odd.balanceOf(address(ai)), 0);
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function deployFor(address feeToken) external returns (IDtn) {
        return deployAi(feeToken, admin.addr);
    }

    /// @dev The AI contract of the fixture, on another token.
    function use(OddToken other) private {
        odd = other;
        ai = deployAi(address(odd), admin.addr);
        vm.startPrank(admin.addr);
        ai.setModel(MODEL, IDtnNodes.Model({feePerByteReq: 10, feePerByteRes: 20, totalFeePerRes: 1_000, apis: 3}));
        for (uint256 i = 0; i < 7; i++) {
            string memory name = string.concat("node-", vm.toString(i));
            ai.registerNode("system", name, person(name).addr);
        }
        vm.stopPrank();
        odd.mint(owner.addr, 1_000 * USD);
        vm.prank(owner.addr);
        odd.approve(address(ai), type(uint256).max);
    }

    /// @dev By allowance and by deposit; spent on an answer, an expiry, and in flight while closing.
    function goesInAndOut() private {
        uint256 before = odd.balanceOf(owner.addr);
        sessionId = start(USD);
        vm.startPrank(owner.addr);
        odd.transfer(ai.feeTargetOf(owner.addr), 7);
        ai.fundSession(sessionId);
        vm.stopPrank();
        bytes[3] memory terms;
        for (uint256 i = 0; i < 3; i++) {
            (, terms[i]) = ask(sessionId);
        }
        respond(terms[0], success("ok"));
        close();
        respond(terms[1], failure("no"));
        vm.warp(termsOf(terms[2]).deadline + 1);
        ai.expire(terms[2]);
        uint256 earned = ai.earned(nodeIds[0]);
        vm.assertEq(odd.balanceOf(owner.addr), before - earned);
        vm.prank(operators[0].addr);
        ai.withdraw(nodeIds[0], thief.addr);
        vm.assertEq(odd.balanceOf(thief.addr), earned);
        vm.assertEq(odd.balanceOf(address(ai)), 0);
    }

    /// @dev An owner that is told of payments asks, closes, and is answered.
    function closedWithARequest(Receiver.Deed deed) private returns (Receiver receiver) {
        receiver = new Receiver(odd, address(ai));
        odd.mint(address(receiver), USD);
        odd.tell(address(receiver));
        vm.startPrank(address(receiver));
        odd.approve(address(ai), USD);
        sessionId = ai.startUserSession(holdOf("?"));
        vm.recordLogs();
        ai.request(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question("?"),
            callbackTo(address(0)),
            owner.addr,
            0
        );
        ai.closeUserSession(sessionId);
        vm.stopPrank();
        receiver.setDeed(deed);
        // So little that what a call keeps back (a 64th) would not do for the rest.
        bytes memory data = abi.encodeWithSignature(
            "respondToRequest(bytes,bytes32,(uint8,string,bytes))", publishedTerms(), nodeIds[0], success("ok")
        );
        vm.prank(operators[0].addr);
        (bool done,) = address(ai).call{gas: 700_000}(data);
        vm.assertTrue(done, "an owner kept its node from being paid");
        vm.assertEq(ai.earned(nodeIds[0]), FEE_REQ + 2 * FEE_RES);
    }

    function close() private {
        vm.prank(owner.addr);
        ai.closeUserSession(sessionId);
    }

    function assertClaimable(uint256 expected) private view {
        (uint256 tokens,) = ai.claimable(owner.addr);
        vm.assertEq(tokens, expected);
    }

    function assertAvailable(uint256 expected) private view {
        (, uint256 available,,) = ai.sessionOf(sessionId);
        vm.assertEq(available, expected);
    }
}

/// @notice A token that moves and answers as it was told to.
contract OddToken is TetherMock {
    enum Says {
        NOTHING,
        FALSE,
        KILOBYTES
    }
    enum Deed {
        MOVE,
        DO_NOTHING,
        TAKE_FEE,
        TAKE_MORE
    }

    Says private says;
    Deed private deed;
    address private told;

    constructor(uint8 decimals_) TetherMock(decimals_) {}

    function setReturn(Says newSays) external {
        says = newSays;
    }

    function setDeed(Deed newDeed) external {
        deed = newDeed;
    }

    function tell(address receiver) external {
        told = receiver;
    }

    function burn(address from, uint256 amount) external {
        balanceOf[from] -= amount;
    }

    function _move(address from, address to, uint256 amount) internal override {
        if (deed != Deed.DO_NOTHING) super._move(from, to, amount);
        if (deed == Deed.TAKE_FEE) balanceOf[to] -= amount / 100;
        if (deed == Deed.TAKE_MORE) balanceOf[from] -= amount / 100;
        if (to == told) Receiver(to).onTokens(amount);
        if (says == Says.NOTHING) return;
        uint256 size = says == Says.FALSE ? 32 : 1 << 16;
        assembly {
            mstore(0, 0)
            return(0, size)
        }
    }
}

/// @notice Is told when it is paid, and makes something of it.
contract Receiver {
    enum Deed {
        KEEP,
        GIVE_BACK,
        GIVE_MORE_BACK,
        BURN
    }

    OddToken private immutable TOKEN;
    address private immutable AI;
    Deed private deed;

    constructor(OddToken token, address ai) {
        (TOKEN, AI) = (token, ai);
    }

    function setDeed(Deed newDeed) external {
        deed = newDeed;
    }

    function onTokens(uint256 amount) external {
        if (deed == Deed.BURN) while (true) {}
        if (deed == Deed.GIVE_BACK) TOKEN.transfer(AI, 1);
        if (deed == Deed.GIVE_MORE_BACK) TOKEN.transfer(AI, amount + 1);
    }
}
