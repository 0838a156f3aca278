// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Proof} from "./Proof.sol";

/// @notice Money into sessions and out of them.
contract SessionsProof is Proof {
    uint256 private constant CLOSED = type(uint32).max;

    /// The books are where the proofs look for them.
    function check_Layout(uint256 sessionId, bytes32 nodeId, address account) external view {
        Books memory books = booksOf(Place(sessionId, nodeId, account));
        (address owner, uint256 available, uint256 held, bool open) = ai.sessionOf(sessionId);
        (uint256 claimable,) = ai.claimable(account);
        uint256 wrong = differ(claimable, books.claimable) | differ(ai.earned(nodeId), earnedIn(books));
        if (books.session << 32 >> 224 == 0) {
            assert(owner == address(0));
        } else {
            wrong |= differ(available, availableIn(books)) | differ(held, heldIn(books));
            assert(open == (freeSlotIn(books) != CLOSED));
        }
        assert(wrong == 0);
    }

    function check_StartByAllowance(uint256 amount) external {
        address caller = anybody();
        Step memory step = begin(Place(nextSession(caller), anyNode(), caller));
        vm.prank(caller);
        uint256 sessionId = ai.startUserSession(amount);
        (Books memory since, uint256 wrong) = notConserved(step);
        wrong |= differ(sessionId, step.place.sessionId);
        assert(wrong | _notStarted(step.before, since, amount) == 0);
    }

    function check_StartFromDeposit() external {
        Step memory step = begin(Place(nextSession(OWNER), anyNode(), OWNER));
        uint256 deposited = token.balanceOf(ai.feeTargetOf(OWNER));
        vm.prank(OWNER);
        uint256 sessionId = ai.startUserSession();
        (Books memory since, uint256 wrong) = notConserved(step);
        wrong |= differ(sessionId, step.place.sessionId);
        assert(wrong | _notStarted(step.before, since, _atMost96Bits(deposited)) == 0);
    }

    function check_FundByAllowance(uint256 sessionId, uint256 amount) external {
        address caller = anybody();
        Step memory step = begin(Place(sessionId, anyNode(), caller));
        vm.prank(caller);
        ai.fundSession(sessionId, amount);
        (Books memory since, uint256 wrong) = notConserved(step);
        assert(freeSlotIn(step.before) != CLOSED);
        assert(wrong | _notFunded(step.before, since, amount) == 0);
    }

    function check_FundFromDeposit(uint256 sessionId) external {
        Step memory step = begin(Place(sessionId, anyNode(), OWNER));
        uint256 deposited = token.balanceOf(ai.feeTargetOf(OWNER));
        vm.prank(OWNER);
        ai.fundSession(sessionId);
        (Books memory since, uint256 wrong) = notConserved(step);
        wrong |= differ(ownerOf(sessionId), uint160(OWNER));
        assert(freeSlotIn(step.before) != CLOSED);
        assert(wrong | _notFunded(step.before, since, _atMost96Bits(deposited)) == 0);
    }

    /// What is free is with its owner afterwards, or can be claimed by its owner.
    function check_Close(uint256 sessionId) external {
        address caller = anybody();
        Step memory step = begin(Place(sessionId, anyNode(), caller));
        vm.prank(caller);
        ai.closeUserSession(sessionId);
        (Books memory since, uint256 wrong) = notConserved(step);
        unchecked {
            uint256 got = since.purse - step.before.purse + since.claimable - step.before.claimable;
            wrong |= differ(got, availableIn(step.before));
        }
        wrong |= differ(ownerOf(sessionId), uint160(caller)) | differ(since.node, step.before.node);
        wrong |= availableIn(since) | differ(heldIn(since), heldIn(step.before)) | differ(freeSlotIn(since), CLOSED);
        assert(freeSlotIn(step.before) != CLOSED);
        assert(wrong == 0);
    }

    function check_ClaimRefund(uint256 sessionId, address payable to) external {
        address caller = anybody();
        vm.assume(to != address(ai));
        Step memory step = begin(Place(sessionId, anyNode(), caller));
        (, uint256 etherWei) = ai.claimable(caller);
        vm.assume(etherWei == 0);
        uint256 had = token.balanceOf(to);
        vm.prank(caller);
        ai.claimRefund(to);
        (Books memory since, uint256 wrong) = notConserved(step);
        wrong |= since.claimable | differ(token.balanceOf(to), had + step.before.claimable);
        assert(wrong | differ(since.session, step.before.session) | differ(since.node, step.before.node) == 0);
    }

    function check_Withdraw(uint256 sessionId, bytes32 nodeId, address to) external {
        address caller = anybody();
        vm.assume(to != address(ai));
        Step memory step = begin(Place(sessionId, nodeId, caller));
        uint256 had = token.balanceOf(to);
        vm.prank(caller);
        ai.withdraw(nodeId, to);
        (Books memory since, uint256 wrong) = notConserved(step);
        // What is left of the node's word is its operator, who asked.
        wrong |= differ(since.node, uint160(caller)) | differ(uint160(step.before.node), uint160(caller));
        wrong |= differ(token.balanceOf(to), had + earnedIn(step.before));
        assert(wrong | differ(since.session, step.before.session) | differ(since.claimable, step.before.claimable) == 0);
    }

    // ─────────────────────────────────────── what is not so ──────────────────────────────────────────

    function refute_CloseNeverPaysAnything(uint256 sessionId) external {
        uint256 had = token.balanceOf(OWNER);
        vm.prank(OWNER);
        ai.closeUserSession(sessionId);
        assert(token.balanceOf(OWNER) == had);
    }

    function refute_OnlyOwnersFundTheirSessions(uint256 sessionId, uint256 amount) external {
        address caller = anybody();
        vm.prank(caller);
        ai.fundSession(sessionId, amount);
        assert(ownerOf(sessionId) == uint160(caller));
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    /// @dev A started session has `amount` available, nothing held, 1 for its next request and no free slot.
    function _notStarted(Books memory before, Books memory since, uint256 amount) private pure returns (uint256) {
        return differ(since.session, amount | (1 << 192)) | _notElseSame(before, since);
    }

    function _notFunded(Books memory before, Books memory since, uint256 amount) private pure returns (uint256) {
        return differ(since.session, before.session + amount) | _notElseSame(before, since);
    }

    function _notElseSame(Books memory before, Books memory since) private pure returns (uint256) {
        return differ(since.node, before.node) | differ(since.claimable, before.claimable);
    }

    function _atMost96Bits(uint256 amount) private pure returns (uint256) {
        return amount < type(uint96).max ? amount : type(uint96).max;
    }
}
