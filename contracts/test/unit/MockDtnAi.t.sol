// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {MockDtnAi} from "@deeptrust/contracts/mock-dtn-ai.sol";
import {WithDtnAi} from "@deeptrust/contracts/with-dtn-ai.sol";
import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";

import {Test} from "../kit/Test.sol";
import {TokenMock} from "../kit/Tokens.sol";
import {WalletMock} from "../kit/Askers.sol";

/// @notice What only the mock has: its commands. That the rest is as on the AI contract, test/fuzz/MockDifferential.t.sol
/// proves.
contract MockDtnAiTest is Test {
    uint256 private constant USD = 1e6;

    MockDtnAi private mock;
    TokenMock private token;
    Oracle private user;
    Person private owner;

    function setUp() external {
        owner = person("owner");
        token = new TokenMock(6);
        mock = new MockDtnAi(address(token));
        mock.offerModel("gpt-4", 10, 20, 1_000, 3);
        user = new Oracle(address(mock));
        token.mint(address(user), 10 * USD);
        token.mint(owner.addr, 10 * USD);
        user.start();
    }

    // ───────────────────────────────────────── a users unit test ─────────────────────────────────────

    function test_WhenTheTestAnswers() external {
        bytes32 requestId = user.ask("Why?");
        mock.answer(requestId, "Because.");
        vm.assertEq(user.heard(), "Because.");
        vm.assertEq(free(), 10 * USD - cost("Why?") - 8 * 20);
        vm.assertEq(mock.earned(), cost("Why?") + 8 * 20);
    }

    function test_WhenTheTestReportsAFailure() external {
        bytes32 requestId = user.ask("Why?");
        mock.fail(requestId, "no idea");
        vm.assertEq(user.heard(), "no idea");
        vm.assertEq(free(), 10 * USD - cost("Why?"));
    }

    function test_WhenTheTestLetsTheDeadlinePass() external {
        bytes32 requestId = user.ask("Why?");
        vm.warp(block.timestamp + 1 hours + 1);
        mock.expire(requestId);
        vm.assertEq(user.heard(), "timeout");
        vm.assertEq(free(), 10 * USD);
    }

    function test_WhenTheTestAsksWhatWasAsked() external {
        bytes32 requestId = user.ask("Why?");
        vm.assertEq(mock.lastRequestId(), requestId);
        vm.assertEq(mock.questionOf(requestId).call, abi.encode(DtnDefaults.singleArray(string("Why?"))));
    }

    // ─────────────────────────────────────────── signed starts ───────────────────────────────────────

    function test_GivenAPermitForTheMock() external {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 data = keccak256(abi.encode(typehash, owner.addr, address(mock), USD, 0, block.timestamp));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), data));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(owner.key, digest);
        vm.prank(owner.addr);
        uint256 sessionId = mock.startUserSessionWithPermit(USD, block.timestamp, v, r, s);
        assertStarted(sessionId, owner.addr);
    }

    function test_GivenAnAuthorizationOfAnAccountForTheMock() external {
        bytes memory signature = authorization(owner.addr);
        uint256 sessionId =
            mock.startUserSessionWithAuthorization(owner.addr, USD, 0, block.timestamp + 1, "nonce", signature);
        assertStarted(sessionId, owner.addr);
    }

    function test_GivenAnAuthorizationOfAWalletThatIsAContract() external {
        WalletMock wallet = new WalletMock(owner.addr);
        token.mint(address(wallet), USD);
        bytes memory signature = authorization(address(wallet));
        uint256 sessionId =
            mock.startUserSessionWithAuthorization(address(wallet), USD, 0, block.timestamp + 1, "nonce", signature);
        assertStarted(sessionId, address(wallet));
    }

    // ───────────────────────────────────────────── callbacks ─────────────────────────────────────────

    function test_GivenACallbackThatAsksTheNextQuestion() external {
        bytes32 requestId = user.ask("Why?");
        user.setMood(Oracle.Mood.ASK);
        mock.answer(requestId, "Because.");
        vm.assertNotEq(mock.lastRequestId(), requestId);
        vm.assertEq(user.heard(), "Because.");
    }

    function test_GivenACallbackThatClosesItsSession() external {
        bytes32 requestId = user.ask("Why?");
        bytes32 other = user.ask("How?");
        user.setMood(Oracle.Mood.CLOSE);
        mock.answer(requestId, "");
        user.setMood(Oracle.Mood.LISTEN);
        mock.answer(other, "");
        vm.assertEq(token.balanceOf(address(user)), 10 * USD - 2 * cost("Why?"));
    }

    function test_GivenACallbackThatCommandsAnotherAnswer() external {
        bytes32 requestId = user.ask("Why?");
        user.setMood(Oracle.Mood.COMMAND);
        mock.answer(requestId, "Because.");
        (IDtnAi.ResponseStatus status,, bytes memory response) = mock.fetchResponse(requestId);
        vm.assertEq(uint256(status), uint256(IDtnAi.ResponseStatus.SUCCESS));
        vm.assertEq(response, "Because.");
    }

    // ───────────────────────────────────────────── commands ──────────────────────────────────────────

    function test_RevertWhen_ARequestThatDoesNotExistIsAnswered() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_RequestNotFound.selector, bytes32("none")));
        mock.answer("none", "Because.");
    }

    function test_RevertWhen_ARankRequestIsAnsweredWithOneResponse() external {
        bytes32 requestId = user.askRanked("Why?");
        vm.expectRevert(abi.encodeWithSelector(MockDtnAi.DtnAi_WrongAggregation.selector, IDtnAi.AggregationType.RANK));
        mock.answer(requestId, "Because.");
    }

    function test_RevertWhen_ARankedAnswerHasTooFewCandidates() external {
        bytes32 requestId = user.askRanked("Why?");
        vm.expectRevert(abi.encodeWithSelector(MockDtnAi.DtnAi_ResponseMismatch.selector, 1));
        mock.answerRanked(requestId, new bytes[](1));
    }

    function test_RevertWhen_RankedCandidatesAnswerOneThatIsNotRanked() external {
        bytes32 requestId = user.ask("Why?");
        vm.expectRevert(abi.encodeWithSelector(MockDtnAi.DtnAi_WrongAggregation.selector, IDtnAi.AggregationType.ANY));
        mock.answerRanked(requestId, new bytes[](1));
    }

    // ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// @dev For reading the question.
    function cost(string memory question) private pure returns (uint256) {
        return abi.encode(DtnDefaults.singleArray(question)).length * 10;
    }

    function free() private view returns (uint256 available) {
        (, available,,) = mock.sessionOf(user.sessionId());
    }

    function assertStarted(uint256 sessionId, address by) private view {
        (address sessionOwner, uint256 available,, bool open) = mock.sessionOf(sessionId);
        vm.assertEq(sessionOwner, by);
        vm.assertEq(available, USD);
        vm.assertTrue(open);
    }

    function authorization(address from) private view returns (bytes memory) {
        return sign(owner, token.authorizationDigest(from, address(mock), USD, 0, block.timestamp + 1, "nonce"));
    }
}

