// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {WordAsker} from "../kit/Askers.sol";
import {Fixture} from "../kit/Fixture.sol";

/// @notice Whole-receipt gas, against the ceilings of issue 4. `isolate` makes every call a transaction of its own:
/// cold storage, intrinsic and calldata gas included, refunds taken off.
/// forge-config: default.isolate = true
contract GasTest is Fixture {
    WordAsker internal word;
    bytes internal call256;
    bytes internal response256;

    function setUp() public override {
        super.setUp();
        word = new WordAsker();
        for (uint256 i = 0; i < 8; i++) {
            call256 = abi.encodePacked(call256, keccak256(abi.encode("call", i)));
            response256 = abi.encodePacked(response256, keccak256(abi.encode("response", i)));
        }
        // Nobody measured is new to the token or to the books: that is what use looks like after the first time.
        token.mint(address(ai), 1);
        for (uint256 i = 0; i < 7; i++) {
            vm.deal(operators[i].addr, 1 ether);
        }
        (, bytes memory terms) = ask(start(10 * USD), routing(IDtnAi.AggregationType.ALL, 7), options(), 0);
        IDtnNodes.Answer memory answer = success("warm");
        ai.respondToRequest(terms, answer, seals(terms, answer, 7));
    }

    function test_StartWithAllowance() external {
        vm.prank(owner.addr);
        ai.startUserSession(10 * USD);
        check("start with allowance", 80_000);
    }

    function test_StartThroughDepositAddressInOneTransaction() external {
        Starter starter = new Starter(ai, IMoney(address(token)));
        token.mint(address(starter), 100 * USD);
        starter.start(10 * USD);
        check("start through the deposit address, the first time", 150_000);
        starter.start(10 * USD);
        check("start through the deposit address, later", 100_000);
    }

    function test_StartThroughDepositAddressInTwo() external {
        uint256 total;
        for (uint256 i = 0; i < 2; i++) {
            address target = ai.feeTargetOf(owner.addr);
            vm.prank(owner.addr);
            token.transfer(target, USD);
            total = vm.lastCallGas().gasTotalUsed;
            vm.prank(owner.addr);
            ai.startUserSession();
            total += vm.lastCallGas().gasTotalUsed;
            vm.snapshotValue("ai", i == 0 ? "transfer and start, the first time" : "transfer and start, later", total);
        }
    }

    function test_Request() external {
        uint256 sessionId = start(10 * USD);
        bytes memory terms = ask256(sessionId, 0, options());
        check("request, new slot", 92_000);
        answer256(terms);
        ask256(sessionId, 0, options());
        check("request, reused slot", 75_000);
    }

    function test_Respond() external {
        answer256(ask256(start(10 * USD), 0, options()));
        check("respond with callback", 80_000);
        // An isolated call has no gas price, so that the node is owed nothing and the user is sent everything back; paying
        // the node too makes it 90,076 on anvil.
        answer256(ask256(start(10 * USD), 0.01 ether, options()));
        check("respond with callback, ETH sent back", 90_000);
    }

    function test_RespondSealed() external {
        respondSealed(namedRouting(IDtnAi.AggregationType.VOTE, 3));
        check("respond with three signatures, named nodes", 105_000);
        respondSealed(routing(IDtnAi.AggregationType.VOTE, 3));
        check("respond with three signatures, a namespace", 112_000);
    }

    function test_RespondKept() external {
        answer256(ask256(start(10 * USD), 0, IDtnAi.RequestOptions(0, true)));
        check("respond, answer kept on chain", 165_000);
    }

    function test_Expire() external {
        bytes memory terms = ask256(start(10 * USD), 0, options());
        vm.warp(termsOf(terms).deadline + 1);
        ai.expire(terms);
        check("expire with failure callback", 55_000);
    }

    function test_Close() external {
        uint256 sessionId = start(10 * USD);
        vm.prank(owner.addr);
        ai.closeUserSession(sessionId);
        check("close and refund", 55_000);
    }

    function test_Batch() external {
        uint256 sessionId = start(10 * USD);
        bytes[] memory made = new bytes[](4);
        for (uint256 i = 0; i < 4; i++) {
            made[i] = ask256(sessionId, 0, options());
        }
        for (uint256 i = 0; i < 4; i++) {
            answer256(made[i]);
        }
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](4);
        for (uint256 i = 0; i < 4; i++) {
            batch[i] = IDtnAi.BatchRequest({
                modelId: modelId(),
                routing: routing(IDtnAi.AggregationType.ANY, 1),
                request: question(call256),
                callback: callbackTo(address(word)),
                user: owner.addr,
                callbackGas: 100_000,
                callbackWei: 0,
                options: options()
            });
        }
        vm.prank(owner.addr);
        IDtnAi.BatchResult[] memory results = ai.requestBatch(sessionId, batch);
        check("batch of four, reused slots", 4 * 45_000);
        for (uint256 i = 0; i < 4; i++) {
            vm.assertEq(results[i].reason, "");
        }
    }

    function respondSealed(IDtnAi.DtnRouting memory route) private {
        bytes memory terms = ask256(start(10 * USD), route, 0, options());
        IDtnNodes.Answer memory answer = success(response256);
        ai.respondToRequest(terms, answer, seals(terms, answer, 3));
    }

    function check(string memory step, uint256 ceiling) private {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        vm.snapshotValue("ai", step, used);
        vm.assertLe(used, ceiling, step);
    }

    function ask256(uint256 sessionId, uint256 etherWei, IDtnAi.RequestOptions memory chosen)
        private
        returns (bytes memory)
    {
        return ask256(sessionId, routing(IDtnAi.AggregationType.ANY, 1), etherWei, chosen);
    }

    function ask256(
        uint256 sessionId,
        IDtnAi.DtnRouting memory route,
        uint256 etherWei,
        IDtnAi.RequestOptions memory chosen
    ) private returns (bytes memory) {
        vm.recordLogs();
        vm.prank(owner.addr);
        if (chosen.keepResponse) {
            ai.request{value: etherWei}(
                sessionId, modelId(), route, question(call256), callbackTo(address(word)), owner.addr, 100_000, chosen
            );
        } else {
            ai.request{value: etherWei}(
                sessionId, modelId(), route, question(call256), callbackTo(address(word)), owner.addr, 100_000
            );
        }
        return publishedTerms();
    }

    function answer256(bytes memory terms) private {
        vm.prank(operators[0].addr);
        ai.respondToRequest(terms, nodeIds[0], success(response256));
    }
}

/// @notice Starts sessions as the seeds do: transfer to the fee target, then start, in one transaction.
contract Starter {
    IDtnAi private immutable AI;
    IMoney private immutable TOKEN;

    constructor(IDtnAi ai, IMoney token) {
        (AI, TOKEN) = (ai, token);
    }

    function start(uint256 amount) external returns (uint256) {
        TOKEN.transfer(AI.feeTarget(), amount);
        return AI.startUserSession();
    }
}

interface IMoney {
    function transfer(address to, uint256 amount) external returns (bool);
}
