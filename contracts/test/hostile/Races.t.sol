// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {WalletMock} from "../kit/Askers.sol";
import {Fixture} from "../kit/Fixture.sol";

/// @notice Somebody sees a transaction before it is in a block, and is there first.
contract RacesTest is Fixture {
    // ─────────────────────────────────────────── deposits ────────────────────────────────────────────

    function test_SomebodyStartsBeforeTheDepositor() external {
        token.mint(ai.feeTargetOf(owner.addr), 5 * USD);
        vm.expectRevert(
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_NothingDeposited.selector, thief.addr, ai.feeTargetOf(thief.addr))
        );
        vm.prank(thief.addr);
        ai.startUserSession();
        vm.prank(owner.addr);
        assertSession(ai.startUserSession(), owner.addr, 5 * USD);
    }

    /// @dev A unit sent ahead makes the session larger, and keeps nothing from starting.
    function test_SomebodySendsDustAhead() external {
        token.mint(ai.feeTargetOf(owner.addr), 5 * USD);
        token.mint(ai.feeTargetOf(owner.addr), 1);
        vm.prank(owner.addr);
        assertSession(ai.startUserSession(), owner.addr, 5 * USD + 1);
        token.mint(address(ai), 1);
        assertSession(start(USD), owner.addr, USD);
    }

    /// @dev The allowance that a stolen permit gives is of use to its signer only.
    function test_SomebodyUsesAPermit() external {
        (uint8 v, bytes32 r, bytes32 s) = permit(owner, USD);
        token.permit(owner.addr, address(ai), USD, block.timestamp, v, r, s);
        vm.expectRevert();
        vm.prank(thief.addr);
        ai.startUserSessionWithPermit(USD, block.timestamp, v, r, s);
        vm.prank(owner.addr);
        assertSession(ai.startUserSessionWithPermit(USD, block.timestamp, v, r, s), owner.addr, USD);
    }

    /// @dev EIP-3009 lets only the receiver submit; whoever submits to it, the signer owns what starts.
    function test_SomebodySubmitsAnAuthorization() external {
        bytes32 digest = token.authorizationDigest(owner.addr, address(ai), USD, 0, block.timestamp + 1, bytes32(0));
        bytes memory signature = sign(owner, digest);
        vm.expectRevert();
        vm.prank(thief.addr);
        token.receiveWithAuthorization(owner.addr, address(ai), USD, 0, block.timestamp + 1, bytes32(0), signature);
        vm.prank(thief.addr);
        uint256 sessionId =
            ai.startUserSessionWithAuthorization(owner.addr, USD, 0, block.timestamp + 1, bytes32(0), signature);
        assertSession(sessionId, owner.addr, USD);
        vm.expectRevert();
        vm.prank(thief.addr);
        ai.startUserSessionWithAuthorization(thief.addr, USD, 0, block.timestamp + 1, bytes32(0), signature);
    }

    // ──────────────────────────────────────────── answers ────────────────────────────────────────────

    /// @dev Nodes that are named cannot be forestalled: another's copy of the answer is refused.
    function test_AnotherNodeCopiesAnAnswerToNamedNodes() external {
        (bytes32 id, bytes memory terms) = ask(start(USD), namedRouting(IDtnAi.AggregationType.ANY, 1), options(), 0);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NodeNotTrusted.selector, id, nodeIds[1]));
        vm.prank(operators[1].addr);
        ai.respondToRequest(terms, nodeIds[1], success("copied"));
        respond(terms, success("copied"));
    }

    /// @dev In a namespace they can (README, what is trusted to whom): one of the two is paid, once.
    function test_AnotherNodeCopiesAnAnswerToANamespace() external {
        uint256 sessionId = start(USD);
        (bytes32 id, bytes memory terms) = ask(sessionId);
        vm.prank(operators[1].addr);
        ai.respondToRequest(terms, nodeIds[1], success("copied"));
        vm.expectRevert(
            abi.encodeWithSelector(IDtnNodes.DtnAi_RequestSettled.selector, id, IDtnAi.ResponseStatus.SUCCESS)
        );
        respond(terms, success("copied"));
        vm.assertEq(ai.earned(nodeIds[0]), 0);
        vm.assertGe(ai.earned(nodeIds[1]), 1);
    }

    /// @dev Seals are worth the same whoever relays them: their nodes are paid.
    function test_SomebodyRelaysSealsFirst() external {
        (, bytes memory terms) = ask(start(USD), routing(IDtnAi.AggregationType.ALL, 3), options(), 0);
        IDtnNodes.Seal[] memory given = seals(terms, success("ok"), 3);
        vm.prank(thief.addr);
        ai.respondToRequest(terms, success("ok"), given);
        vm.assertEq(ai.earned(nodeIds[2]), ai.earned(nodeIds[0]));
    }

    /// @dev Seals of one request say nothing for the next, however alike the two are.
    function test_SealsAreGivenForAnotherRequest() external {
        uint256 sessionId = start(USD);
        (, bytes memory terms) = ask(sessionId, routing(IDtnAi.AggregationType.ALL, 2), options(), 0);
        (, bytes memory next) = ask(sessionId, routing(IDtnAi.AggregationType.ALL, 2), options(), 0);
        IDtnNodes.Seal[] memory given = seals(terms, success("ok"), 2);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_SignatureInvalid.selector, nodeIds[0]));
        ai.respondToRequest(next, success("ok"), given);
    }

    /// @dev A node's operator that is a contract, by ERC-1271, relayed; and answering alone, by itself.
    function test_AWalletOperatesANode() external {
        WalletMock wallet = new WalletMock(operators[0].addr);
        vm.prank(operators[0].addr);
        ai.transferNode(nodeIds[0], address(wallet));
        uint256 sessionId = start(USD);
        (, bytes memory terms) = ask(sessionId);
        wallet.execute(
            address(ai),
            abi.encodeWithSignature(
                "respondToRequest(bytes,bytes32,(uint8,string,bytes))", terms, nodeIds[0], success("ok")
            )
        );
        (, terms) = ask(sessionId);
        ai.respondToRequest(terms, success("ok"), seals(terms, success("ok"), 1));
        uint256 earned = ai.earned(nodeIds[0]);
        wallet.execute(address(ai), abi.encodeCall(IDtnNodes.withdraw, (nodeIds[0], address(wallet))));
        vm.assertEq(token.balanceOf(address(wallet)), earned);
    }

    // ─────────────────────────────────────── in the same moment ──────────────────────────────────────

    function test_TheSameIsAskedTwiceInABlock() external {
        uint256 sessionId = start(USD);
        (bytes32 first, bytes memory terms) = ask(sessionId);
        (bytes32 second, bytes memory next) = ask(sessionId);
        vm.assertNotEq(first, second);
        respond(terms, success("one"));
        respond(next, success("other"));
        vm.assertEq(ai.earned(nodeIds[0]), 2 * 25 * FEE_REQ + 8 * FEE_RES);
    }

    /// @dev At the deadline's second nodes may answer and nobody expire; a second later the other way round.
    function test_AnAnswerAndAnExpiryMeetAtTheDeadline() external {
        uint256 sessionId = start(USD);
        (, bytes memory terms) = ask(sessionId);
        (, bytes memory next) = ask(sessionId);
        uint256 deadline = termsOf(terms).deadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_DeadlineNotPassed.selector, deadline, deadline));
        ai.expire(terms);
        respond(terms, success("ok"));
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_DeadlinePassed.selector, deadline, deadline + 1));
        respond(next, success("ok"));
        ai.expire(next);
        vm.expectRevert(
            abi.encodeWithSelector(IDtnNodes.DtnAi_RequestSettled.selector, idOf(next), IDtnAi.ResponseStatus.TIMEOUT)
        );
        ai.expire(next);
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function assertSession(uint256 sessionId, address expected, uint256 amount) private view {
        (address sessionOwner, uint256 available,, bool open) = ai.sessionOf(sessionId);
        vm.assertTrue(open);
        vm.assertEq(sessionOwner, expected);
        vm.assertEq(available, amount);
    }

    function permit(Person memory payer, uint256 amount) private returns (uint8 v, bytes32 r, bytes32 s) {
        vm.prank(payer.addr);
        token.approve(address(ai), 0);
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 hash = keccak256(abi.encode(typehash, payer.addr, address(ai), amount, 0, block.timestamp));
        return vm.sign(payer.key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), hash)));
    }
}