/// @notice A user's contract, such as one tests with the mock.
contract Oracle is WithDtnAi {
    enum Mood {
        LISTEN,
        ASK,
        CLOSE,
        COMMAND
    }

    uint256 public sessionId;
    bytes public heard;
    Mood private _mood;

    constructor(address newAi) {
        setAi(newAi);
    }

    function setMood(Mood mood) external {
        _mood = mood;
    }

    function start() external {
        TokenMock token = TokenMock(ai.feeToken());
        token.approve(address(ai), type(uint256).max);
        sessionId = ai.startUserSession(token.balanceOf(address(this)));
    }

    function ask(string memory question) public returns (bytes32) {
        return _ask(question, DtnDefaults.defaultRoutingSystemValidatedAny());
    }

    function askRanked(string memory question) external returns (bytes32) {
        IDtnAi.DtnRouting memory routing = DtnDefaults.defaultRoutingSystemValidatedAny();
        (routing.redundancy, routing.aggregationType) = (3, IDtnAi.AggregationType.RANK);
        return _ask(question, routing);
    }

    function onAnswer(bytes32 requestId) external onlyDtn {
        (,, heard) = ai.fetchResponse(requestId);
        if (_mood == Mood.ASK) ask("And then?");
        if (_mood == Mood.CLOSE) ai.closeUserSession(sessionId);
        if (_mood == Mood.COMMAND) MockDtnAi(address(ai)).answer(requestId, "Something else.");
    }

    function onFailure(bytes32 requestId) external onlyDtn {
        (, string memory message,) = ai.fetchResponse(requestId);
        heard = bytes(message);
    }

    function _ask(string memory question, IDtnAi.DtnRouting memory routing) private returns (bytes32) {
        return ai.request(
            sessionId,
            ai.modelId("gpt-4"),
            routing,
            IDtnAi.DtnRequest(abi.encode(DtnDefaults.singleArray(question)), "", IDtnAi.CallType.DIRECT, 10, 20, 1_000),
            IDtnAi.CallBack(this.onAnswer.selector, this.onFailure.selector, address(this)),
            address(this),
            1_000_000
        );
    }
}
