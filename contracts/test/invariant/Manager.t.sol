// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Lists} from "../../src/session-manager/Lists.sol";
import {SessionManager} from "../../src/session-manager/SessionManager.sol";
import {ManagerFixture} from "../kit/ManagerFixture.sol";
import {ManagerHandler} from "./ManagerHandler.sol";

/// @notice The session manager's invariants, as numbered in README.md.
contract ManagerInvariantsTest is ManagerFixture {
    uint256 private constant PAID_IN = 10_000 * USD;

    ManagerHandler private handler;
    OpenBooks private books;

    function setUp() public override {
        super.setUp();
        books = new OpenBooks(address(ai), admin.addr, settings());
        handler = new ManagerHandler(books, token, admin.addr, operators[0].addr, nodeIds[0]);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev Invariants M1 to M7. One function, so that each run of calls serves them all.
    function invariant_Manager() external view {
        assertNothingRestsInTheManager();
        for (uint256 i = 0; i < handler.userCount(); i++) {
            assertEveryUnitIsAccountedFor(handler.users(i));
            assertListedSessionsAreTheOpenOnes(handler.users(i));
        }
        assertAgesAreInOrder();
        assertPoolAddsUp();
        vm.assertEq(handler.stolen(), 0, "M6: a session moved by somebody else, or out of CLOSED");
    }

    /// @dev Invariant M8: after the last deadline, with all nodes silent, everybody takes out what is theirs.
    function afterInvariant() external {
        handler.expireAll();
        for (uint256 i = 0; i < handler.userCount(); i++) {
            address user = handler.users(i);
            vm.prank(user);
            books.closeAllSessions();
            if (books.withdrawable(user) > 0) books.withdraw(user);
            vm.assertEq(token.balanceOf(user), PAID_IN + handler.given(user) - handler.cost(user), "M8");
        }
        vm.assertEq(token.balanceOf(address(ai)), ai.earned(nodeIds[0]), "M8: the nodes' and nothing else is left");
    }

    /// @dev Invariants prove nothing of what the handler never manages to do.
    function test_TheHandlerGetsEverywhere() external {
        for (uint256 i = 0; i < 2_000; i++) {
            bytes32 word = keccak256(abi.encode(i));
            bytes4 action = ACTIONS[uint256(word) % ACTIONS.length];
            (bool done,) = address(handler)
                .call(abi.encodeWithSelector(action, uint32(bytes4(word << 32)), uint32(bytes4(word << 64)), i % 2, i));
            vm.assertTrue(done);
        }
        string[13] memory deeds = [
            "create",
            "renew",
            "close",
            "closeAll",
            "addToPool",
            "removeFromPool",
            "take",
            "giveBack",
            "ask",
            "answer",
            "expire",
            "cleanUp",
            "withdraw"
        ];
        for (uint256 i = 0; i < deeds.length; i++) {
            vm.assertGe(handler.count(deeds[i]), 1, deeds[i]);
        }
        this.invariant_Manager();
    }

    bytes4[] private ACTIONS = [
        ManagerHandler.create.selector,
        ManagerHandler.getOrCreate.selector,
        ManagerHandler.renew.selector,
        ManagerHandler.close.selector,
        ManagerHandler.closeAll.selector,
        ManagerHandler.addToPool.selector,
        ManagerHandler.removeFromPool.selector,
        ManagerHandler.take.selector,
        ManagerHandler.giveBack.selector,
        ManagerHandler.ask.selector,
        ManagerHandler.ask.selector,
        ManagerHandler.answer.selector,
        ManagerHandler.expire.selector,
        ManagerHandler.pass.selector,
        ManagerHandler.passDays.selector,
        ManagerHandler.cleanUp.selector,
        ManagerHandler.withdraw.selector
    ];

    /// @dev M1.
    function assertNothingRestsInTheManager() private view {
        vm.assertEq(token.balanceOf(address(books)), 0, "M1: tokens");
        vm.assertEq(address(books).balance, 0, "M1: ETH");
    }

    /// @dev M2.
    function assertEveryUnitIsAccountedFor(address user) private view {
        uint256 has = token.balanceOf(user) + books.withdrawable(user);
        for (uint256 i = 0; i < handler.sessionCount(); i++) {
            if (handler.ownerOf(handler.sessions(i)) != user) continue;
            (, uint256 available, uint256 held,) = ai.sessionOf(handler.sessions(i));
            has += available + held;
        }
        vm.assertEq(has, PAID_IN + handler.given(user) - handler.cost(user), "M2");
    }

    /// @dev M3.
    function assertListedSessionsAreTheOpenOnes(address user) private view {
        uint256[] memory listed = books.getUserSessions(user, 0, type(uint256).max);
        vm.assertEq(listed.length, books.getUserSessionCount(user), "M3");
        for (uint256 i = 0; i < listed.length; i++) {
            (address sessionOwner,,, bool active,) = books.getSessionStats(listed[i]);
            (,,, bool open) = ai.sessionOf(listed[i]);
            vm.assertTrue(active && open && sessionOwner == user, "M3");
        }
    }

    /// @dev M4.
    function assertAgesAreInOrder() private view {
        (uint256 listed, bool inOrder) = books.ages();
        uint256 open;
        for (uint256 i = 0; i < handler.userCount(); i++) {
            open += books.getUserSessionCount(handler.users(i));
        }
        vm.assertEq(listed, open, "M4");
        vm.assertTrue(inOrder, "M4");
    }

    /// @dev M5, M7.
    function assertPoolAddsUp() private view {
        uint256 pooled;
        uint256 leased;
        for (uint256 i = 0; i < handler.sessionCount(); i++) {
            uint256 id = handler.sessions(i);
            ISessionManager.SessionState state = books.stateOf(id);
            ISessionManager.Lease memory lease = books.leaseOf(id);
            if (state == ISessionManager.SessionState.POOLED) pooled++;
            vm.assertEq(lease.taker != address(0), state == ISessionManager.SessionState.LEASED);
            if (state != ISessionManager.SessionState.LEASED) continue;
            leased++;
            (, uint256 available,,) = ai.sessionOf(id);
            vm.assertGe(available + lease.room, lease.start, "M7: a lease took more than it may");
            vm.assertLe(lease.room, books.offerOf(id).budget, "M7");
        }
        (uint256 poolSize, uint256 onLease,) = books.getPoolStatus();
        vm.assertEq(poolSize, pooled + leased, "M5");
        vm.assertEq(onLease, leased, "M5");
    }
}

/// @notice The manager, with its list of ages open to view.
contract OpenBooks is SessionManager {
    using Lists for Lists.List;

    constructor(address ai_, address administrator, Config memory config_)
        SessionManager(ai_, administrator, config_)
    {}

    /// @return listed How many sessions the list has.
    /// @return inOrder Whether none was used before the one in front of it, and all are open.
    function ages() external view returns (uint256 listed, bool inOrder) {
        inOrder = true;
        uint256 before;
        for (uint256 id = _byAge.first(); id != 0; id = _byAge.next(id)) {
            listed++;
            inOrder = inOrder && _isOpen(_sessions[id]) && _sessions[id].lastUsed >= before;
            before = _sessions[id].lastUsed;
        }
    }
}
