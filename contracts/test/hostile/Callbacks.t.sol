// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {DepositAddress} from "../../src/DepositAddress.sol";
import {Fixture} from "../kit/Fixture.sol";

/// @notice Callbacks that do their worst: the request settles, the node is paid, and nobody else notices.
contract CallbacksTest is Fixture {
    Rogue private rogue;
    uint256 private sessionId;

    function setUp() public override {
        super.setUp();
        rogue = new Rogue();
        sessionId = start(100 * USD);
    }

    function test_ItReverts() external {
        answered(Rogue.Deed.REVERT, false);
    }

    function test_ItBurnsAllItsGas() external {
        answered(Rogue.Deed.BURN, false);
    }

    /// @dev 1 MB of return data costs who returns it 2.2 million gas, and who does not copy it nothing.
    function test_ItReturnsAMegabyte() external {
        uint256 before = gasleft();
        answered(Rogue.Deed.RETURN_MEGABYTE, true);
        vm.assertLe(before - gasleft(), 3_500_000);
    }

    function test_ItRevertsWithAMegabyte() external {
        uint256 before = gasleft();
        answered(Rogue.Deed.REVERT_WITH_MEGABYTE, false);
        vm.assertLe(before - gasleft(), 3_500_000);
    }

    /// @dev As after it destroyed itself: it is called and does nothing.
    function test_ItHasNoCode() external {
        vm.etch(address(rogue), "");
        answered(Rogue.Deed.REVERT, true);
    }

    function test_ItJumpsOutOfItsCode() external {
        answered(Rogue.Deed.INVALID, false);
    }

    /// @dev A callback is one word of arguments; `collect` takes two.
    function test_ItIsADepositAddress() external {
        token.mint(ai.feeTargetOf(thief.addr), 5 * USD);
        vm.prank(thief.addr);
        ai.startUserSession();
        address target = ai.feeTargetOf(thief.addr);
        token.mint(target, 5 * USD);
        bytes memory terms = askFor(target, DepositAddress.collect.selector, 100_000);
        vm.expectEmit(address(ai));
        emit IDtnAiEvents.CallbackFailed(idOf(terms), target);
        respond(terms, success("ok"));
        vm.assertEq(token.balanceOf(target), 5 * USD);
    }

    // ──────────────────────────────────────────────── gas ────────────────────────────────────────────

    /// @dev 63/64: with whatever gas a node sends, the callback gets all it was promised or the answer reverts. This one
    /// catches its own lack of gas, so that from outside it would seem to have succeeded.
    function testFuzz_ItGetsItsGasOrNothingHappens(uint256 sent, uint256 promised) external {
        promised = bound(promised, 10_000, 2_500_000);
        sent = bound(sent, promised, promised + promised / 32 + 200_000);
        bytes memory terms = askFor(address(rogue), Rogue.measure.selector, promised);
        sendGas(terms, sent);
        // What was spent before it looked, at most.
        if (rogue.gasSeen() != 0) vm.assertGe(rogue.gasSeen() + 500, promised);
    }

    /// @dev The smallest gas that does: below it nothing, at it everything.
    function test_ItGetsItsGasAtTheEdge() external {
        getsItAtTheEdge(address(rogue));
    }

    /// @dev An account that delegates to a contract (EIP-7702) costs twice a cold account's price to call.
    function test_ItGetsItsGasThroughADelegation() external {
        // What it costs, forge only knows from that version on.
        vm.setEvmVersion("prague");
        address delegating = person("delegating").addr;
        vm.etch(delegating, abi.encodePacked(hex"ef0100", address(rogue)));
        getsItAtTheEdge(delegating);
    }

    // ─────────────────────────────────────────── ids and keeping ─────────────────────────────────────

    function test_TheIdZeroIsNoRequest() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_RequestNotFound.selector, bytes32(0)));
        ai.fetchResponse(bytes32(0));
    }

    /// @dev A kept response answers to its own id, and to no other that points at the same slot.
    /// forge-config: default.isolate = true
    function testFuzz_AKeptResponseHasOneId(uint8 bit) external {
        (bytes32 id, bytes memory terms) =
            ask(sessionId, routing(IDtnAi.AggregationType.ANY, 1), IDtnAi.RequestOptions(0, true), 0);
        respond(terms, success("ok"));
        (,, bytes memory response) = ai.fetchResponse(id);
        vm.assertEq(response, "ok");
        bytes32 other = id ^ bytes32(1 << uint256(bit));
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_RequestNotFound.selector, other));
        ai.fetchResponse(other);
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function answered(Rogue.Deed deed, bool succeeds) private {
        if (address(rogue).code.length > 0) rogue.setDeed(deed);
        uint256 earnedBefore = ai.earned(nodeIds[0]);
        (, uint256 available,,) = ai.sessionOf(sessionId);
        bytes memory terms = askFor(address(rogue), Rogue.onSuccess.selector, 2_500_000);
        if (!succeeds) {
            vm.expectEmit(address(ai));
            emit IDtnAiEvents.CallbackFailed(idOf(terms), address(rogue));
        }
        respond(terms, success("ok"));
        uint256 cost = FEE_REQ + 2 * FEE_RES;
        vm.assertEq(ai.earned(nodeIds[0]), earnedBefore + cost);
        (, uint256 left, uint256 held,) = ai.sessionOf(sessionId);
        vm.assertEq(left, available - cost);
        vm.assertEq(held, 0);
    }

    function askFor(address target, bytes4 selector, uint256 callbackGas) private returns (bytes memory) {
        vm.recordLogs();
        vm.prank(owner.addr);
        ai.request(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question("?"),
            IDtnAi.CallBack(selector, selector, target),
            owner.addr,
            callbackGas
        );
        return publishedTerms();
    }

    /// @dev Finds the smallest gas that settles a request; with it, the callback sees as much as with more than enough.
    function getsItAtTheEdge(address target) private {
        bytes memory terms = askFor(target, Rogue.measure.selector, 1_000_000);
        uint256 ample = seenWith(terms, target, 3_000_000);
        (uint256 low, uint256 high) = (1_000_000, 3_000_000);
        while (high - low > 1) {
            uint256 middle = (low + high) / 2;
            if (seenWith(terms, target, middle) == 0) low = middle;
            else high = middle;
        }
        vm.assertEq(seenWith(terms, target, high), ample);
    }

    /// @dev What the callback sees of its gas, or 0 if nothing happens. Leaves no trace.
    function seenWith(bytes memory terms, address target, uint256 gasLimit) private returns (uint256 seen) {
        uint256 state = vm.snapshotState();
        vm.cool(target);
        vm.cool(address(rogue));
        if (sendGas(terms, gasLimit)) seen = Rogue(target).gasSeen();
        vm.revertToState(state);
    }

    function sendGas(bytes memory terms, uint256 gasLimit) private returns (bool done) {
        bytes memory data = abi.encodeWithSignature(
            "respondToRequest(bytes,bytes32,(uint8,string,bytes))", terms, nodeIds[0], success("ok")
        );
        vm.prank(operators[0].addr);
        (done,) = address(ai).call{gas: gasLimit}(data);
    }
}

/// @notice Does what it should not.
contract Rogue {
    enum Deed {
        REVERT,
        BURN,
        RETURN_MEGABYTE,
        REVERT_WITH_MEGABYTE,
        INVALID
    }

    Deed private deed;
    uint256 public gasSeen;

    function setDeed(Deed newDeed) external {
        deed = newDeed;
    }

    function measure(bytes32) external {
        uint256 seen = gasleft();
        gasSeen = seen;
    }

    function onSuccess(bytes32) external view {
        if (deed == Deed.REVERT) revert("no");
        if (deed == Deed.BURN) while (true) {}
        if (deed == Deed.INVALID) assembly { invalid() }
        uint256 size = 1 << 20;
        if (deed == Deed.RETURN_MEGABYTE) assembly { return(0, size) }
        assembly { revert(0, size) }
    }
}
