// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Books} from "./Books.sol";
import {Lists} from "./Lists.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// Deadlines and ages are in seconds; the few by which a validator may shift its clock are of no matter.
// Closing many costs for each what closing one does; whoever closes says how many at most.
// slither-disable-start incorrect-equality,timestamp,costly-loop

/// @title Pool
/// @notice Sessions that their owners share: who has one, until when, and what it may cost the owner.
/// @dev A session enters and re-enters the pool only with nothing in flight. So what a lease has spent or holds is, at
/// any time, what was free when it began less what is free now, whatever became of each request.
abstract contract Pool is Books, ReentrancyGuardTransient {
    using Lists for Lists.List;

    struct Count {
        uint128 pooled;
        uint128 leased;
    }

    /// Those waiting for a taker, the longest waiting first.
    Lists.List private _waiting;
    Count private _count;
    mapping(uint256 sessionId => Offer) private _offers;
    mapping(uint256 sessionId => Lease) private _leases;
    mapping(uint256 sessionId => mapping(address taker => uint256)) private _spent;

    // ───────────────────────────────────────────── sharing ───────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function addToPool(uint256 sessionId, uint96 takerCap, uint96 budget) external nonReentrant {
        Session memory session = _ownSession(sessionId, msg.sender);
        if (session.state != SessionState.ACTIVE) revert SessionManager_AlreadyPooled(sessionId);
        _requireFresh(sessionId, session);
        if (takerCap == 0 || takerCap > budget) revert SessionManager_CapOutOfRange(takerCap, budget);
        Config memory limits = config();
        if (_count.pooled >= limits.sessionPoolSize) revert SessionManager_PoolFull(limits.sessionPoolSize);
        (uint256 available, uint256 held) = _moneyOf(sessionId);
        if (held > 0) revert SessionManager_RequestsInFlight(sessionId, held);
        if (available < limits.minSessionBalance) {
            revert SessionManager_BalanceTooLow(available, limits.minSessionBalance);
        }
        _count.pooled++;
        _offers[sessionId] = Offer(takerCap, budget);
        _makeLast(sessionId, msg.sender);
        _wait(sessionId, session);
    }

    /// @inheritdoc ISessionManager
    function removeFromPool(uint256 sessionId) external nonReentrant {
        Session memory session = _ownSession(sessionId, msg.sender);
        if (session.state != SessionState.POOLED) revert SessionManager_NotPooled(sessionId);
        _waiting.remove(sessionId);
        _withdrawOffer(sessionId, session);
        _makeCurrent(sessionId, msg.sender);
    }

    // ───────────────────────────────────────────── leasing ───────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function getFromPool() external nonReentrant returns (uint256 sessionId) {
        sessionId = _waiting.first();
        if (sessionId == 0) revert SessionManager_PoolEmpty();
        _take(sessionId, _sessions[sessionId]);
    }

    /// @inheritdoc ISessionManager
    function getFromPool(uint256 sessionId) external nonReentrant {
        Session memory session = _sessions[sessionId];
        if (session.state != SessionState.POOLED) revert SessionManager_NotPooled(sessionId);
        _take(sessionId, session);
    }

    /// @inheritdoc ISessionManager
    function returnToPool(uint256 sessionId) external nonReentrant {
        Session memory session = _sessions[sessionId];
        if (session.state != SessionState.LEASED) revert SessionManager_NotLeased(sessionId);
        Lease memory lease = _leases[sessionId];
        if (msg.sender != lease.taker && block.timestamp <= lease.deadline) {
            revert SessionManager_LeaseRunning(sessionId, lease.deadline);
        }
        (uint256 available, uint256 held) = _moneyOf(sessionId);
        if (held > 0) revert SessionManager_RequestsInFlight(sessionId, held);
        _endLease(sessionId, available);
        if (available < config().minSessionBalance || _offers[sessionId].budget == 0) {
            _withdrawOffer(sessionId, session);
        } else {
            _wait(sessionId, session);
        }
    }

    // ─────────────────────────────────────────────── views ───────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function getPoolStatus() external view returns (uint256 poolSize, uint256 leased, uint256 maxSize) {
        return (_count.pooled, _count.leased, config().sessionPoolSize);
    }

    /// @inheritdoc ISessionManager
    function offerOf(uint256 sessionId) external view returns (Offer memory) {
        return _offers[sessionId];
    }

    /// @inheritdoc ISessionManager
    function leaseOf(uint256 sessionId) external view returns (Lease memory) {
        return _leases[sessionId];
    }

    /// @inheritdoc ISessionManager
    function spentBy(uint256 sessionId, address taker) external view returns (uint256) {
        return _spent[sessionId][taker];
    }

    // ─────────────────────────────────── what the other parts ask of it ──────────────────────────────

    /// @dev Reverts unless `asker` may ask of this session now: its owner while it is active, its taker in its lease.
    function _requireUsable(uint256 sessionId, Session memory session, address asker) internal view {
        if (session.state == SessionState.LEASED && _leases[sessionId].taker == asker) {
            uint256 deadline = _leases[sessionId].deadline;
            if (block.timestamp > deadline) revert SessionManager_LeaseOver(sessionId, deadline);
        } else {
            _ownSession(sessionId, asker);
            if (session.state != SessionState.ACTIVE) revert SessionManager_AlreadyPooled(sessionId);
        }
        _requireFresh(sessionId, session);
    }

    /// @dev Reverts if the lease has spent, or holds, more than it may.
    function _requireWithinLease(uint256 sessionId) internal view {
        Lease memory lease = _leases[sessionId];
        (uint256 available,) = _moneyOf(sessionId);
        uint256 exposure = _exposure(lease, available);
        if (exposure > lease.room) {
            revert SessionManager_LeaseCapReached(sessionId, lease.taker, exposure, lease.room);
        }
    }

    /// @dev What the owner adds during a lease is not the taker's to spend.
    function _addToLease(uint256 sessionId, uint256 amount) internal {
        _leases[sessionId].start += uint96(amount);
    }

    /// @dev Ends whatever the pool has to do with a session that is about to close.
    function _leavePool(uint256 sessionId, Session memory session) internal {
        if (session.state == SessionState.ACTIVE) return;
        if (session.state == SessionState.POOLED) {
            _waiting.remove(sessionId);
        } else {
            (uint256 available,) = _moneyOf(sessionId);
            _endLease(sessionId, available);
        }
        _count.pooled--;
        delete _offers[sessionId];
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _wait(uint256 sessionId, Session memory session) private {
        session.state = SessionState.POOLED;
        _sessions[sessionId] = session;
        _waiting.pushLast(sessionId);
        Offer memory offer = _offers[sessionId];
        emit SessionPooled(sessionId, session.owner, offer.takerCap, offer.budget);
    }

    /// @dev Makes a session, which neither waits nor is on lease any more, its owner's alone.
    function _withdrawOffer(uint256 sessionId, Session memory session) private {
        _count.pooled--;
        delete _offers[sessionId];
        session.state = SessionState.ACTIVE;
        _sessions[sessionId] = session;
        emit SessionUnpooled(sessionId, session.owner);
    }

    function _take(uint256 sessionId, Session memory session) private {
        _requireFresh(sessionId, session);
        Offer memory offer = _offers[sessionId];
        uint256 spent = _spent[sessionId][msg.sender];
        if (spent >= offer.takerCap) {
            revert SessionManager_LeaseCapReached(sessionId, msg.sender, spent, offer.takerCap);
        }
        uint256 left = offer.takerCap - spent;
        (uint256 available,) = _moneyOf(sessionId);
        Lease memory lease = Lease({
            taker: msg.sender,
            deadline: uint40(block.timestamp + config().leaseSeconds),
            start: uint96(available),
            room: uint96(left < offer.budget ? left : offer.budget)
        });
        _leases[sessionId] = lease;
        _count.leased++;
        _waiting.remove(sessionId);
        session.state = SessionState.LEASED;
        session.requestCount++;
        _saveUsed(sessionId, session);
        emit SessionTaken(sessionId, msg.sender, lease.deadline, lease.room);
    }

    /// @dev Books what a lease has spent, and holds, to its taker and off the owner's budget.
    function _endLease(uint256 sessionId, uint256 available) private {
        Lease memory lease = _leases[sessionId];
        uint256 spent = _exposure(lease, available);
        _spent[sessionId][lease.taker] += spent;
        // Within the room, which was at most the budget.
        _offers[sessionId].budget -= uint96(spent);
        delete _leases[sessionId];
        _count.leased--;
        emit LeaseEnded(sessionId, lease.taker, spent);
    }

    /// @dev Money that somebody gave to the session meanwhile, past the manager, may leave it with more.
    function _exposure(Lease memory lease, uint256 available) private pure returns (uint256) {
        return lease.start > available ? lease.start - available : 0;
    }
}

// slither-disable-end incorrect-equality,timestamp,costly-loop
