// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {Vm} from "../kit/Vm.sol";
import {AnyToken} from "./AnyToken.sol";
import {Svm} from "./Svm.sol";

/// @notice What is proved of every function of the AI contract: it is a step from any state whatever to the next, and
/// 1. the token's balance less what is available, held, earned and claimable is after it what it was before;
/// 2. of the sessions, nodes and accounts that it is not about, it changes none.
/// At deployment everything is zero, so the balance is exactly what the books say in every state there can be, for any
/// number of sessions (but for tokens given to the contract, which only make it more).
/// @dev The storage of contract and token is symbolic: it may hold anything. A `check_…` proves what it asserts for all
/// arguments and states for which the function does not revert; halmos fails it if there are none. Books are compared
/// as the words they are stored as, and every claim of a proof in one assertion: a branch here would double the work.
abstract contract Proof {
    /// What a function is about: a session, a node's earnings, an account's claim.
    struct Place {
        uint256 sessionId;
        bytes32 nodeId;
        address account;
    }

    /// Stored words, and what the token says the contract and the account have.
    struct Books {
        uint256 balance;
        uint256 purse;
        uint256 session;
        uint256 node;
        uint256 claimable;
    }

    struct Step {
        Place place;
        Place elsewhere;
        Books before;
        Books beforeElsewhere;
    }

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Svm internal constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    /// Somebody, where it cannot be anybody: deposit addresses are made from a hash that the prover does not know.
    address internal constant OWNER = address(0xA11CE);
    /// Where the contract keeps its books; `check_Layout` proves it.
    uint256 private constant LAST_NUMBER = 0;
    uint256 private constant SESSIONS = 1;
    uint256 private constant CLAIMABLE = 2;
    uint256 private constant NODES = 5;
    string internal constant ARTEFACT = "out/DtnAi.sol/DtnAi.json";

    AnyToken internal token;
    IDtn internal ai;

    function setUp() public virtual {
        token = new AnyToken();
        ai = IDtn(_deploy(abi.encodePacked(vm.getCode(ARTEFACT), abi.encode(token, address(0xAD)))));
        svm.enableSymbolicStorage(address(token));
        svm.enableSymbolicStorage(address(ai));
    }

    // ────────────────────────────────────────── what is given ────────────────────────────────────────

    /// @dev Anybody: not zero, which nobody can be, nor the contract itself, which calls itself only in `requestBatch`.
    function anybody() internal returns (address caller) {
        caller = svm.createAddress("caller");
        vm.assume(caller != address(0) && caller != address(ai));
    }

    /// @dev Any node; most steps are about none.
    function anyNode() internal returns (bytes32) {
        return svm.createBytes32("node");
    }

    /// @dev The id of the next session of `owner`. There is none of that number, as numbers are not used twice; and the
    /// 2^64 after which they would run into each other are never reached.
    function nextSession(address owner) internal view returns (uint256 sessionId) {
        uint256 number = uint256(vm.load(address(ai), bytes32(LAST_NUMBER)));
        vm.assume(number < type(uint64).max);
        sessionId = (uint256(uint160(owner)) << 96) | (number + 1);
        vm.assume(_word(sessionId, SESSIONS) == 0);
    }

    // ────────────────────────────────────────── what is proved ───────────────────────────────────────

    /// @dev Notes the books of `place`, and of any other session, node and account.
    function begin(Place memory place) internal returns (Step memory step) {
        step.place = place;
        step.elsewhere = Place(
            svm.createUint256("other session"), svm.createBytes32("other node"), svm.createAddress("other account")
        );
        vm.assume(step.elsewhere.sessionId != place.sessionId);
        vm.assume(step.elsewhere.nodeId != place.nodeId);
        vm.assume(step.elsewhere.account != place.account);
        (step.before, step.beforeElsewhere) = (booksOf(place), booksOf(step.elsewhere));
    }

    /// @dev Zero if both claims hold of a step that has been taken; `since` are the books of its place now.
    function notConserved(Step memory step) internal view returns (Books memory since, uint256 wrong) {
        since = booksOf(step.place);
        unchecked {
            wrong = differ(since.balance - step.before.balance, _owed(since) - _owed(step.before));
        }
        wrong |= changedElsewhere(step);
    }

    /// @dev Zero if a step that has been taken changed nothing but its place.
    function changedElsewhere(Step memory step) internal view returns (uint256 wrong) {
        Books memory elsewhere = booksOf(step.elsewhere);
        wrong = differ(elsewhere.session, step.beforeElsewhere.session);
        wrong |= differ(elsewhere.node, step.beforeElsewhere.node);
        wrong |= differ(elsewhere.claimable, step.beforeElsewhere.claimable);
    }

    function differ(uint256 a, uint256 b) internal pure returns (uint256) {
        return a ^ b;
    }

    function booksOf(Place memory place) internal view returns (Books memory) {
        return Books({
            balance: token.balanceOf(address(ai)),
            purse: token.balanceOf(place.account),
            session: _word(place.sessionId, SESSIONS),
            node: _word(uint256(place.nodeId), NODES),
            claimable: _word(uint256(uint160(place.account)), CLAIMABLE)
        });
    }

    function availableIn(Books memory books) internal pure returns (uint256) {
        return uint96(books.session);
    }

    function heldIn(Books memory books) internal pure returns (uint256) {
        return uint96(books.session >> 96);
    }

    /// @dev The first free slot; all ones of a closed session.
    function freeSlotIn(Books memory books) internal pure returns (uint256) {
        return books.session >> 224;
    }

    function earnedIn(Books memory books) internal pure returns (uint256) {
        return books.node >> 160;
    }

    function ownerOf(uint256 sessionId) internal pure returns (uint256) {
        return sessionId >> 96;
    }

    function _owed(Books memory books) private pure returns (uint256) {
        unchecked {
            return availableIn(books) + heldIn(books) + earnedIn(books) + books.claimable;
        }
    }

    function _word(uint256 key, uint256 slot) private view returns (uint256) {
        return uint256(vm.load(address(ai), keccak256(abi.encode(key, slot))));
    }

    function _deploy(bytes memory code) private returns (address deployed) {
        assembly ("memory-safe") {
            deployed := create(0, add(code, 32), mload(code))
        }
        require(deployed != address(0));
    }
}
