// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Chameleon} from "./Parties.sol";
import {Thieves} from "./Thieves.sol";

/// @notice Does at random what owners, askers, nodes, donors and thieves can do. What must succeed is asserted to, and
/// what must not, not; of the rest, either will do.
contract AiHandler is Thieves {
    constructor(uint8 decimals_) Thieves(decimals_) {}

    // ─────────────────────────────────────────── owners ──────────────────────────────────────────────

    function deposit(uint256 who, uint256 amount) external {
        address target = ai.feeTargetOf(_person(who));
        amount = _amount(amount);
        token.mint(target, amount);
        owned[_person(who)] += amount;
        count["deposit"]++;
    }

    function startFromDeposit(uint256 who) external {
        _try("start from deposit", _person(who), 0, abi.encodeWithSignature("startUserSession()"));
    }

    function start(uint256 who, uint256 amount) external {
        _try("start", _person(who), 0, abi.encodeWithSignature("startUserSession(uint256)", _amount(amount)));
    }

    /// @dev Submitted by anybody; only the signer can come to own the session.
    function startAuthorized(uint256 who, uint256 amount, uint256 nonce) external {
        Person memory signer = person(who % 2 == 0 ? "ann" : "bob");
        amount = _amount(amount);
        bytes32 digest =
            token.authorizationDigest(signer.addr, address(ai), amount, 0, type(uint256).max, bytes32(nonce));
        bytes memory data = abi.encodeCall(
            IDtnAi.startUserSessionWithAuthorization,
            (signer.addr, amount, 0, type(uint256).max, bytes32(nonce), sign(signer, digest))
        );
        (bool done, bytes memory result) = _try("start authorized", thief.addr, 0, data);
        if (done) vm.assertEq(address(uint160(abi.decode(result, (uint256)) >> 96)), signer.addr);
    }

    /// @dev By anybody, whoever's session it is.
    function fund(uint256 who, uint256 which, uint256 amount) external {
        (uint256 sessionId, address payer) = (_session(which), _person(who));
        amount = _amount(amount);
        bytes memory data = abi.encodeWithSignature("fundSession(uint256,uint256)", sessionId, amount);
        (bool done,) = _try("fund", payer, 0, data);
        if (!done) return;
        owned[payer] -= amount;
        owned[address(uint160(sessionId >> 96))] += amount;
    }

    function fundFromDeposit(uint256 who, uint256 which) external {
        uint256 sessionId = _session(which);
        bytes memory data = abi.encodeWithSignature("fundSession(uint256)", sessionId);
        _tryOwn("fund from deposit", _actor(who, sessionId), sessionId, 0, data);
    }

    function ask(uint256 who, uint256 which, uint256 seed) external {
        seed = _mix(seed);
        uint256 sessionId = seed % 16 == 15 ? 0 : _session(which);
        address asking = _actor(who, sessionId);
        IDtnAi.BatchRequest memory asked = _question(seed);
        uint256 before = inFlight.length;
        (bool done, bytes memory result) =
            _tryOwn("ask", asking, sessionId, asked.callbackWei, _askCall(sessionId, asked, seed % 3));
        if (!done) return;
        vm.assertEq(inFlight.length, before + 1, "I10: an id that was there before, or no request");
        vm.assertEq(inFlight[before].id, abi.decode(result, (bytes32)));
        _assertMeaning(termsOf(inFlight[before].terms), asked.routing, seed % 3 == 0);
    }

    function askBatch(uint256 who, uint256 which, uint256 seed) external {
        seed = _mix(seed);
        uint256 sessionId = _session(which);
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](1 + seed % 3);
        uint256 sent;
        for (uint256 i = 0; i < batch.length; i++) {
            batch[i] = _question(_mix(seed + i));
            if ((seed >> (8 + i)) % 4 == 0) batch[i].modelId = keccak256("unknown");
            sent += batch[i].callbackWei;
        }
        address asking = _actor(who, sessionId);
        uint256 before = _etherOf(asking);
        bytes memory data = abi.encodeCall(IDtnAi.requestBatch, (sessionId, batch));
        (bool done, bytes memory result) = _tryOwn("batch", asking, sessionId, sent, data);
        if (!done) return;
        IDtnAi.BatchResult[] memory results = abi.decode(result, (IDtnAi.BatchResult[]));
        for (uint256 i = 0; i < batch.length; i++) {
            vm.assertEq(results[i].requestId == 0, results[i].reason.length > 0);
            if (results[i].requestId == 0) sent -= batch[i].callbackWei;
            else count["asked in a batch"]++;
        }
        vm.assertEq(_etherOf(asking), before - sent, "I2: ETH of refused requests goes back");
    }

    function close(uint256 who, uint256 which) external {
        if (who % 2 == 0) return; // else most sessions would be closed before anything comes of them
        uint256 sessionId = _session(which);
        (address sessionOwner,,, bool open) = ai.sessionOf(sessionId);
        address closing = _actor(who, sessionId);
        (bool done,) = _tryOwn("close", closing, sessionId, 0, abi.encodeCall(IDtnAi.closeUserSession, (sessionId)));
        vm.assertEq(done, open && closing == sessionOwner, "I9: a close that must succeed, or must not");
    }

    function claim(uint256 who) external {
        address claiming = _person(who);
        (uint256 tokens, uint256 etherWei) = ai.claimable(claiming);
        address refuge = refugeOf(claiming);
        (bool done,) = _try("claim", claiming, 0, abi.encodeCall(IDtnAi.claimRefund, (payable(refuge))));
        vm.assertEq(done, tokens + etherWei > 0, "I8: what is claimable can be claimed");
        if (etherWei > 0) count["claim ETH"]++;
    }

    // ─────────────────────────────────────────── moods ───────────────────────────────────────────────

    function block_(uint256 who, uint256 times) external {
        fussy.setBlocked(_person(who), times % 2 == 0);
    }

    function setMoods(uint256 callback, uint256 ether_, uint256 pay) external {
        chameleon.setMoods(Chameleon.Mood(callback % 6), Chameleon.Mood(ether_ % 6), Chameleon.Mood(pay % 6));
    }

    /// @dev What the chameleon does in a callback, and tries whenever it is paid.
    function plot(uint256 which, uint256 seed) external {
        seed = _mix(seed);
        uint256 sessionId = _session(which);
        bytes[] memory calls = new bytes[](3);
        for (uint256 i = 0; i < 3; i++) {
            uint256 part = _mix(seed + i);
            uint256 kind = part % 8;
            if (kind == 0) calls[i] = abi.encodeWithSignature("startUserSession(uint256)", _amount(part));
            if (kind == 1) calls[i] = abi.encodeCall(IDtnAi.closeUserSession, (sessionId));
            if (kind == 2) calls[i] = abi.encodeCall(IDtnAi.claimRefund, (payable(refugeOf(address(chameleon)))));
            if (kind == 3) calls[i] = abi.encodeWithSignature("fundSession(uint256)", sessionId);
            if (kind > 3 && kind < 6) calls[i] = _plottedQuestion(sessionId, part);
            if (kind > 5) calls[i] = _plottedSettlement(part);
        }
        chameleon.setScheme(calls);
        chameleon.setMoods(Chameleon.Mood.SCHEME, Chameleon.Mood.SCHEME, Chameleon.Mood(seed % 6));
    }

    // ─────────────────────────────────────────── donors ──────────────────────────────────────────────

    function donate(uint256 amount) external {
        amount = _amount(amount);
        token.mint(address(ai), amount);
        donated += amount;
        count["donate"]++;
    }

    /// @dev As a contract that destroys itself can.
    function force(uint256 amountWei) external {
        amountWei = bound(amountWei, 1, 1 ether);
        vm.deal(address(ai), address(ai).balance + amountWei);
        forcedWei += amountWei;
        count["force"]++;
    }

    // ─────────────────────────────────────── the end of all ──────────────────────────────────────────

    /// @dev After the last deadline, all nodes silent: everything is expired, closed and claimed. Not drawn at random.
    function takeAllOut() external {
        vm.warp(block.timestamp + 8 days);
        chameleon.setScheme(new bytes[](0)); // else it would ask again whenever a request expires, without end
        while (inFlight.length > 0) {
            _expire(inFlight.length - 1);
        }
        for (uint256 i = 0; i < people.length; i++) {
            if (token.balanceOf(ai.feeTargetOf(people[i])) > 0) this.startFromDeposit(i);
        }
        for (uint256 i = 0; i < sessions.length; i++) {
            (address sessionOwner,,, bool open) = ai.sessionOf(sessions[i]);
            if (!open) continue;
            (bool done,) = _try("close", sessionOwner, 0, abi.encodeCall(IDtnAi.closeUserSession, (sessions[i])));
            vm.assertTrue(done, "I9: a session could not be closed");
        }
        for (uint256 i = 0; i < people.length; i++) {
            this.claim(i);
        }
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    /// @dev A call that must not succeed for anybody but the session's owner.
    function _tryOwn(string memory what, address who, uint256 sessionId, uint256 etherWei, bytes memory data)
        private
        returns (bool done, bytes memory result)
    {
        (done, result) = _try(what, who, etherWei, data);
        bool isOwners = sessionId == 0 || address(uint160(sessionId >> 96)) == who;
        vm.assertTrue(isOwners || !done, "I3: a session moved by somebody else");
    }

    function _askCall(uint256 sessionId, IDtnAi.BatchRequest memory asked, uint256 overload)
        private
        pure
        returns (bytes memory)
    {
        if (overload == 0) return _askListCall(sessionId, asked);
        bytes memory arguments;
        if (overload == 1) {
            arguments = abi.encode(
                sessionId, asked.modelId, asked.routing, asked.request, asked.callback, asked.user, asked.callbackGas
            );
            return abi.encodePacked(ASK_ROUTING, arguments);
        }
        arguments = abi.encode(
            sessionId,
            asked.modelId,
            asked.routing,
            asked.request,
            asked.callback,
            asked.user,
            asked.callbackGas,
            asked.options
        );
        return abi.encodePacked(ASK_OPTIONS, arguments);
    }

    function _askListCall(uint256 sessionId, IDtnAi.BatchRequest memory asked) private pure returns (bytes memory) {
        bytes32[] memory ids =
            asked.routing.trustNamespaceIds.length > 0 ? asked.routing.trustNamespaceIds : asked.routing.trustedNodeIds;
        bytes memory arguments =
            abi.encode(sessionId, asked.modelId, ids, asked.request, asked.callback, asked.user, asked.callbackGas);
        return abi.encodePacked(ASK_LIST, arguments);
    }

    bytes4 private constant ASK_LIST = bytes4(
        keccak256(
            "request(uint256,bytes32,bytes32[],(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256)"
        )
    );
    bytes4 private constant ASK_ROUTING = bytes4(
        keccak256(
            "request(uint256,bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256)"
        )
    );
    bytes4 private constant ASK_OPTIONS = bytes4(
        keccak256(
            "request(uint256,bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256,(uint32,bool))"
        )
    );

    function _question(uint256 seed) private view returns (IDtnAi.BatchRequest memory asked) {
        IDtnAi.AggregationType kind = IDtnAi.AggregationType(seed % 5);
        uint32 n = seed % 64 == 63 ? 7 : uint32(1 + (seed >> 8) % 3);
        asked.modelId = modelId();
        asked.routing = (seed >> 16) % 2 == 0 ? routing(kind, n) : namedRouting(kind, n);
        asked.routing.confidenceLevel = uint8((seed >> 24) % 101);
        asked.request.call = new bytes((seed >> 32) % 100);
        asked.request.extraParams = new bytes((seed >> 40) % 40);
        asked.request.feePerByteReq = 10 + (seed >> 48) % (1_000 * SCALE);
        asked.request.feePerByteRes = 20 + (seed >> 112) % (1_000 * SCALE);
        asked.request.totalFeePerRes = 1_000 + (seed >> 176) % (UNIT / 10);
        asked.callback = callbackTo((seed >> 240) % 4 == 0 ? address(0) : address(chameleon));
        asked.user = (seed >> 242) % 4 == 3 ? address(0) : people[(seed >> 242) % 4];
        asked.callbackGas = 30_000 + (seed >> 200) % 400_000;
        asked.callbackWei = (seed >> 244) % 2 == 0 ? 0 : (seed >> 128) % 0.01 ether;
        asked.options.timeoutSeconds = (seed >> 245) % 2 == 0 ? 0 : uint32(60 + (seed >> 96) % 2 days);
        asked.options.keepResponse = (seed >> 246) % 4 == 0;
    }

    function _assertMeaning(IDtnAiEvents.Terms memory terms, IDtnAi.DtnRouting memory route, bool listed) private pure {
        bool one = listed || route.aggregationType == IDtnAi.AggregationType.ANY;
        uint256 n = one ? 1 : route.redundancy;
        vm.assertEq(terms.redundancy, n, "the nodes that are held for");
        if (one || route.aggregationType != IDtnAi.AggregationType.VOTE) return vm.assertEq(terms.quorum, n, "quorum");
        uint256 quorum = terms.quorum;
        vm.assertTrue(2 * quorum > n && 100 * quorum >= n * route.confidenceLevel, "quorum of a vote");
    }

    function _plottedQuestion(uint256 sessionId, uint256 seed) private view returns (bytes memory) {
        IDtnAi.BatchRequest memory asked = _question(seed);
        asked.callbackWei = 0;
        return _askCall(sessionId, asked, seed % 3);
    }

    /// @dev An expiry, or an answer by a node that the chameleon does not operate: neither can succeed.
    function _plottedSettlement(uint256 seed) private view returns (bytes memory) {
        if (inFlight.length == 0) return abi.encodeWithSignature("expire(bytes)", "");
        bytes memory terms = inFlight[seed % inFlight.length].terms;
        if (seed % 2 == 0) return abi.encodeWithSignature("expire(bytes)", terms);
        return abi.encodeWithSignature(
            "respondToRequest(bytes,bytes32,(uint8,string,bytes))",
            terms,
            nodeIds[0],
            IDtnNodes.Answer(IDtnAi.ResponseStatus.SUCCESS, "", "")
        );
    }
}
