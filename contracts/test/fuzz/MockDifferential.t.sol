// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {MockDtnAi} from "@deeptrust/contracts/mock-dtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {BlockableToken} from "../kit/BlockableToken.sol";
import {Fixture} from "../kit/Fixture.sol";
import {Moody} from "../kit/Moody.sol";
import {Vm} from "../kit/Vm.sol";

/// @notice The same deeds, done to the AI contract and to the mock, leave the same trace: what calls return or revert
/// with, every event, every balance, what callbacks can read.
/// @dev Isolated: each call is a transaction of its own, as the mock takes it to be.
/// forge-config: default.isolate = true
contract MockDifferentialTest is Fixture {
    struct Deed {
        uint8 kind;
        uint8 which;
        uint16 size;
        uint8 option;
    }

    MockDtnAi private mock;
    Moody private target;
    address private onTest;

    uint256[] private sessions;
    bytes32[] private ids;
    mapping(bytes32 requestId => bytes) private termsBy;
    bytes32[] private trace;

    function setUp() public override {
        super.setUp();
        vm.warp(1_800_000_000);
        vm.etch(address(token), address(new BlockableToken()).code);
        target = new Moody();
        mock = new MockDtnAi(address(token));
        mock.offerModel(MODEL, 10, 20, 1_000, 2);
        vm.prank(admin.addr);
        ai.setModel(MODEL, IDtnNodes.Model(10, 20, 1_000, 2));
        for (uint256 i = 0; i < 7; i++) {
            mock.setNodes(nodeIds[i], 1);
        }
        token.mint(thief.addr, 1_000 * USD);
        vm.deal(thief.addr, 100 ether);
        address[2] memory users = [owner.addr, thief.addr];
        for (uint256 i = 0; i < 2; i++) {
            vm.startPrank(users[i]);
            token.approve(address(ai), type(uint256).max);
            token.approve(address(mock), type(uint256).max);
            vm.stopPrank();
        }
    }

    /// forge-config: default.fuzz.runs = 16
    function testFuzz_TheSameDeedsLeaveTheSameTrace(Deed[] calldata deeds) external {
        assertSameTrace(deeds);
    }

    /// @dev Long enough that slots are used again, sessions run dry and close, and requests expire.
    function test_ThreeHundredDeedsLeaveTheSameTrace() external {
        for (uint256 round = 0; round < 4; round++) {
            Deed[] memory deeds = new Deed[](300);
            for (uint256 i = 0; i < deeds.length; i++) {
                uint256 word = uint256(keccak256(abi.encode(round, i)));
                deeds[i] = Deed(uint8(word), uint8(word >> 8), uint16(word >> 16), uint8(word >> 32));
            }
            assertSameTrace(deeds);
        }
    }

    function assertSameTrace(Deed[] memory deeds) private {
        uint256 start = vm.snapshotState();
        bytes32[] memory original = traceOf(address(ai), deeds);
        vm.revertToState(start);
        bytes32[] memory mocked = traceOf(address(mock), deeds);
        vm.revertToState(start);
        for (uint256 i = 0; i < original.length; i++) {
            vm.assertTrue(mocked[i] == original[i], string.concat("at deed ", vm.toString(i)));
        }
    }

    function traceOf(address on, Deed[] memory deeds) private returns (bytes32[] memory) {
        onTest = on;
        delete trace;
        delete sessions;
        delete ids;
        for (uint256 i = 0; i < deeds.length; i++) {
            trace.push(this.traceOfOne(deeds[i]));
        }
        return trace;
    }

    /// @dev A call and a transaction of its own, which also gives its memory back.
    function traceOfOne(Deed calldata deed) external returns (bytes32) {
        vm.recordLogs();
        (bool done, bytes memory result) = perform(deed);
        // Where deposits lie differs, as the contracts' addresses do.
        if (bytes4(result) == IDtnAiEvents.DtnAi_NothingDeposited.selector) result = "nothing deposited";
        return keccak256(abi.encode(done, result, notedLogs(), balances()));
    }

    // ───────────────────────────────────────────── deeds ─────────────────────────────────────────────

    function perform(Deed memory deed) private returns (bool, bytes memory) {
        address who = deed.option % 8 == 0 ? thief.addr : owner.addr;
        uint256 kind = deed.kind % 16;
        uint256 amount = uint256(deed.size) * 100;
        if (kind == 0) return call(who, 0, abi.encodeWithSignature("startUserSession(uint256)", amount * 10));
        if (kind == 1) return call(who, 0, abi.encodeWithSignature("startUserSession()"));
        if (kind == 2) return deposit(who, amount);
        if (kind == 3) return call(who, 0, abi.encodeWithSignature("fundSession(uint256)", session(deed)));
        if (kind == 4) {
            return call(who, 0, abi.encodeWithSignature("fundSession(uint256,uint256)", session(deed), amount));
        }
        if (kind == 5 && deed.option % 4 == 0) {
            return call(who, 0, abi.encodeCall(IDtnAi.closeUserSession, (session(deed))));
        }
        if (kind < 9) return requestBatchOf(who, deed);
        if (kind < 12) return settleOne(deed);
        if (kind == 12) return call(who, 0, abi.encodeCall(IDtnAi.fetchResponse, (requestOf(deed))));
        if (kind == 13) return call(who, 0, abi.encodeCall(IDtnAi.claimRefund, (payable(thief.addr))));
        if (kind == 14) vm.warp(block.timestamp + uint256(deed.size) % 2_000);
        else if (deed.option % 4 == 0) BlockableToken(address(token)).setBlocked(owner.addr, deed.size % 2 == 0);
        else target.setMood(deed.which);
        return (true, "");
    }

    function deposit(address who, uint256 amount) private returns (bool, bytes memory) {
        address to = IDtnAi(onTest).feeTargetOf(who);
        vm.prank(who);
        try token.transfer(to, amount) {} catch {}
        return (true, "");
    }

    /// @dev One in three by itself, as `request` would; the rest as a batch of two.
    function requestBatchOf(address who, Deed memory deed) private returns (bool done, bytes memory result) {
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](2);
        (batch[0], batch[1]) = (asked(deed, deed.which), asked(deed, deed.which ^ uint8(deed.size)));
        if (deed.kind % 16 < 7) {
            (done, result) = requestAlone(who, deed, batch[0]);
            if (done) remember(abi.decode(result, (bytes32)));
        } else {
            bytes memory data = abi.encodeCall(IDtnAi.requestBatch, (session(deed), batch));
            uint256 etherWei = batch[0].callbackWei + batch[1].callbackWei;
            (done, result) = call(who, deed.option % 32 == 1 ? etherWei + 1 : etherWei, data);
            if (!done) return (done, result);
            IDtnAi.BatchResult[] memory results = abi.decode(result, (IDtnAi.BatchResult[]));
            remember(results[0].requestId);
            remember(results[1].requestId);
        }
    }

    function requestAlone(address who, Deed memory deed, IDtnAi.BatchRequest memory one)
        private
        returns (bool, bytes memory)
    {
        uint256 id = deed.option % 16 == 2 ? 0 : session(deed);
        vm.prank(who);
        try IDtnAi(onTest).request{value: one.callbackWei}(
            id, one.modelId, one.routing, one.request, one.callback, one.user, one.callbackGas, one.options
        ) returns (
            bytes32 requestId
        ) {
            return (true, abi.encode(requestId));
        } catch (bytes memory reason) {
            return (false, reason);
        }
    }

    /// @dev Mostly a good request; each seed makes another thing wrong, or other than its default.
    function asked(Deed memory deed, uint8 seed) private view returns (IDtnAi.BatchRequest memory made) {
        made.modelId = seed == 1 ? bytes32(0) : modelId();
        made.routing = seed % 3 == 0
            ? namedRouting(IDtnAi.AggregationType(seed % 5), 1 + seed % 7)
            : routing(IDtnAi.AggregationType(seed % 5), seed % 9);
        if (seed == 2) made.routing.trustNamespaceIds = new bytes32[](1);
        if (seed == 3) made.routing.trustedNodeIds = new bytes32[](17);
        made.routing.confidenceLevel = seed % 110;
        made.request = question(new bytes(deed.size % 64));
        made.request.totalFeePerRes = 1_000 + uint256(deed.size);
        if (seed == 4) made.request.feePerByteReq = 9;
        if (seed == 5) made.request.feePerByteRes = 19;
        if (seed == 6) made.request.totalFeePerRes = 999;
        if (seed == 7) made.request.totalFeePerRes = 1 << 96;
        if (seed == 8) made.request.calltype = IDtnAi.CallType.IPFS;
        made.callback = IDtnAi.CallBack(Moody.good.selector, Moody.bad.selector, address(target));
        if (seed == 9) made.callback.target = address(token);
        if (seed % 11 == 0) made.callback.target = address(0);
        made.callbackGas = seed % 6 == 0 ? 3_000_000 : uint256(seed % 4) * 60_000;
        made.callbackWei = seed % 5 == 0 ? 1 gwei : 0;
        made.user = seed % 2 == 0 ? address(0) : owner.addr;
        made.options.keepResponse = seed % 7 == 0;
        made.options.timeoutSeconds = seed == 11 ? 59 : seed == 12 ? 604_801 : uint32(seed % 3) * 700;
    }

    function settleOne(Deed memory deed) private returns (bool, bytes memory) {
        bytes32 id = requestOf(deed);
        if (id == 0) return (true, "");
        uint256 length = deed.size == 7 ? 24_001 : deed.size % 700;
        if (deed.option % 5 == 0) return expireOne(id);
        if (deed.option % 5 == 1) return failOne(id, string(new bytes(length)));
        return answerOne(id, new bytes(length));
    }

    // ──────────────────────────── what nodes do to the one, and commands to the other ────────────────

    function expireOne(bytes32 id) private returns (bool, bytes memory) {
        if (onTest == address(mock)) return call(thief.addr, 0, abi.encodeCall(mock.expire, (id)));
        return call(thief.addr, 0, abi.encodeCall(ai.expire, (termsBy[id])));
    }

    function failOne(bytes32 id, string memory message) private returns (bool, bytes memory) {
        if (onTest == address(mock)) return call(thief.addr, 0, abi.encodeCall(mock.fail, (id, message)));
        uint256 majority = termsOf(termsBy[id]).redundancy / 2 + 1;
        return sealed_(id, failure(message), majority);
    }

    function answerOne(bytes32 id, bytes memory response) private returns (bool, bytes memory) {
        IDtnAiEvents.Terms memory terms = termsOf(termsBy[id]);
        bool ranked = terms.aggregationType == IDtnAi.AggregationType.RANK;
        bytes[] memory candidates = new bytes[](terms.redundancy);
        uint256[] memory preferences = new uint256[](terms.redundancy);
        for (uint256 i = 0; i < candidates.length; i++) {
            candidates[i] = ranked ? abi.encodePacked(i, response) : response;
            // In the order of the ballots.
            if (ranked) preferences[i] = 0x76543210 & ((1 << 4 * candidates.length) - 1);
        }
        if (onTest == address(mock)) {
            bytes memory data = ranked
                ? abi.encodeCall(mock.answerRanked, (id, candidates))
                : abi.encodeWithSignature("answer(bytes32,bytes)", id, response);
            return call(thief.addr, 0, data);
        }
        if (terms.aggregationType == IDtnAi.AggregationType.SELECT_BEST) {
            return cast(id, candidates, preferences, listOf(response));
        }
        if (ranked) return cast(id, candidates, preferences, candidates);
        return sealed_(id, success(response), terms.quorum);
    }

    function sealed_(bytes32 id, IDtnNodes.Answer memory answer, uint256 n) private returns (bool, bytes memory) {
        bytes memory terms = termsBy[id];
        IDtnNodes.Seal[] memory made = seals(terms, answer, n);
        vm.prank(thief.addr);
        try ai.respondToRequest(terms, answer, made) {
            return (true, "");
        } catch (bytes memory reason) {
            return (false, reason);
        }
    }

    function cast(bytes32 id, bytes[] memory candidates, uint256[] memory preferences, bytes[] memory responses)
        private
        returns (bool, bytes memory)
    {
        bytes memory terms = termsBy[id];
        IDtnNodes.Ballot[] memory made = ballots(terms, candidates, preferences);
        vm.prank(thief.addr);
        try ai.respondToRequest(terms, responses, made) {
            return (true, "");
        } catch (bytes memory reason) {
            return (false, reason);
        }
    }

    // ───────────────────────────────────────────── noting ────────────────────────────────────────────

    function call(address who, uint256 etherWei, bytes memory data) private returns (bool done, bytes memory result) {
        vm.prank(who);
        (done, result) = onTest.call{value: etherWei}(data);
        bytes4 selector = bytes4(data);
        bool started = selector == bytes4(keccak256("startUserSession()"))
            || selector == bytes4(keccak256("startUserSession(uint256)"));
        if (done && started) sessions.push(abi.decode(result, (uint256)));
    }

    function remember(bytes32 id) private {
        if (id != 0) ids.push(id);
    }

    /// @dev What the contract on test logged, and its requests' terms on the way.
    function notedLogs() private returns (bytes memory noted) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter != onTest) continue;
            noted = abi.encodePacked(noted, abi.encode(logs[i].topics, logs[i].data));
            if (logs[i].topics[0] != IDtnAiEvents.RequestMade.selector) continue;
            termsBy[logs[i].topics[1]] = abi.decode(logs[i].data, (bytes));
        }
    }

    function balances() private view returns (bytes memory) {
        IDtnAi here = IDtnAi(onTest);
        (uint256 tokens, uint256 etherWei) = here.claimable(owner.addr);
        bytes memory people = abi.encode(
            token.balanceOf(owner.addr),
            token.balanceOf(thief.addr),
            token.balanceOf(onTest),
            token.balanceOf(here.feeTargetOf(owner.addr)),
            owner.addr.balance,
            onTest.balance,
            tokens,
            etherWei,
            target.heard()
        );
        for (uint256 i = 0; i < sessions.length; i++) {
            (address user, uint256 available, uint256 held, bool open) = here.sessionOf(sessions[i]);
            people = abi.encodePacked(people, abi.encode(user, available, held, open));
        }
        return people;
    }

    function session(Deed memory deed) private view returns (uint256) {
        return sessions.length == 0 ? 7 : sessions[deed.which % sessions.length];
    }

    function requestOf(Deed memory deed) private view returns (bytes32) {
        return ids.length == 0 ? bytes32(0) : ids[deed.which % ids.length];
    }

    function listOf(bytes memory item) private pure returns (bytes[] memory list) {
        list = new bytes[](1);
        list[0] = item;
    }
}
