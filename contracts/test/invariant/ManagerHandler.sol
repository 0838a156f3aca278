// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Test} from "../kit/Test.sol";
import {TokenMock} from "../kit/Tokens.sol";
import {Vm} from "../kit/Vm.sol";

/// @notice Does at random what owners, takers, thieves, nodes and the administrator can do, and keeps count of what
/// each user has paid in and what their requests have cost.
/// @dev Calls that the manager refuses are part of it: who acts on which session is drawn freely.
contract ManagerHandler is Test {
    uint256 private constant USD = 1e6;

    ISessionManager public immutable manager;
    IDtn public immutable ai;
    TokenMock public immutable token;
    address private immutable ADMIN;
    address private immutable OPERATOR;
    bytes32 private immutable NODE;
    address private immutable TEST = msg.sender;

    address[] public users;
    uint256[] public sessions;
    bytes[] private inFlight;
    mapping(uint256 sessionId => address) public ownerOf;
    mapping(uint256 sessionId => bool) public wasClosed;
    mapping(address user => uint256) public cost;
    mapping(address user => uint256) public given;
    mapping(string what => uint256) public count;
    /// A session that somebody moved who must not; zero while nobody did.
    uint256 public stolen;

    constructor(ISessionManager manager_, TokenMock token_, address admin, address operator, bytes32 node) {
        (manager, token, ADMIN, OPERATOR, NODE) = (manager_, token_, admin, operator, node);
        ai = IDtn(address(manager_.ai()));
        for (uint256 i = 0; i < 4; i++) {
            address user = person(string.concat("user-", vm.toString(i))).addr;
            users.push(user);
            token.mint(user, 10_000 * USD);
            vm.prank(user);
            token.approve(address(manager), type(uint256).max);
        }
    }

    // ─────────────────────────────────────────── owners ──────────────────────────────────────────────

    function create(uint256 who, uint256 balance) external {
        address user = users[who % users.length];
        vm.prank(user);
        try manager.createSession(bound(balance, 9 * USD, 100 * USD)) returns (uint256 sessionId) {
            _enter(sessionId, user);
        } catch {
            count["refused"]++;
        }
    }

    function getOrCreate(uint256 who) external {
        address user = users[who % users.length];
        vm.prank(user);
        try manager.getOrCreateSession() returns (uint256 sessionId) {
            if (ownerOf[sessionId] == address(0)) _enter(sessionId, user);
            if (ownerOf[sessionId] != user) stolen = sessionId;
        } catch {
            count["refused"]++;
        }
    }

    function renew(uint256 who, uint256 which, uint256 amount) external {
        uint256 sessionId = _session(which);
        _call(
            _actor(who, sessionId),
            abi.encodeCall(manager.renewSession, (sessionId, bound(amount, 0, 20 * USD))),
            "renew"
        );
    }

    function close(uint256 who, uint256 which) external {
        uint256 sessionId = _session(which);
        address user = _actor(who, sessionId);
        bool closed = _call(user, abi.encodeCall(manager.closeSession, (sessionId)), "close");
        if (closed && ownerOf[sessionId] != user) stolen = sessionId;
    }

    function closeAll(uint256 who, uint256 max) external {
        if (max % 8 != 0) return;
        _call(users[who % users.length], abi.encodeWithSignature("closeAllSessions(uint256)", max % 5), "closeAll");
    }

    function addToPool(uint256 who, uint256 which, uint256 cap, uint256 budget) external {
        uint256 most = bound(budget, 1, 50 * USD);
        uint256 sessionId = _session(which);
        bytes memory data = abi.encodeCall(manager.addToPool, (sessionId, uint96(bound(cap, 1, most)), uint96(most)));
        _call(_actor(who, sessionId), data, "addToPool");
    }

    function removeFromPool(uint256 who, uint256 which) external {
        uint256 sessionId = _session(which);
        _call(_actor(who, sessionId), abi.encodeCall(manager.removeFromPool, (sessionId)), "removeFromPool");
    }

    // ─────────────────────────────────────────── takers ──────────────────────────────────────────────

    function take(uint256 who, uint256 which, bool longestWaiting) external {
        bytes memory data = longestWaiting
            ? abi.encodeWithSignature("getFromPool()")
            : abi.encodeWithSignature("getFromPool(uint256)", _session(which));
        _call(users[who % users.length], data, "take");
    }

    function giveBack(uint256 who, uint256 which) external {
        uint256 sessionId = _session(which);
        _call(_actor(who, sessionId), abi.encodeCall(manager.returnToPool, (sessionId)), "giveBack");
    }

    // ───────────────────────────────────── whoever may ask, or tries ─────────────────────────────────

    function ask(uint256 who, uint256 which, uint256 most) external {
        uint256 sessionId = _session(which);
        address user = _actor(who, sessionId);
        vm.recordLogs();
        vm.prank(user);
        try manager.makeAIRequest(sessionId, _question(most)) returns (bytes32 requestId) {
            count["ask"]++;
            if (user != ownerOf[sessionId] && manager.leaseOf(sessionId).taker != user) stolen = sessionId;
            _remember(requestId, 0);
        } catch {
            count["refused"]++;
        }
    }

    function askBatch(uint256 who, uint256 which, uint256 first, uint256 second) external {
        IDtnAi.BatchRequest[] memory batch = new IDtnAi.BatchRequest[](2);
        (batch[0], batch[1]) = (_question(first), _question(second));
        uint256 sessionId = _session(which);
        vm.recordLogs();
        vm.prank(_actor(who, sessionId));
        IDtnAi.BatchResult[] memory results = manager.makeAIRequests(sessionId, batch);
        _remember(results[0].requestId, results[1].requestId);
    }

    // ─────────────────────────────────────────── nodes ───────────────────────────────────────────────

    function answer(uint256 which, uint256 length, bool succeeds) external {
        if (inFlight.length == 0) return;
        bytes memory terms = _pick(which);
        IDtnAi.ResponseStatus status = succeeds ? IDtnAi.ResponseStatus.SUCCESS : IDtnAi.ResponseStatus.FAILED;
        uint256 earned = ai.earned(NODE);
        vm.prank(OPERATOR);
        try ai.respondToRequest(terms, NODE, IDtnNodes.Answer(status, "", new bytes(length % 600))) {
            count["answer"]++;
            cost[ownerOf[_sessionOf(terms)]] += ai.earned(NODE) - earned;
        } catch {
            inFlight.push(terms);
        }
    }

    function expire(uint256 which) external {
        if (inFlight.length == 0) return;
        bytes memory terms = _pick(which);
        try ai.expire(terms) {
            count["expire"]++;
        } catch {
            inFlight.push(terms);
        }
    }

    // ─────────────────────────────────────────── anyone ──────────────────────────────────────────────

    function pass(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1, 30 minutes));
    }

    function passDays(uint256 time) external {
        if (time % 16 == 0) vm.warp(block.timestamp + 20 hours);
    }

    function cleanUp(uint256 who, uint256 max) external {
        _call(users[who % users.length], abi.encodeCall(manager.cleanupOldSessions, (max % 4)), "cleanUp");
    }

    function withdraw(uint256 who, uint256 whose) external {
        _call(users[who % users.length], abi.encodeCall(manager.withdraw, (users[whose % users.length])), "withdraw");
    }

    function withdrawTo(uint256 who, uint256 to) external {
        address user = users[who % users.length];
        address other = users[to % users.length];
        vm.prank(user);
        try manager.withdrawTo(other) returns (uint256 amount) {
            // Paid by the user to the other, so to say.
            if (other != user) (given[other], cost[user]) = (given[other] + amount, cost[user] + amount);
        } catch {
            count["refused"]++;
        }
    }

    /// @dev Money past the manager: the session, and so its owner, has it.
    function donate(uint256 which, uint256 amount) external {
        uint256 sessionId = _session(which);
        amount = bound(amount, 1, USD);
        token.mint(address(this), amount);
        token.approve(address(ai), amount);
        (bool done,) = address(ai).call(abi.encodeWithSignature("fundSession(uint256,uint256)", sessionId, amount));
        if (done) given[ownerOf[sessionId]] += amount;
    }

    function configure(uint256 poolSize, uint256 min) external {
        ISessionManager.Config memory changed = manager.config();
        (changed.sessionPoolSize, changed.minSessionBalance) = (uint32(poolSize % 6), uint96(bound(min, 1, 20 * USD)));
        vm.prank(ADMIN);
        manager.updateConfig(changed);
    }

    // ───────────────────────────────────── what the invariants ask ───────────────────────────────────

    function userCount() external view returns (uint256) {
        return users.length;
    }

    function sessionCount() external view returns (uint256) {
        return sessions.length;
    }

    /// @dev To the last deadline with all nodes silent, and everything expired.
    function expireAll() external {
        if (msg.sender != TEST) return;
        vm.warp(block.timestamp + 8 days);
        for (; inFlight.length > 0; inFlight.pop()) {
            ai.expire(inFlight[inFlight.length - 1]);
        }
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _enter(uint256 sessionId, address user) private {
        count["create"]++;
        sessions.push(sessionId);
        ownerOf[sessionId] = user;
    }

    /// @dev Mostly who may: the taker if there is one, the owner; else anybody.
    function _actor(uint256 who, uint256 sessionId) private view returns (address) {
        address taker = manager.leaseOf(sessionId).taker;
        if (who % 5 == 0 || ownerOf[sessionId] == address(0)) return users[who / 5 % users.length];
        return taker != address(0) && who % 5 < 4 ? taker : ownerOf[sessionId];
    }

    function _call(address user, bytes memory data, string memory what) private returns (bool done) {
        vm.prank(user);
        (done,) = address(manager).call(data);
        count[done ? what : "refused"]++;
        _noteClosed();
    }

    /// @dev Of the last sessions only, which are most of the open ones.
    function _noteClosed() private {
        for (uint256 i = sessions.length; i > 0 && i + 8 > sessions.length; i--) {
            bool closed = manager.stateOf(sessions[i - 1]) == ISessionManager.SessionState.CLOSED;
            if (wasClosed[sessions[i - 1]] && !closed) stolen = sessions[i - 1];
            wasClosed[sessions[i - 1]] = closed;
        }
    }

    /// @dev Mostly one of the last, so that sessions meet.
    function _session(uint256 which) private view returns (uint256) {
        uint256 size = sessions.length;
        if (size == 0) return 1; // nobody's; 0 would start one
        return sessions[size - 1 - which % (size < 8 ? size : 8)];
    }

    function _question(uint256 most) private pure returns (IDtnAi.BatchRequest memory asked) {
        asked.modelId = keccak256("gpt-4");
        asked.routing.trustNamespaceIds = new bytes32[](1);
        asked.routing.trustNamespaceIds[0] = keccak256("system");
        asked.routing.redundancy = 1;
        asked.request.call = "hello";
        asked.request.calltype = IDtnAi.CallType.DIRECT;
        asked.request.feePerByteReq = 1_000;
        asked.request.feePerByteRes = 20_000;
        asked.request.totalFeePerRes = bound(most, 1_000, 20 * USD);
    }

    /// @dev The terms of requests that were made. What reverted in a batch is among the recorded logs too.
    function _remember(bytes32 first, bytes32 second) private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] != RequestMade) continue;
            if (logs[i].topics[1] != first && logs[i].topics[1] != second) continue;
            (bytes memory terms,,,,) = abi.decode(logs[i].data, (bytes, uint8, uint256, bytes, bytes));
            inFlight.push(terms);
        }
    }

    bytes32 private constant RequestMade = keccak256("RequestMade(bytes32,bytes32,bytes,uint8,uint256,bytes,bytes)");

    function _pick(uint256 which) private returns (bytes memory terms) {
        uint256 last = inFlight.length - 1;
        terms = inFlight[which % inFlight.length];
        inFlight[which % inFlight.length] = inFlight[last];
        inFlight.pop();
    }

    function _sessionOf(bytes memory terms) private pure returns (uint256 sessionId) {
        assembly {
            sessionId := mload(add(terms, 32))
        }
    }
}
