// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {AskerMock, WalletMock} from "../kit/Askers.sol";
import {Fixture} from "../kit/Fixture.sol";

/// @notice Every call a transaction of its own, as on a chain: transient storage, where the last response lies, is empty.
/// forge-config: default.isolate = true
contract ResponsesTest is Fixture {
    uint256 private constant DEPOSIT = 100 * USD;
    uint256 private constant REQUEST_FEE = 25 * FEE_REQ;
    bytes private constant CALL = "What is the weather like?";

    uint256 private sessionId;
    bytes32 private id;
    bytes private terms;

    function setUp() public override {
        super.setUp();
        sessionId = start(DEPOSIT);
        (id, terms) = ask(sessionId);
    }

    // ────────────────────────────────── respondToRequest by one node ─────────────────────────────────

    function test_RevertWhen_TheTermsWereNeverPublished() external {
        bytes memory forged = terms;
        forged[200] = ~forged[200];
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_RequestNotFound.selector, idOf(forged)));
        respond(forged, success("ok"));
    }

    function test_RevertWhen_TheTermsAreTooShort() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_TermsTooShort.selector, 3));
        respond("abc", success("ok"));
    }

    function test_RevertWhen_TheCallerDoesNotOperateTheNode() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotOperator.selector, nodeIds[0], thief.addr));
        vm.prank(thief.addr);
        ai.respondToRequest(terms, nodeIds[0], success("ok"));
    }

    function test_RevertWhen_TheNodeIsNotTrusted() external {
        vm.startPrank(thief.addr);
        ai.registerNamespace("thieves");
        bytes32 nodeId = ai.registerNode("thieves", "one", thief.addr);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NodeNotTrusted.selector, id, nodeId));
        ai.respondToRequest(terms, nodeId, success("ok"));
        vm.stopPrank();
    }

    function test_RevertWhen_TheNodeWasRetiredFromTheTrustedNamespace() external {
        vm.prank(admin.addr);
        ai.retireNode(nodeIds[0]);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NodeNotTrusted.selector, id, nodeIds[0]));
        respond(terms, success("ok"));
    }

    function test_RevertWhen_TheDeadlineHasPassed() external {
        uint256 deadline = termsOf(terms).deadline;
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_DeadlinePassed.selector, deadline, deadline + 1));
        respond(terms, success("ok"));
    }

    function test_RevertWhen_TheRequestWasAnsweredBefore() external {
        respond(terms, success("ok"));
        vm.expectRevert(
            abi.encodeWithSelector(IDtnNodes.DtnAi_RequestSettled.selector, id, IDtnAi.ResponseStatus.SUCCESS)
        );
        respond(terms, success("ok"));
    }

    function test_RevertWhen_SeveralMustSign() external {
        (, bytes memory all) = ask(sessionId, routing(IDtnAi.AggregationType.ALL, 2), options(), 0);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_QuorumNotMet.selector, 1, 2, 2));
        respond(all, success("ok"));
    }

    function test_RevertWhen_TheStatusIsPending() external {
        IDtnNodes.Answer memory answer = success("ok");
        answer.status = IDtnAi.ResponseStatus.PENDING;
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_StatusInvalid.selector, IDtnAi.ResponseStatus.PENDING));
        respond(terms, answer);
    }

    function test_RevertWhen_TheAnswerIsTooLong() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_AnswerTooLong.selector, 24_001, 24_000));
        respond(terms, success(new bytes(24_001)));
    }

    /// @dev 63/64: with less, the callback would get less than it was promised.
    function test_RevertWhen_TooLittleGasIsLeftForTheCallback() external {
        bytes memory call = abi.encodeWithSignature(
            "respondToRequest(bytes,bytes32,(uint8,string,bytes))", terms, nodeIds[0], success("ok")
        );
        vm.prank(operators[0].addr);
        (bool done, bytes memory result) = address(ai).call{gas: 400_000}(call);
        vm.assertFalse(done);
        vm.assertEq(bytes32(bytes4(result)), bytes32(IDtnNodes.DtnAi_GasTooLow.selector));
    }

    /// @dev Spec A10, A13, A14.
    function test_WhenTheNodeSucceeds() external {
        asker.setMood(AskerMock.Mood.FETCH);
        bytes memory response = "Rain, and then more of it, all day long.";
        uint256 cost = REQUEST_FEE + response.length * FEE_RES;
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.ResponseDelivered(id, IDtnAi.ResponseStatus.SUCCESS, cost, "said", response);
        respond(terms, IDtnNodes.Answer(IDtnAi.ResponseStatus.SUCCESS, "said", response));
        vm.assertEq(ai.earned(nodeIds[0]), cost);
        assertBooks(DEPOSIT - cost, 0);
        vm.assertEq(asker.told(), id);
        vm.assertEq(asker.message(), "said");
        vm.assertEq(asker.response(), response);
    }

    function test_WhenTheResponseIsDearerThanItsCap() external {
        respond(terms, success(new bytes(FEE_RES_MAX / FEE_RES + 1)));
        vm.assertEq(ai.earned(nodeIds[0]), REQUEST_FEE + FEE_RES_MAX);
        assertBooks(DEPOSIT - REQUEST_FEE - FEE_RES_MAX, 0);
    }

    /// @dev Spec A16.
    function test_WhenTheNodeFails() external {
        asker.setMood(AskerMock.Mood.FETCH);
        respond(terms, failure("placeholders do not match"));
        vm.assertEq(ai.earned(nodeIds[0]), REQUEST_FEE);
        assertBooks(DEPOSIT - REQUEST_FEE, 0);
        vm.assertEq(asker.told(), ~id);
        vm.assertEq(asker.message(), "placeholders do not match");
    }

    function test_WhenAnsweringAtTheLastSecond() external {
        vm.warp(termsOf(terms).deadline);
        respond(terms, success("ok"));
        assertStatus(id, IDtnAi.ResponseStatus.SUCCESS, "not kept", "");
    }

    // ────────────────────────────────────────── the callback ─────────────────────────────────────────

    /// @dev Spec A13.
    function test_GivenACallbackThatReverts() external {
        asker.setMood(AskerMock.Mood.REVERT);
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.CallbackFailed(id, address(asker));
        respond(terms, success("ok"));
        vm.assertEq(ai.earned(nodeIds[0]), REQUEST_FEE + 2 * FEE_RES);
        asker.setMood(AskerMock.Mood.STORE);
        (, bytes memory next) = ask(sessionId);
        vm.assertNotEq(termsOf(next).slot, termsOf(terms).slot);
        respond(next, success("other"));
        assertStatus(id, IDtnAi.ResponseStatus.SUCCESS, "", "ok");
    }

    function test_GivenACallbackThatBurnsAllItsGas() external {
        asker.setMood(AskerMock.Mood.BURN);
        respond(terms, success("ok"));
        vm.assertEq(ai.earned(nodeIds[0]), REQUEST_FEE + 2 * FEE_RES);
        assertStatus(id, IDtnAi.ResponseStatus.SUCCESS, "", "ok");
    }

    function test_GivenNoTarget() external {
        uint256 before = owner.addr.balance;
        vm.recordLogs();
        vm.prank(owner.addr);
        ai.request{value: 1 ether}(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question(CALL),
            callbackTo(address(0)),
            owner.addr,
            0
        );
        respond(publishedTerms(), success("ok"));
        vm.assertEq(owner.addr.balance, before);
    }

    /// @dev One transaction: a separate one would have no gas price.
    /// forge-config: default.isolate = false
    function test_GivenEtherForTheCallback() external {
        (uint256 toNode, uint256 toUser) = etherPaidAt(1 gwei);
        vm.assertEq(toNode + toUser, 0.001 ether);
        // A word stored and a response put where it can be fetched, at the transaction's price.
        vm.assertGe(toNode, 5_000 gwei);
        vm.assertLe(toNode, 60_000 gwei);
    }

    /// forge-config: default.isolate = false
    function test_GivenAGasPriceAboveWhatTheEtherCovers() external {
        // 0.001 ETH for 500,000 gas pays 2 gwei at most; the node chose 500.
        (uint256 toNode, uint256 toUser) = etherPaidAt(500 gwei);
        vm.assertEq(toNode + toUser, 0.001 ether);
        vm.assertGe(toNode, 5_000 * 2 gwei);
        vm.assertLe(toNode, 60_000 * 2 gwei);
    }

    function test_GivenAUserThatRefusesEther() external {
        vm.recordLogs();
        vm.prank(owner.addr);
        ai.request{value: 1 ether}(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question(CALL),
            callbackTo(address(0)),
            address(asker),
            0
        );
        respond(publishedTerms(), success("ok"));
        (, uint256 etherWei) = ai.claimable(address(asker));
        vm.assertEq(etherWei, 1 ether);
    }

    // ───────────────────────────────────────── fetchResponse ─────────────────────────────────────────

    function test_RevertWhen_TheIdNeverWas() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_RequestNotFound.selector, bytes32(uint256(5))));
        ai.fetchResponse(bytes32(uint256(5)));
    }

    /// @dev Spec A14.
    function test_WhenTheResponseWasNotKept() external {
        assertStatus(id, IDtnAi.ResponseStatus.PENDING, "", "");
        respond(terms, success("ok"));
        assertStatus(id, IDtnAi.ResponseStatus.SUCCESS, "not kept", "");
    }

    function test_WhenTheResponseWasAskedToBeKept() external {
        bytes memory response = bytes("a response that is longer than one word of thirty-two bytes");
        (bytes32 keptId, bytes memory kept) =
            ask(sessionId, routing(IDtnAi.AggregationType.ANY, 1), IDtnAi.RequestOptions(0, true), 0);
        respond(kept, IDtnNodes.Answer(IDtnAi.ResponseStatus.SUCCESS, "said", response));
        for (uint256 i = 0; i < 3; i++) {
            (, bytes memory next) = ask(sessionId);
            vm.assertNotEq(termsOf(next).slot, termsOf(kept).slot);
        }
        assertStatus(keptId, IDtnAi.ResponseStatus.SUCCESS, "said", response);
    }

    // ─────────────────────────────────── respondToRequest by seals ───────────────────────────────────

    function test_RevertWhen_TooFewSealed() external {
        bytes memory vote = askSeveral(IDtnAi.AggregationType.VOTE, 3);
        refuseSeals(vote, 1, abi.encodeWithSelector(IDtnNodes.DtnAi_QuorumNotMet.selector, 1, 2, 3));
    }

    function test_RevertWhen_MoreSealedThanWereHeldFor() external {
        bytes memory vote = askSeveral(IDtnAi.AggregationType.VOTE, 3);
        refuseSeals(vote, 4, abi.encodeWithSelector(IDtnNodes.DtnAi_QuorumNotMet.selector, 4, 2, 3));
    }

    function test_RevertWhen_OneNodeSealedTwice() external {
        bytes memory all = askSeveral(IDtnAi.AggregationType.ALL, 2);
        IDtnNodes.Seal[] memory given = seals(all, success("ok"), 2);
        given[1] = given[0];
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NodesNotAscending.selector, nodeIds[0]));
        ai.respondToRequest(all, success("ok"), given);
    }

    function test_RevertWhen_ASealIsOfAnotherAnswer() external {
        bytes memory all = askSeveral(IDtnAi.AggregationType.ALL, 2);
        IDtnNodes.Seal[] memory given = seals(all, success("other"), 2);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_SignatureInvalid.selector, nodeIds[0]));
        ai.respondToRequest(all, success("ok"), given);
    }

    function test_RevertWhen_ASealedSuccessIsForBallots() external {
        bytes memory rank = askSeveral(IDtnAi.AggregationType.RANK, 2);
        refuseSeals(
            rank, 2, abi.encodeWithSelector(IDtnNodes.DtnAi_WrongAggregation.selector, IDtnAi.AggregationType.RANK)
        );
    }

    /// @dev Spec A12.
    function test_WhenAllSealed() external {
        bytes memory all = askSeveral(IDtnAi.AggregationType.ALL, 7);
        ai.respondToRequest(all, success("ok"), seals(all, success("ok"), 7));
        uint256 fee = REQUEST_FEE + 2 * FEE_RES;
        for (uint256 i = 0; i < 7; i++) {
            vm.assertEq(ai.earned(nodeIds[i]), fee);
        }
        assertBooks(DEPOSIT - 7 * fee - holdOf(CALL), holdOf(CALL));
    }

    function test_WhenAMajoritySealedForAVote() external {
        bytes memory vote = askSeveral(IDtnAi.AggregationType.VOTE, 3);
        ai.respondToRequest(vote, success("ok"), seals(vote, success("ok"), 2));
        uint256 fee = REQUEST_FEE + 2 * FEE_RES;
        vm.assertEq(ai.earned(nodeIds[1]), fee);
        vm.assertEq(ai.earned(nodeIds[2]), 0);
        assertBooks(DEPOSIT - 2 * fee - holdOf(CALL), holdOf(CALL));
    }

    function test_WhenAnOperatorIsAContractWallet() external {
        WalletMock wallet = new WalletMock(operators[1].addr);
        vm.prank(operators[1].addr);
        ai.transferNode(nodeIds[1], address(wallet));
        bytes memory all = askSeveral(IDtnAi.AggregationType.ALL, 2);
        ai.respondToRequest(all, success("ok"), seals(all, success("ok"), 2));
        vm.assertGe(ai.earned(nodeIds[1]), REQUEST_FEE);
    }

    function test_WhenMostNodesSealAFailure() external {
        bytes memory rank = askSeveral(IDtnAi.AggregationType.RANK, 3);
        ai.respondToRequest(rank, failure("no"), seals(rank, failure("no"), 2));
        assertBooks(DEPOSIT - 2 * REQUEST_FEE - holdOf(CALL), holdOf(CALL));
        assertStatus(idOf(rank), IDtnAi.ResponseStatus.FAILED, "not kept", "");
    }

    // ────────────────────────────────── respondToRequest by ballots ──────────────────────────────────

    function test_RevertWhen_BallotsComeForAVote() external {
        bytes memory vote = askSeveral(IDtnAi.AggregationType.VOTE, 3);
        IDtnNodes.Ballot[] memory cast = ballots(vote, candidates(), numbers(1, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_WrongAggregation.selector, IDtnAi.AggregationType.VOTE));
        ai.respondToRequest(vote, candidates(), cast);
    }

    function test_RevertWhen_ABallotIsMissing() external {
        bytes memory best = askSeveral(IDtnAi.AggregationType.SELECT_BEST, 4);
        IDtnNodes.Ballot[] memory cast = ballots(best, candidates(), numbers(1, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_QuorumNotMet.selector, 3, 4, 4));
        ai.respondToRequest(best, candidates(), cast);
    }

    function test_RevertWhen_ABallotWasCastOnOtherCandidates() external {
        bytes memory best = askSeveral(IDtnAi.AggregationType.SELECT_BEST, 3);
        IDtnNodes.Ballot[] memory cast = ballots(best, candidates(), numbers(1, 0, 0));
        cast[2].responseHash = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_SignatureInvalid.selector, nodeIds[0]));
        ai.respondToRequest(best, candidates(), cast);
    }

    function test_RevertWhen_APickNamesNoCandidate() external {
        bytes memory best = askSeveral(IDtnAi.AggregationType.SELECT_BEST, 3);
        IDtnNodes.Ballot[] memory cast = ballots(best, candidates(), numbers(1, 3, 0));
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_PreferenceInvalid.selector, nodeIds[1], 3));
        ai.respondToRequest(best, candidates(), cast);
    }

    function test_RevertWhen_AnOrderNamesACandidateTwice() external {
        bytes memory rank = askSeveral(IDtnAi.AggregationType.RANK, 3);
        IDtnNodes.Ballot[] memory cast = ballots(rank, candidates(), numbers(0x110, 0x210, 0x210));
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_PreferenceInvalid.selector, nodeIds[0], 0x110));
        ai.respondToRequest(rank, candidates(), cast);
    }

    function test_RevertWhen_TheResponseIsNotTheWinners() external {
        bytes memory best = askSeveral(IDtnAi.AggregationType.SELECT_BEST, 3);
        IDtnNodes.Ballot[] memory cast = ballots(best, candidates(), numbers(1, 2, 1));
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_ResponseMismatch.selector, 1));
        ai.respondToRequest(best, only(0), cast);
    }

    function test_WhenTheBestIsSelected() external {
        bytes memory best = askSeveral(IDtnAi.AggregationType.SELECT_BEST, 3);
        ai.respondToRequest(best, only(1), ballots(best, candidates(), numbers(1, 2, 1)));
        uint256 fee = REQUEST_FEE + candidates()[1].length * FEE_RES;
        for (uint256 i = 0; i < 3; i++) {
            vm.assertEq(ai.earned(nodeIds[i]), fee);
        }
        assertBooks(DEPOSIT - 3 * fee - holdOf(CALL), holdOf(CALL));
    }

    function test_WhenAllPickThemselves() external {
        bytes memory best = askSeveral(IDtnAi.AggregationType.SELECT_BEST, 3);
        ai.respondToRequest(best, only(0), ballots(best, candidates(), numbers(0, 1, 2)));
        vm.assertEq(ai.earned(nodeIds[2]), REQUEST_FEE + candidates()[0].length * FEE_RES);
    }

    function test_WhenRanked() external {
        asker.setMood(AskerMock.Mood.FETCH);
        (, bytes memory rank) = ask(sessionId, routing(IDtnAi.AggregationType.RANK, 3), ample(), 0);
        // Lowest four bits first: 0 says 2, 1, 0; 1 says 2, 0, 1; 2 says 2, 1, 0, its own place counting nothing.
        ai.respondToRequest(rank, candidates(), ballots(rank, candidates(), numbers(0x012, 0x102, 0x012)));
        // Points of others: 0 has 1 + 0, 1 has 1 + 1, 2 has 2 + 2.
        bytes[] memory ranked = abi.decode(asker.response(), (bytes[]));
        vm.assertEq(ranked[0], candidates()[2]);
        vm.assertEq(ranked[1], candidates()[1]);
        vm.assertEq(ranked[2], candidates()[0]);
        for (uint256 i = 0; i < 3; i++) {
            vm.assertEq(ai.earned(nodeIds[i]), REQUEST_FEE + candidates()[i].length * FEE_RES);
        }
    }

    // ───────────────────────────────────────────── expire ────────────────────────────────────────────

    function test_RevertWhen_TheDeadlineHasNotPassed() external {
        uint256 deadline = termsOf(terms).deadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_DeadlineNotPassed.selector, deadline, deadline));
        ai.expire(terms);
    }

    function test_RevertWhen_TheExpiredRequestWasAnswered() external {
        respond(terms, success("ok"));
        vm.warp(termsOf(terms).deadline + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDtnNodes.DtnAi_RequestSettled.selector, id, IDtnAi.ResponseStatus.SUCCESS)
        );
        ai.expire(terms);
    }

    /// @dev Spec A17.
    function test_WhenNobodyAnswered() external {
        asker.setMood(AskerMock.Mood.FETCH);
        vm.warp(termsOf(terms).deadline + 1);
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.RequestExpired(id);
        vm.prank(thief.addr);
        ai.expire(terms);
        assertBooks(DEPOSIT, 0);
        vm.assertEq(asker.told(), ~id);
        vm.assertEq(uint256(asker.status()), uint256(IDtnAi.ResponseStatus.TIMEOUT));
        assertStatus(id, IDtnAi.ResponseStatus.TIMEOUT, "timeout", "");
    }

    function test_WhenSeveralNodesDidNotAnswer() external {
        bytes memory all = askSeveral(IDtnAi.AggregationType.ALL, 3);
        vm.warp(termsOf(all).deadline + 1);
        ai.expire(all);
        assertStatus(idOf(all), IDtnAi.ResponseStatus.TIMEOUT, "consensus timeout", "");
    }

    function test_WhenTheFailureCallbackReverts() external {
        asker.setMood(AskerMock.Mood.REVERT);
        vm.warp(termsOf(terms).deadline + 1);
        ai.expire(terms);
        assertBooks(DEPOSIT, 0);
        assertStatus(id, IDtnAi.ResponseStatus.TIMEOUT, "timeout", "");
    }

    function test_WhenTheExpiredRequestsSessionIsClosed() external {
        uint256 before = token.balanceOf(owner.addr);
        vm.prank(owner.addr);
        ai.closeUserSession(sessionId);
        vm.warp(termsOf(terms).deadline + 1);
        ai.expire(terms);
        vm.assertEq(token.balanceOf(owner.addr), before + DEPOSIT);
        vm.assertEq(token.balanceOf(address(ai)), 0);
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function assertBooks(uint256 available, uint256 held) private view {
        (, uint256 available_, uint256 held_,) = ai.sessionOf(sessionId);
        vm.assertEq(available_, available);
        vm.assertEq(held_, held);
    }

    function assertStatus(bytes32 requestId, IDtnAi.ResponseStatus status, string memory message, bytes memory response)
        private
        view
    {
        (IDtnAi.ResponseStatus status_, string memory message_, bytes memory response_) = ai.fetchResponse(requestId);
        vm.assertEq(uint256(status_), uint256(status));
        vm.assertEq(message_, message);
        vm.assertEq(response_, response);
    }

    function askSeveral(IDtnAi.AggregationType kind, uint32 n) private returns (bytes memory several) {
        (, several) = ask(sessionId, routing(kind, n), options(), 0);
    }

    function ample() private pure returns (IDtnAi.RequestOptions memory) {
        return IDtnAi.RequestOptions(0, true);
    }

    function refuseSeals(bytes memory several, uint256 n, bytes memory reason) private {
        IDtnNodes.Seal[] memory given = seals(several, success("ok"), n);
        vm.expectRevert(reason);
        ai.respondToRequest(several, success("ok"), given);
    }

    function candidates() private pure returns (bytes[] memory made) {
        made = new bytes[](3);
        (made[0], made[1], made[2]) = ("a", "bb", "ccc");
    }

    function only(uint256 i) private pure returns (bytes[] memory made) {
        made = new bytes[](1);
        made[0] = candidates()[i];
    }

    function numbers(uint256 a, uint256 b, uint256 c) private pure returns (uint256[] memory made) {
        made = new uint256[](3);
        (made[0], made[1], made[2]) = (a, b, c);
    }

    function etherPaidAt(uint256 gasPrice) private returns (uint256 toNode, uint256 toUser) {
        (, bytes memory paid) = ask(sessionId, routing(IDtnAi.AggregationType.ALL, 1), options(), 0.001 ether);
        uint256 before = owner.addr.balance;
        address relay = address(new WalletMock(address(0)));
        IDtnNodes.Answer memory answer = success("ok");
        IDtnNodes.Seal[] memory given = seals(paid, answer, 1);
        vm.txGasPrice(gasPrice);
        WalletMock(payable(relay))
            .execute(
                address(ai),
                abi.encodeWithSignature(
                    "respondToRequest(bytes,(uint8,string,bytes),(bytes32,bytes)[])", paid, answer, given
                )
            );
        return (relay.balance, owner.addr.balance - before);
    }
}
