// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {Fixture} from "../kit/Fixture.sol";
import {FussyToken} from "../kit/FussyToken.sol";
import {TokenMock} from "../kit/Tokens.sol";
import {Vm} from "../kit/Vm.sol";
import {Chameleon} from "./Parties.sol";

/// @notice What the handler knows from outside: who has put in how much, which requests are in flight, and what the
/// answers to them cost, counted here from what was asked and answered.
abstract contract Books is Fixture {
    struct Pending {
        bytes32 id;
        bytes terms;
        uint256 hold;
    }

    uint8 private immutable DECIMALS;
    uint256 internal immutable UNIT;
    /// What fees are multiplied with, so that they matter beside what sessions have.
    uint256 internal immutable SCALE;

    FussyToken public fussy;
    Chameleon public chameleon;
    address[] public people;

    uint256[] public sessions;
    Pending[] internal inFlight;
    bytes[] internal settled;
    mapping(bytes32 id => bool) internal known;
    mapping(uint256 sessionId => bool) internal knownSession;

    /// What is somebody's: given to them, less what their requests have cost.
    mapping(address who => uint256) public owned;
    mapping(bytes32 nodeId => uint256) public earnedBy;
    /// What requests in flight hold of a session, and the ETH sent with them, by our own sums.
    mapping(uint256 sessionId => uint256) public heldOf;
    uint256 private pendingWei;
    uint256 public donated;
    uint256 public forcedWei;
    mapping(string what => uint256) public count;

    constructor(uint8 decimals_) {
        DECIMALS = decimals_;
        (UNIT, SCALE) = (10 ** decimals_, 10 ** (decimals_ - 6));
        setUp();
        vm.warp(1_800_000_000);
        fussy = FussyToken(address(token));
        chameleon = new Chameleon(ai, fussy);
        fussy.tell(address(chameleon));
        people = [person("ann").addr, person("bob").addr, address(chameleon)];
        for (uint256 i = 0; i < people.length; i++) {
            token.mint(people[i], 1e9 * UNIT);
            owned[people[i]] = 1e9 * UNIT;
            vm.prank(people[i]);
            token.approve(address(ai), type(uint256).max);
            vm.deal(people[i], 1e6 ether);
        }
    }

    function newToken() internal override returns (TokenMock) {
        return new FussyToken(DECIMALS);
    }

    // ───────────────────────────────────── what the invariants ask ───────────────────────────────────

    function peopleCount() external view returns (uint256) {
        return people.length;
    }

    function sessionCount() external view returns (uint256) {
        return sessions.length;
    }

    function aiContract() external view returns (IDtnAi) {
        return ai;
    }

    function earnedOfAll() external view returns (uint256 sum) {
        for (uint256 i = 0; i < 7; i++) {
            vm.assertEq(ai.earned(nodeIds[i]), earnedBy[nodeIds[i]], "I7: earned");
            sum += earnedBy[nodeIds[i]];
        }
    }

    function etherOfAll() external view returns (uint256 sum) {
        sum = pendingWei;
        for (uint256 i = 0; i < people.length; i++) {
            sum += _claimableWei(people[i]);
        }
    }

    /// @dev Where people claim to who are refused themselves.
    function refugeOf(address who) public pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("refuge", who)))));
    }

    /// @dev What somebody has outside of sessions, wherever it lies.
    function outsideOf(address who) external view returns (uint256) {
        (uint256 claimable,) = ai.claimable(who);
        return claimable + token.balanceOf(who) + token.balanceOf(refugeOf(who)) + token.balanceOf(ai.feeTargetOf(who));
    }

    // ───────────────────────────────────────── taking notes ──────────────────────────────────────────

    /// @dev Calls the AI contract as somebody, and notes what came of it.
    function _try(string memory what, address who, uint256 etherWei, bytes memory data)
        internal
        returns (bool done, bytes memory result)
    {
        vm.recordLogs();
        vm.prank(who);
        (done, result) = address(ai).call{value: etherWei}(data);
        count[done ? what : "refused"]++;
        _note(vm.getRecordedLogs());
    }

    /// @dev Logs of calls that were reverted within are recorded too: only what there is counts.
    function _note(Vm.Log[] memory logs) private {
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter != address(ai)) continue;
            bytes32 topic = logs[i].topics[0];
            if (topic == IDtnAiEvents.SessionStarted.selector) _noteSession(uint256(logs[i].topics[1]));
            if (topic == IDtnAiEvents.RequestMade.selector) _noteRequest(logs[i].topics[1], logs[i].data);
            if (topic == IDtnAiEvents.CallbackFailed.selector) count["callback failed"]++;
            if (topic == IDtnAiEvents.RefundClaimable.selector) count["refund refused"]++;
        }
    }

    function _noteSession(uint256 sessionId) private {
        (address sessionOwner,,,) = ai.sessionOf(sessionId);
        if (sessionOwner == address(0) || knownSession[sessionId]) return;
        knownSession[sessionId] = true;
        sessions.push(sessionId);
    }

    function _noteRequest(bytes32 id, bytes memory data) private {
        try ai.fetchResponse(id) returns (IDtnAi.ResponseStatus status, string memory, bytes memory) {
            if (status != IDtnAi.ResponseStatus.PENDING || known[id]) return;
        } catch {
            return;
        }
        known[id] = true;
        (bytes memory terms,, uint256 feePerByteReq, bytes memory call, bytes memory extra) =
            abi.decode(data, (bytes, uint8, uint256, bytes, bytes));
        IDtnAiEvents.Terms memory made = termsOf(terms);
        uint256 hold = made.redundancy * ((call.length + extra.length) * feePerByteReq + made.totalFeePerRes);
        heldOf[made.sessionId] += hold;
        pendingWei += made.callbackWei;
        inFlight.push(Pending(id, terms, hold));
    }

    /// @dev Takes a request out of those in flight, once it has settled at this cost.
    function _settle(uint256 index, uint256 cost) internal {
        IDtnAiEvents.Terms memory terms = termsOf(inFlight[index].terms);
        vm.assertLe(cost, inFlight[index].hold, "I5: cost above the hold");
        owned[address(uint160(terms.sessionId >> 96))] -= cost;
        heldOf[terms.sessionId] -= inFlight[index].hold;
        pendingWei -= terms.callbackWei;
        settled.push(inFlight[index].terms);
        inFlight[index] = inFlight[inFlight.length - 1];
        inFlight.pop();
    }

    function _etherOf(address who) internal view returns (uint256) {
        return who.balance + _claimableWei(who);
    }

    function _claimableWei(address who) internal view returns (uint256 etherWei) {
        (, etherWei) = ai.claimable(who);
    }

    // ──────────────────────────────────────────── drawing ────────────────────────────────────────────

    /// @dev Numbers drawn by forge are often small or round; every bit of these is as good as the next.
    function _mix(uint256 seed) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed)));
    }

    function _person(uint256 who) internal view returns (address) {
        return people[who % people.length];
    }

    /// @dev Mostly the owner, else anybody.
    function _actor(uint256 who, uint256 sessionId) internal view returns (address) {
        address sessionOwner = address(uint160(sessionId >> 96));
        return who % 5 == 0 || sessionOwner == address(0) ? _person(who / 5) : sessionOwner;
    }

    /// @dev Mostly one of the last, so that much happens in each.
    function _session(uint256 which) internal view returns (uint256) {
        uint256 size = sessions.length;
        if (size == 0) return 1; // nobody's; 0 would start one
        return sessions[size - 1 - which % (size < 6 ? size : 6)];
    }

    /// @dev From a base unit to a thousand whole tokens, small and odd ones as likely as large.
    function _amount(uint256 amount) internal view returns (uint256) {
        return amount % 8 == 0 ? bound(amount, 1, 1_000) : bound(amount, UNIT, 1_000 * UNIT);
    }
}
