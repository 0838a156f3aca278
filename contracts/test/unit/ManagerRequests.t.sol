// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

import {Purse} from "../../src/session-manager/Purse.sol";
import {ManagerFixture} from "../kit/ManagerFixture.sol";
import {TargetMock} from "../kit/Targets.sol";

contract ManagerRequestsTest is ManagerFixture {
    uint256 private constant OWN_GAS = 100_000;

    // ──────────────────────────────────── makeAIRequest with a prompt ────────────────────────────────

    /// @dev Spec B2, B3.
    function test_GivenTheAskerHasNoSessionYet() external restsNowhere {
        prompt(MODEL, 0);
        uint256 sessionId = manager.getUserSessions(ann.addr, 0, 1)[0];
        vm.assertEq(free(sessionId) + inFlight(sessionId), MIN);
        vm.assertGe(inFlight(sessionId), 1);
    }

    /// @dev Spec B3, B12.
    function test_GivenTheAskerHasASessionWithMoney() external {
        uint256 sessionId = create(ann, 20 * USD);
        vm.warp(block.timestamp + 7);
        vm.recordLogs();
        bytes32 requestId = prompt(MODEL, 0);
        assertLogged(
            address(manager), abi.encode(ISessionManager.AIRequestMade.selector, requestId, sessionId, ann.addr), ""
        );
        vm.assertEq(inFlight(sessionId), promptCost());
        (,, uint256 lastUsed,, uint256 requests) = manager.getSessionStats(sessionId);
        vm.assertEq(lastUsed, block.timestamp);
        vm.assertEq(requests, 1);
    }

    function test_RevertWhen_TheModelAsksForMoreThanTheAskerAllows() external {
        create(ann, 20 * USD);
        bytes32[] memory system = DtnDefaults.defaultSystemTrust();
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_CostAboveMax.selector, promptCost(), promptCost() - 1)
        );
        vm.prank(ann.addr);
        manager.makeAIRequest("Why?", MODEL, system, promptCost() - 1);
    }

    /// @dev Spec A11.
    function test_RevertWhen_TheModelIsNotOffered() external {
        create(ann, 20 * USD);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_ModelNotSupported.selector, keccak256("gpt-0")));
        prompt("gpt-0", 0);
    }

    /// @dev Spec A13.
    function test_GivenEtherForTheCallback() external restsNowhere {
        create(ann, 20 * USD);
        vm.recordLogs();
        prompt(MODEL, 1 ether);
        vm.assertEq(ann.addr.balance, 9 ether);
        answer(publishedTerms(), "Because.");
        vm.assertEq(ann.addr.balance, 10 ether);
    }

    // ──────────────────────────────────── makeAIRequest of a session ─────────────────────────────────

    /// @dev Spec A5.
    function test_RevertWhen_TheSessionAskedOfIsOfSomebodyElse() external {
        uint256 sessionId = create(ann, MIN);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionNotFound.selector, sessionId, thief.addr)
        );
        ask_(thief, sessionId, hello());
    }

    function test_RevertWhen_TheSessionAskedOfIsClosed() external {
        uint256 sessionId = create(ann, MIN);
        vm.prank(ann.addr);
        manager.closeSession(sessionId);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_SessionAlreadyClosed.selector, sessionId));
        ask_(ann, sessionId, hello());
    }

    /// @dev Spec B14.
    function test_RevertWhen_TheSessionAskedOfHasExpired() external {
        uint256 sessionId = create(ann, MIN);
        uint256 used = block.timestamp;
        vm.warp(used + AGE + 1);
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_SessionExpired.selector, sessionId, used, AGE)
        );
        ask_(ann, sessionId, hello());
    }

    function test_RevertWhen_TheSessionAskedOfIsInThePool() external {
        uint256 sessionId = create(ann, MIN);
        share(ann, sessionId, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_AlreadyPooled.selector, sessionId));
        ask_(ann, sessionId, hello());
    }

    /// @dev Spec B14: "insufficient balance".
    function test_RevertWhen_TheSessionAskedOfCannotPay() external {
        uint256 sessionId = create(ann, MIN);
        IDtnAi.BatchRequest memory dear = hello();
        dear.request.totalFeePerRes = MIN;
        vm.expectRevert(
            abi.encodeWithSelector(IDtnAiEvents.DtnAi_InsufficientFunds.selector, sessionId, MIN + 5 * FEE_REQ, MIN)
        );
        ask_(ann, sessionId, dear);
    }

    function test_RevertWhen_TheEtherSentIsNotWhatTheRequestIsGiven() external {
        uint256 sessionId = create(ann, MIN);
        IDtnAi.BatchRequest memory asked = hello();
        asked.callbackWei = 2;
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_EtherMismatch.selector, 1, 2));
        vm.prank(ann.addr);
        manager.makeAIRequest{value: 1}(sessionId, asked);
    }

    function test_RevertWhen_TheTargetIsTheTokenOrTheAIContractOrTheManager() external {
        uint256 sessionId = create(ann, MIN);
        address[3] memory targets = [address(token), address(ai), address(manager)];
        for (uint256 i = 0; i < targets.length; i++) {
            IDtnAi.BatchRequest memory asked = hello();
            asked.callback.target = targets[i];
            vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_TargetForbidden.selector, targets[i]));
            ask_(ann, sessionId, asked);
        }
    }

    function test_WhenTheTargetIsAPurse() external restsNowhere {
        create(bob, MIN);
        uint256 sessionId = create(ann, MIN);
        bytes4[4] memory selectors =
            [Purse.fund.selector, Purse.ask.selector, Purse.close.selector, Purse.payOut.selector];
        for (uint256 i = 0; i < selectors.length; i++) {
            IDtnAi.BatchRequest memory asked = hello();
            asked.callback = IDtnAi.CallBack(selectors[i], selectors[i], manager.purseOf(bob.addr));
            (bytes32 requestId, bytes memory terms) = askOf(ann, sessionId, asked);
            vm.expectEmit(address(ai));
            emit IDtnAiEvents.CallbackFailed(requestId, address(manager));
            answer(terms, "hi");
        }
        vm.assertEq(manager.getUserSessionCount(bob.addr), 1);
        vm.prank(bob.addr);
        manager.closeAllSessions();
        vm.assertEq(token.balanceOf(bob.addr), FUNDS);
    }

    function test_WhenNoSessionIsNamed() external {
        uint256 sessionId = create(ann, MIN);
        askOf(ann, 0);
        vm.assertEq(inFlight(sessionId), helloHold());
    }

    function test_WhenTheAskerAsksForMoreCallbackGasThanThereIs() external {
        uint256 sessionId = create(ann, MIN);
        IDtnAi.BatchRequest memory asked = hello();
        asked.callbackGas = type(uint256).max;
        (, bytes memory terms) = askOf(ann, sessionId, asked);
        vm.assertEq(termsOf(terms).callbackGas, 2_500_000);
        answer(terms, "hi");
        vm.assertEq(target.goodCalls(), 1);
    }

    function test_WhenNoUserIsNamed() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        IDtnAi.BatchRequest memory asked = hello();
        asked.callbackWei = 1 ether;
        (, bytes memory terms) = askOf(ann, sessionId, asked);
        vm.assertEq(termsOf(terms).user, ann.addr);
        answer(terms, "hi");
        vm.assertEq(ann.addr.balance, 10 ether);
    }

    // ────────────────────────────────────────── makeAIRequests ───────────────────────────────────────

    function test_RevertWhen_TheEtherSentIsNotTheSumOfTheBatch() external {
        uint256 sessionId = create(ann, MIN);
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_EtherMismatch.selector, 2, 3));
        vm.prank(ann.addr);
        manager.makeAIRequests{value: 2}(sessionId, batch(1, 2));
    }

    /// @dev Spec B13.
    function test_GivenOneOfTheBatchCannotBeMade() external restsNowhere {
        uint256 sessionId = create(ann, MIN);
        IDtnAi.BatchRequest[] memory asked = batch(1 ether, 2 ether);
        asked[0].modelId = 0;
        vm.prank(ann.addr);
        IDtnAi.BatchResult[] memory results = manager.makeAIRequests{value: 3 ether}(sessionId, asked);
        vm.assertEq(results[0].requestId, 0);
        vm.assertEq(results[0].reason, abi.encodeWithSelector(IDtnAiEvents.DtnAi_ModelNotSupported.selector, 0));
        vm.assertNotEq(results[1].requestId, 0);
        vm.assertEq(results[1].reason, "");
        vm.assertEq(inFlight(sessionId), helloHold());
        vm.assertEq(ann.addr.balance, 8 ether);
        (,,,, uint256 requests) = manager.getSessionStats(sessionId);
        vm.assertEq(requests, 1);
    }

    function test_RevertGiven_ACallerWhoRefusesEther() external {
        token.mint(address(target), MIN);
        target.execute(address(token), abi.encodeCall(token.approve, (address(manager), MIN)));
        IDtnAi.BatchRequest[] memory asked = batch(1, 2);
        asked[0].modelId = 0;
        vm.expectRevert(
            abi.encodeWithSelector(ISessionManager.SessionManager_EtherRefused.selector, address(target), 1)
        );
        target.execute{value: 3}(address(manager), abi.encodeCall(manager.makeAIRequests, (0, asked)));
    }

    /// @dev Spec B8, B13.
    function test_GivenALeaseThatCanPayForOne() external {
        uint256 sessionId = create(ann, MIN);
        share(ann, sessionId, 2 * helloHold() - 1, MIN);
        take(bob);
        vm.prank(bob.addr);
        IDtnAi.BatchResult[] memory results = manager.makeAIRequests(sessionId, batch(0, 0));
        vm.assertNotEq(results[0].requestId, 0);
        vm.assertEq(
            results[1].reason,
            abi.encodeWithSelector(
                ISessionManager.SessionManager_LeaseCapReached.selector,
                sessionId,
                bob.addr,
                2 * helloHold(),
                2 * helloHold() - 1
            )
        );
        vm.assertEq(inFlight(sessionId), helloHold());
    }

    function test_GivenAnEmptyBatch() external {
        uint256 sessionId = create(ann, MIN);
        vm.prank(ann.addr);
        vm.assertEq(manager.makeAIRequests(sessionId, new IDtnAi.BatchRequest[](0)).length, 0);
    }

    function test_RevertWhen_AStrangerCallsTheManagersOwnFunction() external {
        uint256 sessionId = create(ann, MIN);
        IDtnAi.BatchRequest memory asked = hello();
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_OnlySelf.selector, thief.addr));
        vm.prank(thief.addr);
        manager.requestOf(ann.addr, sessionId, asked);
    }

    // ──────────────────────────────────────────── onSuccess ──────────────────────────────────────────

    function test_RevertWhen_AStrangerSaysARequestSucceeded() external {
        (bytes32 requestId,) = askOf(ann, create(ann, MIN));
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_OnlyAi.selector, thief.addr));
        vm.prank(thief.addr);
        manager.onSuccess(requestId);
    }

    /// @dev Anyone may name the manager as the target of a request of their own.
    function test_RevertWhen_TheAIContractCallsAboutARequestOfSomebodyElse() external {
        bytes32 foreign = keccak256("foreign");
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_RequestNotFound.selector, foreign));
        vm.prank(address(ai));
        manager.onSuccess(foreign);
    }

    /// @dev A target hears of each request once, whatever the AI contract did.
    function test_RevertWhen_TheAIContractCallsAboutARequestAgain() external {
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN));
        answer(terms, "hi");
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_RequestNotFound.selector, requestId));
        vm.prank(address(ai));
        manager.onSuccess(requestId);
    }

    /// @dev Spec A13, A14, B12.
    function test_GivenATargetThatListens() external {
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN));
        vm.expectEmit(address(manager));
        emit ISessionManager.AIResponseReceived(requestId);
        answer(terms, "Sunny.");
        vm.assertEq(target.goodCalls(), 1);
        vm.assertEq(target.requestId(), requestId);
        vm.assertEq(uint256(target.status()), uint256(IDtnAi.ResponseStatus.SUCCESS));
        vm.assertEq(target.response(), "Sunny.");
    }

    function test_GivenALargeAnswer() external {
        IDtnAi.BatchRequest memory asked = hello();
        asked.callback = IDtnAi.CallBack(CountingTarget.count.selector, 0, address(new CountingTarget(manager)));
        asked.callbackGas = 500_000;
        (, bytes memory terms) = askOf(ann, create(ann, MIN), asked);
        answer(terms, new bytes(24_000));
        vm.assertEq(CountingTarget(asked.callback.target).length(), 24_000);
    }

    function test_GivenNoTarget() external {
        IDtnAi.BatchRequest memory asked = hello();
        asked.callback.target = address(0);
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN), asked);
        vm.assertEq(termsOf(terms).callbackGas, OWN_GAS);
        vm.expectEmit(address(manager));
        emit ISessionManager.AIResponseReceived(requestId);
        answer(terms, "Sunny.");
    }

    /// @dev Spec A13: loses nothing.
    function test_GivenATargetThatReverts() external restsNowhere {
        assertContained(TargetMock.Mood.REVERT);
    }

    /// @dev Spec A13.
    function test_GivenATargetThatBurnsItsGas() external restsNowhere {
        assertContained(TargetMock.Mood.BURN);
    }

    function test_GivenATargetThatReturnsMegabytes() external {
        IDtnAi.BatchRequest memory asked = hello();
        asked.callbackGas = 600_000;
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN), asked);
        target.setMood(TargetMock.Mood.RETURN_MEGABYTES, 0);
        vm.expectEmit(address(manager));
        emit ISessionManager.AIResponseReceived(requestId);
        answer(terms, "hi");
        vm.assertEq(target.goodCalls(), 1);
    }

    function test_GivenATargetThatClosesTheSession() external restsNowhere {
        token.mint(address(target), MIN);
        target.execute(address(token), abi.encodeCall(token.approve, (address(manager), MIN)));
        target.execute(address(manager), abi.encodeCall(manager.createSession, (MIN)));
        uint256 sessionId = manager.getUserSessions(address(target), 0, 1)[0];
        IDtnAi.BatchRequest memory asked = hello();
        asked.callbackGas = 600_000;
        vm.recordLogs();
        target.execute(address(manager), abi.encodeWithSelector(bytes4(keccak256(bytes(MAKE_ONE))), sessionId, asked));
        bytes memory terms = publishedTerms();
        target.setMood(TargetMock.Mood.CLOSE, sessionId);
        answer(terms, "hi");
        vm.assertEq(target.goodCalls(), 1);
        vm.assertEq(token.balanceOf(address(target)), MIN - helloCost(2));
        assertState(sessionId, ISessionManager.SessionState.CLOSED);
    }

    function test_GivenATargetThatIsNoContract() external {
        IDtnAi.BatchRequest memory asked = hello();
        asked.callback.target = bob.addr;
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN), asked);
        vm.expectEmit(address(manager));
        emit ISessionManager.AIResponseReceived(requestId);
        answer(terms, "hi");
    }

    // ───────────────────────────────────────────── onError ───────────────────────────────────────────

    function test_RevertWhen_AStrangerSaysARequestFailed() external {
        (bytes32 requestId,) = askOf(ann, create(ann, MIN));
        vm.expectRevert(abi.encodeWithSelector(ISessionManager.SessionManager_OnlyAi.selector, thief.addr));
        vm.prank(thief.addr);
        manager.onError(requestId);
    }

    /// @dev Spec B12.
    function test_GivenANodeThatReportsAFailure() external {
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN));
        vm.expectEmit(address(manager));
        emit ISessionManager.AIRequestFailed(requestId, IDtnAi.ResponseStatus.FAILED, "placeholder 0");
        respond(terms, failure("placeholder 0"));
        vm.assertEq(target.badCalls(), 1);
        vm.assertEq(target.message(), "placeholder 0");
    }

    /// @dev Spec A17, B12.
    function test_GivenARequestThatExpired() external {
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN));
        vm.warp(block.timestamp + 1 hours + 1);
        vm.expectEmit(address(manager));
        emit ISessionManager.AIRequestFailed(requestId, IDtnAi.ResponseStatus.TIMEOUT, "timeout");
        ai.expire(terms);
        vm.assertEq(target.badCalls(), 1);
        vm.assertEq(uint256(target.status()), uint256(IDtnAi.ResponseStatus.TIMEOUT));
    }

    function test_GivenAReasonOfTwentyThousandBytes() external {
        IDtnAi.BatchRequest memory asked = hello();
        asked.callback.failureSelector = CountingTarget.ring.selector;
        asked.callback.target = address(new CountingTarget(manager));
        (bytes32 requestId, bytes memory terms) = askOf(ann, create(ann, MIN), asked);
        vm.expectEmit(address(manager));
        emit ISessionManager.AIRequestFailed(requestId, IDtnAi.ResponseStatus.FAILED, "");
        respond(terms, failure(string(new bytes(20_000))));
        vm.assertEq(CountingTarget(asked.callback.target).length(), 1);
    }

    // ─────────────────────────────────────────────────────────────────────────────────────────────────

    string private constant MAKE_ONE =
        "makeAIRequest(uint256,(bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256,uint256,(uint32,bool)))";

    function prompt(string memory model, uint256 etherWei) private returns (bytes32) {
        vm.prank(ann.addr);
        return manager.makeAIRequest{value: etherWei}("Why?", model, DtnDefaults.defaultSystemTrust(), MIN);
    }

    /// @dev At the prices of the fixture's model.
    function promptCost() private pure returns (uint256) {
        return abi.encode(DtnDefaults.singleArray(string("Why?"))).length * 10 + 1_000;
    }

    function ask_(Person memory user, uint256 sessionId, IDtnAi.BatchRequest memory asked) private {
        vm.prank(user.addr);
        manager.makeAIRequest(sessionId, asked);
    }

    function batch(uint256 firstWei, uint256 secondWei) private view returns (IDtnAi.BatchRequest[] memory asked) {
        asked = new IDtnAi.BatchRequest[](2);
        (asked[0], asked[1]) = (hello(), hello());
        (asked[0].callbackWei, asked[1].callbackWei) = (firstWei, secondWei);
    }

    function assertContained(TargetMock.Mood mood) private {
        uint256 sessionId = create(ann, MIN);
        (bytes32 requestId, bytes memory terms) = askOf(ann, sessionId);
        target.setMood(mood, 0);
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.CallbackFailed(requestId, address(manager));
        answer(terms, "Sunny.");
        vm.assertEq(target.goodCalls(), 0);
        vm.assertEq(free(sessionId), MIN - helloCost(6));
        vm.assertEq(ai.earned(nodeIds[0]), helloCost(6));
        (, string memory message, bytes memory response) = ai.fetchResponse(requestId);
        vm.assertEq(message, "");
        vm.assertEq(response, "Sunny.");
    }
}

/// @notice Keeps one word, so that it does with little gas.
contract CountingTarget {
    ISessionManager private immutable MANAGER;
    uint256 public length;

    constructor(ISessionManager manager) {
        MANAGER = manager;
    }

    function count(bytes32 requestId) external {
        (,, bytes memory response) = MANAGER.ai().fetchResponse(requestId);
        length = response.length;
    }

    function ring(bytes32) external {
        length = 1;
    }
}
