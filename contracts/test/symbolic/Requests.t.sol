// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {Proof} from "./Proof.sol";

/// @notice Asking: what is held, and out of whose money.
contract RequestsProof is Proof {
    uint256 private constant CALL_BYTES = 33;
    uint256 private constant EXTRA_BYTES = 32;
    bytes32 private constant MODEL = keccak256("gpt-4");
    /// Of the system's it is known how many nodes it has at deployment; of this one nothing.
    bytes32 private constant NAMESPACE = keccak256("somebody's");

    function check_RequestOfAny(uint256 sessionId) external {
        vm.assume(sessionId != 0);
        _proveAny(Place(sessionId, anyNode(), OWNER), sessionId);
    }

    function check_RequestOfAnyInSessionZero() external {
        _proveAny(Place(nextSession(OWNER), anyNode(), OWNER), 0);
    }

    /// What lies at the deposit address is left out here, to keep it short: it is collected before anything is held.
    function check_RequestOfSeveral(uint256 sessionId, IDtnAi.AggregationType kind) external {
        vm.assume(sessionId != 0 && token.balanceOf(ai.feeTargetOf(OWNER)) == 0);
        Step memory step = begin(Place(sessionId, anyNode(), OWNER));
        IDtnAi.DtnRequest memory asked = _asked();
        IDtnAi.DtnRouting memory routing = _routing(kind);
        vm.prank(OWNER);
        ai.request(sessionId, MODEL, routing, asked, _noCallback(), OWNER, 0);
        _claimHeld(step, kind == IDtnAi.AggregationType.ANY ? 1 : routing.redundancy, asked);
    }

    /// What the other proofs here claim of each sum adds up to conservation: of any numbers, and so of these.
    function check_WhatIsClaimedOfAskingConserves(
        uint256 balance,
        uint256 available,
        uint256 held,
        uint256 hold,
        uint256 collected
    ) external pure {
        unchecked {
            uint256 owed = available + collected - hold + held + hold;
            assert(balance + collected - owed == balance - available - held);
        }
    }

    // ─────────────────────────────────────── what is not so ──────────────────────────────────────────

    function refute_OneNodeIsHeldForWhateverTheRedundancy(uint256 sessionId) external {
        Step memory step = begin(Place(sessionId, anyNode(), OWNER));
        IDtnAi.DtnRequest memory asked = _asked();
        IDtnAi.DtnRouting memory routing = _routing(IDtnAi.AggregationType.ALL);
        routing.redundancy = 2;
        vm.prank(OWNER);
        ai.request(sessionId, MODEL, routing, asked, _noCallback(), OWNER, 0);
        _claimHeld(step, 1, asked);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _proveAny(Place memory place, uint256 sessionId) private {
        Step memory step = begin(place);
        IDtnAi.DtnRequest memory asked = _asked();
        vm.prank(OWNER);
        ai.request(sessionId, MODEL, _ids(), asked, _noCallback(), OWNER, 0);
        _claimHeld(step, 1, asked);
    }

    /// @dev The worst case of all nodes is held, out of what the session had and what lay at the owner's deposit address.
    /// A claim for each sum, as in {SettlingProof}.
    function _claimHeld(Step memory step, uint256 nodes, IDtnAi.DtnRequest memory asked) private view {
        (Books memory before, Books memory since) = (step.before, booksOf(step.place));
        assert(ownerOf(step.place.sessionId) == uint160(OWNER));
        assert(changedElsewhere(step) == 0);
        assert(since.node == before.node && since.claimable == before.claimable);
        unchecked {
            uint256 hold = nodes * ((CALL_BYTES + EXTRA_BYTES) * asked.feePerByteReq + asked.totalFeePerRes);
            uint256 collected = since.balance - before.balance;
            assert(heldIn(since) == heldIn(before) + hold);
            assert(availableIn(since) + hold == availableIn(before) + collected);
        }
    }

    function _asked() private returns (IDtnAi.DtnRequest memory asked) {
        asked.call = svm.createBytes(CALL_BYTES, "call");
        asked.extraParams = svm.createBytes(EXTRA_BYTES, "extra");
        asked.calltype = IDtnAi.CallType.DIRECT;
        asked.feePerByteReq = svm.createUint(96, "feePerByteReq");
        asked.feePerByteRes = svm.createUint(96, "feePerByteRes");
        asked.totalFeePerRes = svm.createUint(96, "totalFeePerRes");
    }

    /// @dev Of 1 to 7 nodes; how many must agree is of no matter to what is held.
    function _routing(IDtnAi.AggregationType kind) private returns (IDtnAi.DtnRouting memory routing) {
        routing.trustNamespaceIds = _ids();
        routing.redundancy = uint32(svm.createUint(3, "redundancy"));
        routing.aggregationType = kind;
    }

    function _noCallback() private pure returns (IDtnAi.CallBack memory none) {}

    function _ids() private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](1);
        ids[0] = NAMESPACE;
    }
}
