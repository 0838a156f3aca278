// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Fixture} from "../kit/Fixture.sol";

/// @notice ETH that goes to contracts which do not want it, or want more: it becomes claimable, and nothing waits for it.
contract EtherTest is Fixture {
    Taker private taker;
    uint256 private sessionId;

    function setUp() public override {
        super.setUp();
        taker = new Taker();
        sessionId = start(USD);
    }

    function test_TheUserRefuses() external {
        refused(Taker.Deed.REVERT);
    }

    function test_TheUserBurnsAllGas() external {
        refused(Taker.Deed.BURN);
    }

    function test_TheUserRevertsWithAMegabyte() external {
        refused(Taker.Deed.REVERT_WITH_MEGABYTE);
    }

    function test_TheUserTakesIt() external {
        taker.setDeed(Taker.Deed.TAKE);
        respond(askWith(1 ether), success("ok"));
        vm.assertEq(address(taker).balance, 1 ether);
    }

    /// @dev A relay that is a contract without a way in: what it is owed waits, and the answer does not.
    function test_TheRelayRefuses() external {
        taker.setDeed(Taker.Deed.REVERT);
        (, bytes memory terms) = ask(sessionId, routing(IDtnAi.AggregationType.ALL, 1), options(), 1 ether);
        IDtnNodes.Answer memory answer = success("ok");
        IDtnNodes.Seal[] memory given = seals(terms, answer, 1);
        uint256 before = owner.addr.balance;
        vm.txGasPrice(1 gwei);
        vm.prank(address(taker));
        ai.respondToRequest(terms, answer, given);
        vm.txGasPrice(0);
        (, uint256 owedWei) = ai.claimable(address(taker));
        vm.assertGe(owedWei, 1);
        vm.assertEq(owner.addr.balance - before + owedWei, 1 ether);
        taker.setDeed(Taker.Deed.TAKE);
        vm.prank(address(taker));
        ai.claimRefund(payable(address(taker)));
        vm.assertEq(address(taker).balance, owedWei);
    }

    /// @dev A batch's refused requests: their ETH goes back to who sent it, or waits for it.
    function test_TheSenderOfABatchRefuses() external {
        vm.deal(address(taker), 1 ether);
        token.mint(address(taker), USD);
        vm.startPrank(address(taker));
        token.approve(address(ai), USD);
        uint256 its = ai.startUserSession(USD);
        taker.setDeed(Taker.Deed.REVERT);
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](1);
        batch[0].callbackWei = 1 ether;
        ai.requestBatch{value: 1 ether}(its, batch);
        vm.stopPrank();
        (, uint256 owedWei) = ai.claimable(address(taker));
        vm.assertEq(owedWei, 1 ether);
    }

    /// @dev A claim is all or nothing: where ETH is refused, the tokens wait with it, for another address.
    function test_ClaimedToWhoRefuses() external {
        refused(Taker.Deed.REVERT);
        vm.expectRevert();
        vm.prank(address(taker));
        ai.claimRefund(payable(address(taker)));
        vm.prank(address(taker));
        ai.claimRefund(payable(thief.addr));
        vm.assertEq(thief.addr.balance, 1 ether);
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function refused(Taker.Deed deed) private {
        taker.setDeed(deed);
        bytes memory terms = askWith(1 ether);
        uint256 before = gasleft();
        respond(terms, success("ok"));
        vm.assertLe(before - gasleft(), 600_000);
        (, uint256 etherWei) = ai.claimable(address(taker));
        vm.assertEq(etherWei, 1 ether);
        vm.assertEq(address(ai).balance, 1 ether);
    }

    function askWith(uint256 etherWei) private returns (bytes memory) {
        vm.recordLogs();
        vm.prank(owner.addr);
        ai.request{value: etherWei}(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question("?"),
            callbackTo(address(0)),
            address(taker),
            0
        );
        return publishedTerms();
    }
}

contract Taker {
    enum Deed {
        TAKE,
        REVERT,
        BURN,
        REVERT_WITH_MEGABYTE
    }

    Deed private deed;

    function setDeed(Deed newDeed) external {
        deed = newDeed;
    }

    receive() external payable {
        if (deed == Deed.REVERT) revert("no");
        if (deed == Deed.BURN) while (true) {}
        if (deed == Deed.REVERT_WITH_MEGABYTE) {
            assembly {
                revert(0, 1048576)
            }
        }
    }
}
