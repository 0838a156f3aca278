// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {Fixture} from "../kit/Fixture.sol";
import {TetherMock} from "../kit/Tokens.sol";

/// forge-config: default.isolate = true
contract GuardedTest is Fixture {
    Enterer private enterer;

    function setUp() public override {
        super.setUp();
        enterer = new Enterer();
        token.mint(address(enterer), 100 * USD);
        enterer.run(address(token), abi.encodeCall(token.approve, (address(ai), type(uint256).max)), 0);
    }

    function test_WhenACallbackAsksAndStartsAndCloses() external {
        (uint256 sessionId, bytes memory terms) = askAsEnterer(0);
        enterer.plan(address(ai), askCall(sessionId, 0));
        enterer.plan(address(ai), abi.encodeWithSignature("startUserSession(uint256)", USD));
        enterer.plan(address(ai), abi.encodeCall(IDtnAi.closeUserSession, (sessionId)));
        vm.recordLogs();
        respond(terms, success("ok"));
        bytes memory next = publishedTerms();
        vm.assertTrue(enterer.done());
        // The slot was free when the callback asked: it is used again, and by one request only.
        vm.assertEq(termsOf(next).slot, termsOf(terms).slot);
        respond(next, success("ok"));
        // 100 USD came, one is in the session that the callback started, the rest is earned or paid back.
        vm.assertEq(token.balanceOf(address(enterer)), 99 * USD - ai.earned(nodeIds[0]));
        vm.assertEq(token.balanceOf(address(ai)), USD + ai.earned(nodeIds[0]));
    }

    function test_WhenACallbackSettlesAnotherRequest() external {
        (uint256 sessionId, bytes memory terms) = askAsEnterer(0);
        vm.recordLogs();
        enterer.run(address(ai), askCall(sessionId, 0), 0);
        bytes memory other = publishedTerms();
        vm.warp(termsOf(other).deadline);
        enterer.plan(address(ai), abi.encodeWithSignature("expire(bytes)", other));
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.CallbackFailed(idOf(terms), address(enterer));
        respond(terms, success("ok"));
        vm.assertEq(enterer.reason(), "");
    }

    function test_WhenAUserIsPaidEtherAndEnters() external {
        vm.deal(address(enterer), 1 ether);
        (uint256 sessionId, bytes memory terms) = askAsEnterer(1 ether);
        enterer.planOnEther(address(ai), abi.encodeCall(IDtnAi.closeUserSession, (sessionId)));
        respond(terms, success("ok"));
        (, uint256 etherWei) = ai.claimable(address(enterer));
        vm.assertEq(etherWei, 1 ether);
    }

    function test_RevertWhen_ATokenEntersWhileItMoves() external {
        EnteringToken entering = new EnteringToken();
        IDtn other = deployAi(address(entering), admin.addr);
        entering.mint(owner.addr, 100);
        entering.mint(address(entering), 100);
        entering.aim(other);
        vm.startPrank(owner.addr);
        entering.approve(address(other), 100);
        // Else both would be credited with what the two transfers brought together.
        vm.expectRevert(IDtnAiEvents.DtnAi_Reentered.selector);
        other.startUserSession(100);
        vm.stopPrank();
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function askAsEnterer(uint256 etherWei) private returns (uint256 sessionId, bytes memory terms) {
        sessionId = abi.decode(
            enterer.run(address(ai), abi.encodeWithSignature("startUserSession(uint256)", 10 * USD), 0), (uint256)
        );
        vm.recordLogs();
        enterer.run(address(ai), askCall(sessionId, etherWei), etherWei);
        return (sessionId, publishedTerms());
    }

    function askCall(uint256 sessionId, uint256) private view returns (bytes memory) {
        return abi.encodeWithSelector(
            bytes4(
                keccak256(
                    "request(uint256,bytes32,bytes32[],(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256)"
                )
            ),
            sessionId,
            modelId(),
            systemTrust(),
            question("?"),
            callbackTo(address(enterer)),
            address(enterer),
            CALLBACK_GAS
        );
    }

    function systemTrust() private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](1);
        ids[0] = SYSTEM;
    }
}

/// @notice Does what it was told to when it is called back or paid; a plan that fails fails the callback.
contract Enterer {
    struct Step {
        address target;
        bytes data;
    }

    Step[] private steps;
    Step private onEther;
    bool public done;
    bytes public reason;

    function plan(address target, bytes calldata data) external {
        steps.push(Step(target, data));
    }

    function planOnEther(address target, bytes calldata data) external {
        onEther = Step(target, data);
    }

    function run(address target, bytes memory data, uint256 etherWei) public returns (bytes memory result) {
        bool ok;
        (ok, result) = target.call{value: etherWei}(data);
        if (!ok) {
            assembly {
                revert(add(result, 32), mload(result))
            }
        }
    }

    function onSuccess(bytes32) external {
        for (uint256 i = 0; i < steps.length; i++) {
            run(steps[i].target, steps[i].data, 0);
        }
        delete steps;
        done = true;
    }

    receive() external payable {
        if (onEther.target != address(0)) run(onEther.target, onEther.data, 0);
    }
}

/// @notice While it moves somebody's money, starts a session of its own.
contract EnteringToken is TetherMock(6) {
    IDtn private target;

    function aim(IDtn newTarget) external {
        target = newTarget;
        allowance[address(this)][address(newTarget)] = type(uint256).max;
    }

    function _move(address from, address to, uint256 amount) internal override {
        if (from != address(this)) target.startUserSession(amount);
        super._move(from, to, amount);
    }
}
