// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {Requests} from "../../src/Requests.sol";
import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Fixture} from "../kit/Fixture.sol";

/// @notice Every call a transaction of its own, as on a chain: transient storage, where the last response lies, is empty.
/// forge-config: default.isolate = true
contract RequestsTest is Fixture {
    uint256 private sessionId;
    bytes private constant CALL = "What is the weather like?";

    function setUp() public override {
        super.setUp();
        sessionId = start(100 * USD);
    }

    // ───────────────────────────────────── what a session must be ────────────────────────────────────

    function test_RevertWhen_TheSessionAskedWithIsOfSomebodyElse() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionNotFound.selector, sessionId, thief.addr));
        vm.prank(thief.addr);
        send(sessionId, question(CALL));
    }

    function test_RevertWhen_TheSessionAskedWithIsClosed() external {
        vm.prank(owner.addr);
        ai.closeUserSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionAlreadyClosed.selector, sessionId));
        vm.prank(owner.addr);
        send(sessionId, question(CALL));
    }

    /// @dev Spec A4.
    function test_RevertWhen_TheSessionIdIsZeroAndNothingWasDeposited() external {
        address target = ai.feeTargetOf(owner.addr);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_NothingDeposited.selector, owner.addr, target));
        vm.prank(owner.addr);
        send(0, question(CALL));
    }

    /// @dev Spec A4.
    function test_WhenTheSessionIdIsZeroAndSomethingWasDeposited() external {
        token.mint(ai.feeTargetOf(owner.addr), 10 * USD);
        (, bytes memory terms) = ask(0);
        uint256 started = termsOf(terms).sessionId;
        (address sessionOwner, uint256 available, uint256 held,) = ai.sessionOf(started);
        vm.assertEq(sessionOwner, owner.addr);
        vm.assertEq(held, holdOf(CALL));
        vm.assertEq(available + held, 10 * USD);
    }

    function test_RevertWhen_TheSessionCannotPay() external {
        uint256 poor = start(holdOf(CALL) - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_InsufficientFunds.selector, poor, holdOf(CALL), holdOf(CALL) - 1)
        );
        vm.prank(owner.addr);
        send(poor, question(CALL));
    }

    /// @dev What the seed's `renewSession` counts on: it only sends money to the fee target.
    function test_WhenTheSessionCannotPayButADepositCan() external {
        uint256 poor = start(holdOf(CALL) - 1);
        token.mint(ai.feeTargetOf(owner.addr), 5);
        ask(poor);
        (, uint256 available, uint256 held,) = ai.sessionOf(poor);
        vm.assertEq(held, holdOf(CALL));
        vm.assertEq(available, 4);
    }

    // ────────────────────────────────────── what a model must be ─────────────────────────────────────

    /// @dev Spec A11, as the next four.
    function test_RevertWhen_TheModelIsUnknown() external {
        bytes32 unknown = keccak256("unknown");
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_ModelNotSupported.selector, unknown));
        vm.prank(owner.addr);
        ai.request(
            sessionId,
            unknown,
            routing(IDtnAi.AggregationType.ANY, 1),
            question(CALL),
            callbackTo(address(0)),
            owner.addr,
            0
        );
    }

    function test_RevertWhen_TheModelLacksTheApi() external {
        vm.prank(admin.addr);
        ai.setModel(MODEL, IDtnNodes.Model(10, 20, 1_000, 1));
        vm.expectRevert(
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_ApiNotSupported.selector, modelId(), IDtnAi.CallType.DIRECT)
        );
        vm.prank(owner.addr);
        send(sessionId, question(CALL));
    }

    function test_RevertWhen_TheFeePerRequestByteIsBelowThePrice() external {
        IDtnAi.DtnRequest memory asked = question(CALL);
        asked.feePerByteReq = 9;
        refuseFee(asked, IDtnAi.FeeKind.REQUEST_BYTE, 9, 10);
    }

    function test_RevertWhen_TheFeePerResponseByteIsBelowThePrice() external {
        IDtnAi.DtnRequest memory asked = question(CALL);
        asked.feePerByteRes = 19;
        refuseFee(asked, IDtnAi.FeeKind.RESPONSE_BYTE, 19, 20);
    }

    function test_RevertWhen_TheFeePerResponseIsBelowThePrice() external {
        IDtnAi.DtnRequest memory asked = question(CALL);
        asked.totalFeePerRes = 999;
        refuseFee(asked, IDtnAi.FeeKind.RESPONSE_TOTAL, 999, 1_000);
    }

    function test_RevertWhen_AFeeDoesNotFitTheBooks() external {
        IDtnAi.DtnRequest memory asked = question(CALL);
        asked.totalFeePerRes = type(uint256).max;
        vm.expectRevert(
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_AmountTooLarge.selector, type(uint256).max, type(uint96).max)
        );
        vm.prank(owner.addr);
        send(sessionId, asked);
    }

    // ───────────────────────────────────── what a routing must be ────────────────────────────────────

    /// @dev Spec A12.
    function test_RevertWhen_NobodyIsTrusted() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_NoNodesAvailable.selector, 1, 0));
        vm.prank(owner.addr);
        ai.request(sessionId, modelId(), new bytes32[](3), question(CALL), callbackTo(address(0)), owner.addr, 0);
    }

    function test_RevertWhen_FewerNodesAreTrustedThanMustAnswer() external {
        IDtnAi.DtnRouting memory route = namedRouting(IDtnAi.AggregationType.ALL, 2);
        route.redundancy = 3;
        refuseRouting(route, abi.encodeWithSelector(IDtnAiEvents.DtnAi_NoNodesAvailable.selector, 3, 2));
    }

    function test_RevertWhen_TheRedundancyIsZero() external {
        refuseRouting(
            routing(IDtnAi.AggregationType.ANY, 0),
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_RedundancyOutOfRange.selector, 0, 7)
        );
    }

    function test_RevertWhen_TheRedundancyIsEight() external {
        refuseRouting(
            routing(IDtnAi.AggregationType.ALL, 8),
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_RedundancyOutOfRange.selector, 8, 7)
        );
    }

    function test_RevertWhen_TheConfidenceIsAboveAHundred() external {
        IDtnAi.DtnRouting memory route = routing(IDtnAi.AggregationType.VOTE, 3);
        route.confidenceLevel = 101;
        refuseRouting(route, abi.encodeWithSelector(IDtnAiEvents.DtnAi_ConfidenceOutOfRange.selector, 101, 100));
    }

    function test_RevertWhen_TheRoutingNamesSeventeenIds() external {
        IDtnAi.DtnRouting memory route = routing(IDtnAi.AggregationType.ANY, 1);
        route.trustedNodeIds = new bytes32[](16);
        refuseRouting(route, abi.encodeWithSelector(IDtnAiEvents.DtnAi_RoutingTooLong.selector, 17, 16));
    }

    function test_WhenTheVotesConfidenceAsksForMoreThanAMajority() external {
        IDtnAi.DtnRouting memory route = routing(IDtnAi.AggregationType.VOTE, 5);
        vm.assertEq(quorumOf(route), 3);
        route.confidenceLevel = 60;
        vm.assertEq(quorumOf(route), 3);
        route.confidenceLevel = 61;
        vm.assertEq(quorumOf(route), 4);
        route.confidenceLevel = 100;
        vm.assertEq(quorumOf(route), 5);
    }

    function test_WhenAnyNodeMayAnswer() external {
        ask(sessionId, routing(IDtnAi.AggregationType.ANY, 7), options(), 0);
        (,, uint256 held,) = ai.sessionOf(sessionId);
        vm.assertEq(held, holdOf(CALL));
    }

    // ──────────────────────────────────── what a callback must be ────────────────────────────────────

    function test_RevertWhen_TheTargetIsTheFeeToken() external {
        refuseTarget(address(token));
    }

    function test_RevertWhen_TheTargetIsTheAiContract() external {
        refuseTarget(address(ai));
    }

    function test_WhenTheCallbackGasIsAboveTheLimit() external {
        // The seed passes the ETH it sends, in wei.
        vm.assertEq(termsOf(sendWithGas(0.1 ether)).callbackGas, 2_500_000);
    }

    function test_WhenTheCallbackGasIsZero() external {
        vm.assertEq(termsOf(sendWithGas(0)).callbackGas, 200_000);
    }

    // ───────────────────────────────────── what a timeout must be ────────────────────────────────────

    function test_RevertWhen_TheTimeoutIsBelowAMinute() external {
        refuseTimeout(59);
    }

    function test_RevertWhen_TheTimeoutIsAboveAWeek() external {
        refuseTimeout(7 days + 1);
    }

    function test_WhenTheTimeoutIsNotGiven() external {
        (, bytes memory terms) = ask(sessionId);
        vm.assertEq(termsOf(terms).deadline, block.timestamp + 1 hours);
    }

    // ─────────────────────────────────────── what a request does ─────────────────────────────────────

    /// @dev Spec A10.
    function test_WhenAsking() external {
        IDtnAi.DtnRequest memory asked = question(CALL);
        asked.extraParams = abi.encode(uint8(7));
        vm.recordLogs();
        vm.prank(owner.addr);
        bytes32 requestId = send(sessionId, asked);
        bytes memory terms = publishedTerms();
        (, uint256 available, uint256 held,) = ai.sessionOf(sessionId);
        vm.assertEq(held, (CALL.length + 32) * FEE_REQ + FEE_RES_MAX);
        vm.assertEq(available, 100 * USD - held);
        vm.assertEq(requestId, idOf(terms));
        vm.assertEq(termsOf(terms).content, keccak256(abi.encode(modelId(), asked)));
        (IDtnAi.ResponseStatus status,,) = ai.fetchResponse(requestId);
        vm.assertEq(uint256(status), uint256(IDtnAi.ResponseStatus.PENDING));
    }

    function test_WhenAskingTwiceTheSameInABlock() external {
        (bytes32 first,) = ask(sessionId);
        (bytes32 second,) = ask(sessionId);
        vm.assertNotEq(first, second);
    }

    function test_WhenAskingWithAListOfIds() external {
        bytes32[] memory ids = new bytes32[](2);
        (ids[0], ids[1]) = (keccak256("nobody"), nodeIds[3]);
        vm.recordLogs();
        vm.prank(owner.addr);
        ai.request(sessionId, modelId(), ids, question(CALL), callbackTo(address(0)), owner.addr, 0);
        bytes memory terms = publishedTerms();
        vm.assertEq(termsOf(terms).quorum, 1);
        vm.prank(operators[3].addr);
        ai.respondToRequest(terms, nodeIds[3], success("ok"));
    }

    function test_WhenASettledRequestsSlotIsFree() external {
        (bytes32 first, bytes memory terms) = ask(sessionId);
        respond(terms, success("ok"));
        (bytes32 second, bytes memory next) = ask(sessionId);
        vm.assertEq(termsOf(next).slot, termsOf(terms).slot);
        vm.assertNotEq(first, second);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_RequestNotFound.selector, first));
        ai.fetchResponse(first);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_RequestNotFound.selector, first));
        respond(terms, success("again"));
    }

    function test_WhenSeveralSlotsComeFree() external {
        bytes[] memory made = new bytes[](3);
        for (uint256 i = 0; i < 3; i++) {
            (, made[i]) = ask(sessionId);
        }
        for (uint256 i = 0; i < 3; i++) {
            respond(made[i], success("ok"));
        }
        uint256 seen;
        for (uint256 i = 0; i < 4; i++) {
            (, bytes memory terms) = ask(sessionId);
            uint256 bit = 1 << termsOf(terms).slot;
            vm.assertEq(seen & bit, 0);
            seen |= bit;
        }
        // Three slots used again, and a new one with the number of its first request, the seventh.
        vm.assertEq(seen, (1 << 1) | (1 << 2) | (1 << 3) | (1 << 7));
    }

    // ────────────────────────────────────────── requestBatch ─────────────────────────────────────────

    function test_RevertWhen_TheBatchIsOfSomebodyElsesSession() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_SessionNotFound.selector, sessionId, thief.addr));
        vm.prank(thief.addr);
        ai.requestBatch(sessionId, batchOf(2, 0));
    }

    function test_RevertWhen_TheEtherSentIsNotTheSum() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_EtherMismatch.selector, 3, 2));
        vm.prank(owner.addr);
        ai.requestBatch{value: 3}(sessionId, batchOf(2, 1));
    }

    /// @dev Spec B13.
    function test_WhenOneRequestOfTheBatchFails() external {
        IDtnAi.BatchRequest[] memory batch = batchOf(3, 1 ether);
        batch[1].modelId = keccak256("unknown");
        uint256 before = owner.addr.balance;
        vm.prank(owner.addr);
        IDtnAi.BatchResult[] memory results = ai.requestBatch{value: 3 ether}(sessionId, batch);
        vm.assertEq(owner.addr.balance, before - 2 ether);
        vm.assertEq(results[1].requestId, bytes32(0));
        vm.assertEq(
            results[1].reason, abi.encodeWithSelector(IDtnAiEvents.DtnAi_ModelNotSupported.selector, batch[1].modelId)
        );
        (,, uint256 held,) = ai.sessionOf(sessionId);
        vm.assertEq(held, 2 * holdOf(CALL));
        for (uint256 i = 0; i < 3; i += 2) {
            vm.assertEq(results[i].reason, "");
            (IDtnAi.ResponseStatus status,,) = ai.fetchResponse(results[i].requestId);
            vm.assertEq(uint256(status), uint256(IDtnAi.ResponseStatus.PENDING));
        }
    }

    function test_RevertWhen_AStrangerCallsTheBatchsOwnFunction() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_OnlySelf.selector, thief.addr));
        vm.prank(thief.addr);
        Requests(address(ai)).requestOf(owner.addr, sessionId, batchOf(1, 0)[0]);
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function send(uint256 id, IDtnAi.DtnRequest memory asked) private returns (bytes32) {
        return ai.request(
            id,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            asked,
            callbackTo(address(asker)),
            owner.addr,
            100_000
        );
    }

    function sendWithGas(uint256 callbackGas) private returns (bytes memory) {
        vm.recordLogs();
        vm.prank(owner.addr);
        ai.request(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question(CALL),
            callbackTo(address(asker)),
            owner.addr,
            callbackGas
        );
        return publishedTerms();
    }

    function refuseFee(IDtnAi.DtnRequest memory asked, IDtnAi.FeeKind kind, uint256 offered, uint256 price) private {
        vm.expectRevert(
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_InsufficientFee.selector, modelId(), kind, offered, price)
        );
        vm.prank(owner.addr);
        send(sessionId, asked);
    }

    function refuseRouting(IDtnAi.DtnRouting memory route, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(owner.addr);
        ai.request(sessionId, modelId(), route, question(CALL), callbackTo(address(0)), owner.addr, 0);
    }

    function refuseTarget(address target) private {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_TargetForbidden.selector, target));
        vm.prank(owner.addr);
        ai.request(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question(CALL),
            callbackTo(target),
            owner.addr,
            0
        );
    }

    function refuseTimeout(uint32 timeout) private {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_TimeoutOutOfRange.selector, timeout, 60, 7 days));
        vm.prank(owner.addr);
        ai.request(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question(CALL),
            callbackTo(address(0)),
            owner.addr,
            0,
            IDtnAi.RequestOptions(timeout, false)
        );
    }

    function quorumOf(IDtnAi.DtnRouting memory route) private returns (uint256) {
        (, bytes memory terms) = ask(sessionId, route, options(), 0);
        return termsOf(terms).quorum;
    }

    function batchOf(uint256 n, uint256 callbackWei) private view returns (IDtnAi.BatchRequest[] memory batch) {
        batch = new IDtnAi.BatchRequest[](n);
        for (uint256 i = 0; i < n; i++) {
            batch[i] = IDtnAi.BatchRequest({
                modelId: modelId(),
                routing: routing(IDtnAi.AggregationType.ANY, 1),
                request: question(CALL),
                callback: callbackTo(address(asker)),
                user: owner.addr,
                callbackGas: 100_000,
                callbackWei: callbackWei,
                options: options()
            });
        }
    }
}
