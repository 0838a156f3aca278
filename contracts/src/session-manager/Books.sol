// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";

import {Lists} from "./Lists.sol";
import {Purse} from "./Purse.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// Deadlines and ages are in seconds; the few by which a validator may shift its clock are of no matter.
// slither-disable-start incorrect-equality,timestamp

/// @title Books
/// @notice What the manager writes down, and whose session is whose. Nothing here moves money.
/// @dev What a session holds is not written down here: the AI contract knows, and is asked.
abstract contract Books is ISessionManager, Ownable2Step {
    using Lists for Lists.List;

    struct Session {
        address owner;
        uint40 lastUsed;
        uint40 requestCount;
        SessionState state;
    }

    uint256 private constant AGE_MIN_SECONDS = 1 hours;
    uint256 private constant AGE_MAX_SECONDS = 365 days;
    uint256 private constant LEASE_MIN_SECONDS = 1 minutes;
    uint256 private constant POOL_MAX = 10_000;

    /// @inheritdoc ISessionManager
    IDtnAi public immutable ai;
    address internal immutable TOKEN;
    address private immutable PURSE_CODE;

    Config private _config;
    mapping(uint256 sessionId => Session) internal _sessions;
    mapping(address user => uint256) private _openSessions;
    /// A user's open sessions: the current one first, those in the pool last.
    mapping(address user => Lists.List) internal _sessionsOf;
    /// All open sessions, the longest idle first.
    Lists.List internal _byAge;

    constructor(address ai_, address administrator, Config memory config_) Ownable(administrator) {
        ai = IDtnAi(ai_);
        TOKEN = IDtnAi(ai_).feeToken();
        PURSE_CODE = address(new Purse(IDtnAi(ai_)));
        _configure(config_);
    }

    // ───────────────────────────────────────── administration ────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function updateConfig(Config calldata newConfig) external onlyOwner {
        _configure(newConfig);
    }

    // ─────────────────────────────────────────────── views ───────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function config() public view returns (Config memory) {
        return _config;
    }

    /// @inheritdoc ISessionManager
    function purseOf(address user) public view returns (address) {
        return Clones.predictDeterministicAddress(PURSE_CODE, _salt(user));
    }

    /// @inheritdoc ISessionManager
    function getSessionStats(uint256 sessionId)
        external
        view
        returns (address owner, uint256 balance, uint256 lastUsed, bool active, uint256 requestCount)
    {
        Session memory session = _sessions[sessionId];
        if (session.state != SessionState.NONE) (balance,) = _moneyOf(sessionId);
        return (session.owner, balance, session.lastUsed, _isOpen(session), session.requestCount);
    }

    /// @inheritdoc ISessionManager
    function stateOf(uint256 sessionId) external view returns (SessionState) {
        return _sessions[sessionId].state;
    }

    /// @inheritdoc ISessionManager
    function getUserSessionCount(address user) external view returns (uint256) {
        return _openSessions[user];
    }

    /// @inheritdoc ISessionManager
    function getUserSessions(address user, uint256 afterId, uint256 max) external view returns (uint256[] memory ids) {
        Lists.List storage list = _sessionsOf[user];
        if (afterId != 0 && !list.contains(afterId)) revert SessionManager_SessionNotFound(afterId, user);
        uint256 left = _openSessions[user];
        ids = new uint256[](left < max ? left : max);
        uint256 found;
        uint256 id = afterId == 0 ? list.first() : list.next(afterId);
        while (id != 0 && found < ids.length) {
            ids[found++] = id;
            id = list.next(id);
        }
        assembly ("memory-safe") {
            mstore(ids, found)
        }
    }

    // ──────────────────────────────────── what the other parts ask of it ─────────────────────────────

    /// @dev A session that is open and belongs to `caller`, or an error that says what is wrong.
    function _ownSession(uint256 sessionId, address caller) internal view returns (Session memory session) {
        session = _sessions[sessionId];
        // To anybody else a session does not exist; nobody owns one that does not.
        if (session.owner != caller) revert SessionManager_SessionNotFound(sessionId, caller);
        if (!_isOpen(session)) revert SessionManager_SessionAlreadyClosed(sessionId);
    }

    function _isOpen(Session memory session) internal pure returns (bool) {
        return session.state != SessionState.NONE && session.state != SessionState.CLOSED;
    }

    function _requireFresh(uint256 sessionId, Session memory session) internal view {
        if (!_isExpired(session)) return;
        revert SessionManager_SessionExpired(sessionId, session.lastUsed, _config.maxSessionAgeSeconds);
    }

    function _isExpired(Session memory session) internal view returns (bool) {
        return block.timestamp > uint256(session.lastUsed) + _config.maxSessionAgeSeconds;
    }

    /// @dev What the AI contract says a session has: free, and held by requests in flight.
    function _moneyOf(uint256 sessionId) internal view returns (uint256 available, uint256 held) {
        // It is the AI contract; whose it is and whether it is open, we know.
        // slither-disable-next-line calls-loop,unused-return
        (, available, held,) = ai.sessionOf(sessionId);
    }

    /// @dev The purse of `user`, deployed if it is not yet.
    function _openPurse(address user) internal returns (Purse purse) {
        purse = Purse(purseOf(user));
        // slither-disable-next-line unused-return: it comes to lie at `purse`
        if (address(purse).code.length == 0) Clones.cloneDeterministic(PURSE_CODE, _salt(user));
    }

    function _enter(uint256 sessionId, address owner) internal {
        _sessions[sessionId] =
            Session({owner: owner, lastUsed: uint40(block.timestamp), requestCount: 0, state: SessionState.ACTIVE});
        _sessionsOf[owner].pushFirst(sessionId);
        _byAge.pushLast(sessionId);
        _openSessions[owner]++;
    }

    /// @dev Writes the session's word, as used now; so it becomes the last of those by age.
    function _saveUsed(uint256 sessionId, Session memory session) internal {
        session.lastUsed = uint40(block.timestamp);
        _sessions[sessionId] = session;
        if (_byAge.last() == sessionId) return;
        _byAge.remove(sessionId);
        _byAge.pushLast(sessionId);
    }

    function _makeCurrent(uint256 sessionId, address owner) internal {
        _sessionsOf[owner].remove(sessionId);
        _sessionsOf[owner].pushFirst(sessionId);
    }

    function _makeLast(uint256 sessionId, address owner) internal {
        _sessionsOf[owner].remove(sessionId);
        _sessionsOf[owner].pushLast(sessionId);
    }

    function _leave(uint256 sessionId, Session memory session) internal {
        session.state = SessionState.CLOSED;
        _sessions[sessionId] = session;
        _sessionsOf[session.owner].remove(sessionId);
        _byAge.remove(sessionId);
        _openSessions[session.owner]--;
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _configure(Config memory newConfig) private {
        _requireWithin("minSessionBalance", newConfig.minSessionBalance, 1, type(uint96).max);
        _requireWithin("maxSessionAgeSeconds", newConfig.maxSessionAgeSeconds, AGE_MIN_SECONDS, AGE_MAX_SECONDS);
        _requireWithin("sessionPoolSize", newConfig.sessionPoolSize, 0, POOL_MAX);
        _requireWithin("leaseSeconds", newConfig.leaseSeconds, LEASE_MIN_SECONDS, newConfig.maxSessionAgeSeconds);
        _config = newConfig;
        emit ConfigUpdated(newConfig);
    }

    function _requireWithin(string memory name, uint256 value, uint256 min, uint256 max) private pure {
        if (value < min || value > max) revert SessionManager_ConfigOutOfRange(name, value, min, max);
    }

    function _salt(address user) private pure returns (bytes32) {
        return bytes32(uint256(uint160(user)));
    }
}

// slither-disable-end incorrect-equality,timestamp
