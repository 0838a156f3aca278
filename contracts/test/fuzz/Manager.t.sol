// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {ManagerFixture} from "../kit/ManagerFixture.sol";
import {Ringing} from "../kit/Targets.sol";

contract ManagerFuzzTest is ManagerFixture {
    /// @dev Whatever a node says, the target hears that its request is over, with the gas it asked for.
    function testFuzz_TheTargetHearsOfAnyOutcome(uint16 length, uint32 targetGas, bool succeeds) external {
        IDtnAi.BatchRequest memory asked = hello();
        Ringing ringing = new Ringing();
        asked.callback = IDtnAi.CallBack(Ringing.ring.selector, Ringing.ring.selector, address(ringing));
        asked.callbackGas = bound(targetGas, 60_000, 2_200_000);
        (, bytes memory terms) = askOf(ann, create(ann, MIN), asked);
        bytes memory said = new bytes(bound(length, 0, 24_000));
        vm.cool(address(manager));
        vm.cool(address(ringing));
        respond(terms, succeeds ? success(said) : failure(string(said)));
        vm.assertEq(ringing.rings(), 1);
        vm.assertLe(ringing.gasLeft(), asked.callbackGas);
        vm.assertGe(ringing.gasLeft(), asked.callbackGas - 3_000);
    }

    /// @dev Spec B4: to the unit, at any balance, cost and moment of the close.
    function testFuzz_TheRefundIsWhatWasNotSpent(uint96 balance, uint96 cost, bool closeFirst) external restsNowhere {
        uint256 funds = bound(balance, MIN, FUNDS);
        uint256 paid = bound(cost, 5 * FEE_REQ + 20, funds);
        uint256 sessionId = create(ann, funds);
        IDtnAi.BatchRequest memory asked = hello();
        asked.request.feePerByteRes = paid;
        asked.request.totalFeePerRes = paid - 5 * FEE_REQ < 1_000 ? 1_000 : paid - 5 * FEE_REQ;
        vm.assume(5 * FEE_REQ + asked.request.totalFeePerRes <= funds);
        paid = 5 * FEE_REQ + (asked.request.totalFeePerRes < paid ? asked.request.totalFeePerRes : paid);
        (, bytes memory terms) = askOf(ann, sessionId, asked);
        if (closeFirst) closeAll();
        answer(terms, "x");
        if (!closeFirst) closeAll();
        if (manager.withdrawable(ann.addr) > 0) manager.withdraw(ann.addr);
        vm.assertEq(token.balanceOf(ann.addr), FUNDS - paid);
        vm.assertEq(ai.earned(nodeIds[0]), paid);
    }

    /// @dev Spec B8: the owner's loss is bounded, whatever the takers do in their leases.
    function testFuzz_TakersNeverSpendMoreThanTheBudget(uint96 takerCap, uint96 budget, uint8[] calldata sizes)
        external
    {
        uint256 most = bound(budget, 1, 40 * USD);
        uint256 cap = bound(takerCap, 1, most);
        uint256 sessionId = create(ann, 50 * USD);
        share(ann, sessionId, cap, most);
        uint256[2] memory spent;
        for (uint256 i = 0; i < sizes.length && i < 8; i++) {
            Person memory taker = i % 2 == 0 ? bob : thief;
            vm.prank(taker.addr);
            try manager.getFromPool() {}
            catch {
                continue;
            }
            uint256 before = free(sessionId);
            IDtnAi.BatchRequest memory asked = hello();
            asked.request.totalFeePerRes = 1_000 + uint256(sizes[i]) * USD / 10;
            vm.recordLogs();
            vm.prank(taker.addr);
            try manager.makeAIRequest(sessionId, asked) {
                answer(publishedTerms(), new bytes(uint256(sizes[i]) * 10));
            } catch {}
            spent[i % 2] += before - free(sessionId);
            vm.prank(taker.addr);
            manager.returnToPool(sessionId);
        }
        vm.assertLe(spent[0], cap);
        vm.assertLe(spent[1], cap);
        vm.assertLe(spent[0] + spent[1], most);
        vm.assertEq(manager.spentBy(sessionId, bob.addr), spent[0]);
        vm.assertEq(manager.spentBy(sessionId, thief.addr), spent[1]);
        vm.assertEq(free(sessionId), 50 * USD - spent[0] - spent[1]);
    }

    function closeAll() private {
        vm.prank(ann.addr);
        manager.closeAllSessions();
    }
}
