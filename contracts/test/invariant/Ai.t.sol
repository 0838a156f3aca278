// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {Test} from "../kit/Test.sol";
import {TokenMock} from "../kit/Tokens.sol";
import {AiHandler} from "./AiHandler.sol";
import {Nodes} from "./Nodes.sol";
import {Thieves} from "./Thieves.sol";

/// @notice The AI contract's invariants, as numbered in README.md. I3, I5, I9, I10 are asserted by the handler where it
/// acts, too; a call of its that reverts fails the run.
abstract contract AiInvariants is Test {
    AiHandler private handler;
    IDtnAi private ai;
    TokenMock private token;

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function decimals() internal pure virtual returns (uint8);

    function setUp() public {
        handler = new AiHandler(decimals());
        (ai, token) = (handler.aiContract(), handler.fussy());
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), ACTIONS);
    }

    /// @dev One function, so that each run of calls serves them all.
    function invariant_Books() public view {
        uint256 sum = handler.earnedOfAll();
        uint256[] memory inSessions = new uint256[](handler.peopleCount());
        for (uint256 i = 0; i < handler.sessionCount(); i++) {
            (uint256 who, uint256 amount) = assertSession(handler.sessions(i));
            inSessions[who] += amount;
            sum += amount;
        }
        for (uint256 i = 0; i < inSessions.length; i++) {
            address who = handler.people(i);
            vm.assertEq(inSessions[i] + handler.outsideOf(who), handler.owned(who), "I3, I5: somebody's money");
            (uint256 claimable,) = ai.claimable(who);
            sum += claimable;
        }
        vm.assertEq(token.balanceOf(address(ai)), sum + handler.donated(), "I1: tokens");
        vm.assertEq(address(ai).balance, handler.etherOfAll() + handler.forcedWei(), "I2: ETH");
        vm.assertEq(handler.chameleon().broke(), 0, "entered while money moved");
    }

    /// @dev I8: the nodes silent, everybody has out what was not paid for answers; donations and earnings are left.
    function afterInvariant() external {
        handler.takeAllOut();
        invariant_Books();
        for (uint256 i = 0; i < handler.peopleCount(); i++) {
            address who = handler.people(i);
            uint256 has = token.balanceOf(who) + token.balanceOf(handler.refugeOf(who));
            vm.assertEq(has, handler.owned(who), "I8: tokens that cannot be taken out");
        }
        vm.assertEq(token.balanceOf(address(ai)), handler.earnedOfAll() + handler.donated(), "I8: tokens");
        vm.assertEq(address(ai).balance, handler.forcedWei(), "I8: ETH");
    }

    /// @dev Invariants prove nothing of what the handler never manages to do.
    function test_TheHandlerGetsEverywhere() external {
        for (uint256 i = 0; i < 3_000; i++) {
            uint256 word = uint256(keccak256(abi.encode(i)));
            bytes4 action = ACTIONS[word % ACTIONS.length];
            bytes memory call = abi.encodeWithSelector(action, word >> 8, word >> 16, word >> 24);
            (bool done, bytes memory reason) = address(handler).call(call);
            if (!done) bubble(reason);
            if (i % 100 == 0) invariant_Books();
        }
        for (uint256 i = 0; i < DEEDS.length; i++) {
            vm.assertGe(handler.count(DEEDS[i]), 1, DEEDS[i]);
        }
        for (uint256 i = 0; i < 20; i++) {
            string memory theft = string.concat("theft ", vm.toString(i));
            vm.assertGe(handler.count(theft), 1, theft);
        }
        for (uint256 i = 100; i < 108; i++) {
            string memory theft = string.concat("theft ", vm.toString(i));
            vm.assertGe(handler.count(theft), 1, theft);
        }
        vm.assertGe(handler.chameleon().entered(), 1);
        vm.assertGe(handler.chameleon().gaveBack(), 1);
        this.afterInvariant();
    }

    /// @dev I4, I6. Of a session, who owns it and what it has.
    function assertSession(uint256 sessionId) private view returns (uint256 who, uint256 amount) {
        (address sessionOwner, uint256 available, uint256 held, bool open) = ai.sessionOf(sessionId);
        vm.assertEq(held, handler.heldOf(sessionId), "I4: held");
        vm.assertTrue(open || available == 0, "I6: a closed session has something");
        while (handler.people(who) != sessionOwner) who++;
        return (who, available + held);
    }

    function bubble(bytes memory reason) private pure {
        assembly {
            revert(add(reason, 32), mload(reason))
        }
    }

    bytes4[] private ACTIONS = [
        AiHandler.deposit.selector,
        AiHandler.startFromDeposit.selector,
        AiHandler.start.selector,
        AiHandler.startAuthorized.selector,
        AiHandler.fund.selector,
        AiHandler.fundFromDeposit.selector,
        AiHandler.ask.selector,
        AiHandler.ask.selector,
        AiHandler.ask.selector,
        AiHandler.askBatch.selector,
        AiHandler.close.selector,
        AiHandler.claim.selector,
        AiHandler.block_.selector,
        AiHandler.setMoods.selector,
        AiHandler.plot.selector,
        AiHandler.donate.selector,
        AiHandler.force.selector,
        Nodes.answer.selector,
        Nodes.answer.selector,
        Nodes.answer.selector,
        Nodes.expire.selector,
        Nodes.withdraw.selector,
        Nodes.pass.selector,
        Nodes.passDays.selector,
        Thieves.steal.selector,
        Thieves.answerWrong.selector
    ];

    string[] private DEEDS = [
        "deposit",
        "start from deposit",
        "start",
        "start authorized",
        "fund",
        "fund from deposit",
        "ask",
        "asked in a batch",
        "close",
        "claim",
        "claim ETH",
        "donate",
        "force",
        "answer alone",
        "answer by seals",
        "answer by pick",
        "answer by rank",
        "fail",
        "expire",
        "withdraw",
        "callback failed",
        "refund refused"
    ];
}

/// forge-config: default.invariant.fail-on-revert = true
contract AiInvariantsOf6DecimalsTest is AiInvariants {
    function decimals() internal pure override returns (uint8) {
        return 6;
    }
}

/// forge-config: default.invariant.fail-on-revert = true
contract AiInvariantsOf18DecimalsTest is AiInvariants {
    function decimals() internal pure override returns (uint8) {
        return 18;
    }
}
