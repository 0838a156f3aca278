// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {DepositAddress} from "../../src/DepositAddress.sol";
import {Requests} from "../../src/Requests.sol";
import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Nodes} from "./Nodes.sol";

/// @notice Somebody who owns nothing and tries everything on what others own; and nodes that answer what they must not.
/// None of it may succeed.
abstract contract Thieves is Nodes {
    bytes32 private immutable THIEFS_NODE;

    constructor(uint8 decimals_) Nodes(decimals_) {
        vm.startPrank(thief.addr);
        ai.registerNamespace("thieves");
        THIEFS_NODE = ai.registerNode("thieves", "one", thief.addr);
        vm.stopPrank();
    }

    function steal(uint256 which, uint256 seed) external {
        seed = _mix(seed);
        uint256 sessionId = _session(which);
        address victim = sessions.length == 0 ? people[0] : address(uint160(sessionId >> 96));
        uint256 kind = seed % 20;
        if (kind < 7) return _refused(kind, _stealSession(kind, sessionId, victim));
        if (kind < 13) return _refused(kind, _stealFromNodes(kind, nodeIds[which % 7]));
        if (kind < 16) return _refused(kind, _stealDeposit(kind, victim, seed));
        if (kind == 16) return _collect(victim);
        if (inFlight.length > 0) _refused(kind, _stealFee(kind, inFlight[which % inFlight.length], seed));
    }

    /// @dev Right but for one thing; or right, and given before.
    function answerWrong(uint256 which, uint256 seed) external {
        seed = _mix(seed);
        if (settled.length > 0 && seed % 4 == 0) return _answerAgain(settled[which % settled.length], seed);
        if (inFlight.length == 0) return;
        Pending memory asked = inFlight[which % inFlight.length];
        IDtnAiEvents.Terms memory terms = termsOf(asked.terms);
        IDtnNodes.Answer memory given = _answer(seed, false);
        IDtnNodes.Seal[] memory made = _seals(asked.id, given, 0, terms.redundancy);
        uint256 kind = (seed >> 8) % 6;
        if (kind == 0) made = _seals(asked.id, given, 0, terms.quorum - 1);
        if (kind == 1 && terms.redundancy < 7) made = _seals(asked.id, given, 0, terms.redundancy + 1);
        else if (kind == 1) made[0].signature = "";
        if (kind == 2) made[made.length - 1].signature = sign(thief, ai.answerDigest(asked.id, given));
        if (kind == 3) made[0].nodeId = made.length > 1 ? made[1].nodeId : THIEFS_NODE;
        if (kind == 4) given.response = abi.encode(given.response, "more");
        if (kind == 5) asked.terms[seed % asked.terms.length] ^= 0x01;
        _refused(100 + kind, _sealed(asked.terms, given, made));
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _refused(uint256 kind, bytes memory data) private {
        count[string.concat("theft ", vm.toString(kind))]++;
        (bool done,) = _try("theft", thief.addr, 0, data);
        vm.assertFalse(done);
    }

    function _answerAgain(bytes memory terms, uint256 seed) private {
        IDtnNodes.Answer memory given = _answer(seed, false);
        uint256 n = termsOf(terms).redundancy;
        if (seed % 8 == 0) return _refused(106, abi.encodeWithSignature("expire(bytes)", terms));
        _refused(107, _sealed(terms, given, _seals(idOf(terms), given, 0, n)));
    }

    function _sealed(bytes memory terms, IDtnNodes.Answer memory given, IDtnNodes.Seal[] memory made)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSignature(
            "respondToRequest(bytes,(uint8,string,bytes),(bytes32,bytes)[])", terms, given, made
        );
    }

    function _stealSession(uint256 kind, uint256 sessionId, address victim) private view returns (bytes memory) {
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](1);
        batch[0].modelId = modelId();
        batch[0].routing = routing(IDtnAi.AggregationType.ANY, 1);
        batch[0].request = question("?");
        if (kind == 0) return abi.encodeCall(IDtnAi.closeUserSession, (sessionId));
        if (kind == 1) return abi.encodeCall(IDtnAi.requestBatch, (sessionId, batch));
        if (kind == 2) return abi.encodeCall(Requests.requestOf, (victim, sessionId, batch[0]));
        if (kind == 3) return abi.encodeWithSignature("fundSession(uint256)", sessionId);
        // The victim's number under the thief's name, and the victim's name with bits of the gap.
        if (kind == 4) return abi.encodeCall(IDtnAi.closeUserSession, (_named(thief.addr, sessionId)));
        if (kind == 5) return abi.encodeCall(IDtnAi.requestBatch, (_named(thief.addr, sessionId), batch));
        return abi.encodeCall(IDtnAi.closeUserSession, (sessionId | (1 << 64)));
    }

    function _stealFromNodes(uint256 kind, bytes32 nodeId) private view returns (bytes memory) {
        if (kind == 7) return abi.encodeCall(IDtnNodes.withdraw, (nodeId, thief.addr));
        if (kind == 8) return abi.encodeCall(IDtnNodes.transferNode, (nodeId, thief.addr));
        if (kind == 9) return abi.encodeCall(IDtnNodes.retireNode, (nodeId));
        if (kind == 10) return abi.encodeCall(IDtnNodes.registerNode, ("system", "mine", thief.addr));
        if (kind == 11) return abi.encodeCall(IDtnNodes.transferNamespace, (SYSTEM, thief.addr));
        return abi.encodeCall(IDtnNodes.setModel, (MODEL, IDtnNodes.Model(0, 0, 0, 3)));
    }

    function _stealDeposit(uint256 kind, address victim, uint256 seed) private view returns (bytes memory) {
        if (kind == 13) return abi.encodeWithSignature("startUserSession()");
        if (kind == 14) return abi.encodeCall(IDtnAi.claimRefund, (payable(thief.addr)));
        bytes32 nonce = bytes32(seed);
        bytes32 digest = token.authorizationDigest(victim, address(ai), UNIT, 0, type(uint256).max, nonce);
        return abi.encodeCall(
            IDtnAi.startUserSessionWithAuthorization, (victim, UNIT, 0, type(uint256).max, nonce, sign(thief, digest))
        );
    }

    /// @dev Past the AI contract, at the deposit address itself.
    function _collect(address victim) private {
        address target = ai.feeTargetOf(victim);
        if (target.code.length == 0) return;
        vm.prank(thief.addr);
        (bool done,) = target.call(abi.encodeCall(DepositAddress.collect, (address(token), 1)));
        vm.assertFalse(done);
        count["theft 16"]++;
    }

    function _stealFee(uint256 kind, Pending memory asked, uint256 seed) private view returns (bytes memory) {
        bytes32 nodeId = kind == 17 ? nodeIds[seed % 7] : THIEFS_NODE;
        IDtnNodes.Answer memory given = _answer(seed, seed % 2 == 0);
        if (kind < 19) {
            return
                abi.encodeWithSignature(
                    "respondToRequest(bytes,bytes32,(uint8,string,bytes))", asked.terms, nodeId, given
                );
        }
        IDtnNodes.Seal[] memory made = new IDtnNodes.Seal[](1);
        made[0] = IDtnNodes.Seal(THIEFS_NODE, sign(thief, ai.answerDigest(asked.id, given)));
        return _sealed(asked.terms, given, made);
    }

    function _named(address name, uint256 sessionId) private pure returns (uint256) {
        return (uint256(uint160(name)) << 96) | uint64(sessionId);
    }
}
