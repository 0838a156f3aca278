// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionManager} from "@deeptrust/contracts/isession-manager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";

import {Lists} from "./Lists.sol";
import {Pool} from "./Pool.sol";
import {Purse} from "./Purse.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// Deadlines and ages are in seconds; the few by which a validator may shift its clock are of no matter.
// slither-disable-start incorrect-equality,timestamp

/// @title Lifecycle
/// @notice Money in and out: starting, renewing, closing, cleaning up, paying what came back late.
/// @dev All of it goes from a user to the user's purse and from the purse to the user; none of it rests here.
abstract contract Lifecycle is Pool {
    using Lists for Lists.List;

    // ───────────────────────────────────────────── starting ──────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function createSession(uint256 balance) external nonReentrant returns (uint256 sessionId) {
        return _create(msg.sender, balance);
    }

    /// @inheritdoc ISessionManager
    function createSessionWithPermit(uint256 balance, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
        returns (uint256 sessionId)
    {
        // Whoever saw the signature may have used it before us; then the allowance is there all the same.
        // slither-disable-next-line reentrancy-benign: the lock is held
        try IERC20Permit(TOKEN).permit(msg.sender, address(this), balance, deadline, v, r, s) {} catch {}
        return _create(msg.sender, balance);
    }

    /// @inheritdoc ISessionManager
    function getOrCreateSession() external nonReentrant returns (uint256 sessionId) {
        bool found;
        (sessionId, found) = _findOrCreate(msg.sender);
        if (!found) return sessionId;
        Session memory session = _sessions[sessionId];
        session.requestCount++;
        _saveUsed(sessionId, session);
    }

    /// @inheritdoc ISessionManager
    function renewSession(uint256 sessionId, uint256 additionalBalance) external nonReentrant {
        Session memory session = _ownSession(sessionId, msg.sender);
        _requireFresh(sessionId, session);
        Purse purse = Purse(purseOf(msg.sender));
        _pull(msg.sender, address(purse), additionalBalance);
        // slither-disable-next-line unused-return,reentrancy-no-eth,reentrancy-benign: the same id; the lock is held
        purse.fund(sessionId, additionalBalance);
        if (session.state == SessionState.LEASED) _addToLease(sessionId, additionalBalance);
        if (session.state == SessionState.ACTIVE) _makeCurrent(sessionId, msg.sender);
        _saveUsed(sessionId, session);
        (uint256 available,) = _moneyOf(sessionId);
        emit SessionRenewed(sessionId, available);
    }

    // ────────────────────────────────────────────── closing ──────────────────────────────────────────

    /// @inheritdoc ISessionManager
    function closeSession(uint256 sessionId) external nonReentrant {
        _close(sessionId, _ownSession(sessionId, msg.sender));
    }

    /// @inheritdoc ISessionManager
    function closeAllSessions() external nonReentrant returns (uint256 closed) {
        return _closeFrom(_sessionsOf[msg.sender], type(uint256).max);
    }

    /// @inheritdoc ISessionManager
    function closeAllSessions(uint256 max) external nonReentrant returns (uint256 closed) {
        return _closeFrom(_sessionsOf[msg.sender], max);
    }

    /// @inheritdoc ISessionManager
    function cleanupOldSessions(uint256 max) external nonReentrant returns (uint256 closed) {
        for (; closed < max; closed++) {
            uint256 sessionId = _byAge.first();
            if (sessionId == 0) break;
            Session memory session = _sessions[sessionId];
            // The list is in the order of last use, so nothing behind this one has expired either.
            if (!_isExpired(session)) break;
            _close(sessionId, session);
        }
    }

    // ───────────────────────────────────────────── late refunds ──────────────────────────────────────

    /// @inheritdoc ISessionManager
    function withdraw(address user) external nonReentrant returns (uint256 amount) {
        return _withdraw(user, user);
    }

    /// @inheritdoc ISessionManager
    function withdrawTo(address to) external nonReentrant returns (uint256 amount) {
        return _withdraw(msg.sender, to);
    }

    /// @inheritdoc ISessionManager
    function withdrawable(address user) public view returns (uint256) {
        address purse = purseOf(user);
        // slither-disable-next-line unused-return: a purse is sent no ETH
        (uint256 owed,) = ai.claimable(purse);
        return IERC20(TOKEN).balanceOf(purse) + owed;
    }

    // ──────────────────────────────────── what requests ask of it ────────────────────────────────────

    /// @dev The current session of `user`, or a new one.
    function _findOrCreate(address user) internal returns (uint256 sessionId, bool found) {
        sessionId = _sessionsOf[user].first();
        if (sessionId != 0) {
            Session memory session = _sessions[sessionId];
            if (_isExpired(session)) {
                _close(sessionId, session);
            } else if (session.state == SessionState.ACTIVE) {
                (uint256 available,) = _moneyOf(sessionId);
                if (available > 0) return (sessionId, true);
            }
        }
        return (_create(user, config().minSessionBalance), false);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _create(address user, uint256 balance) private returns (uint256 sessionId) {
        uint256 min = config().minSessionBalance;
        if (balance < min) revert SessionManager_BalanceTooLow(balance, min);
        Purse purse = _openPurse(user);
        _pull(user, address(purse), balance);
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign: the lock is held
        sessionId = purse.fund(0, balance);
        _enter(sessionId, user);
        emit SessionCreated(sessionId, user, balance);
    }

    /// @dev Closes a session and pays its owner. Neither a token that refuses the owner nor a purse that the token
    /// refuses stops it: both leave the money where `withdraw` finds it.
    function _close(uint256 sessionId, Session memory session) private {
        _leavePool(sessionId, session);
        _leave(sessionId, session);
        (, uint256 held) = _moneyOf(sessionId);
        // A purse calls AI contract and token only; the lock is held.
        // slither-disable-next-line calls-loop,reentrancy-no-eth
        (uint256 refund, uint256 paid, uint256 waiting) = Purse(purseOf(session.owner)).close(sessionId, session.owner);
        emit SessionClosed(sessionId, session.owner, refund, held);
        if (paid > 0) emit RefundPaid(session.owner, session.owner, paid);
        if (waiting > 0) emit RefundWaiting(session.owner, waiting);
    }

    function _closeFrom(Lists.List storage list, uint256 max) private returns (uint256 closed) {
        for (; closed < max; closed++) {
            uint256 sessionId = list.last();
            if (sessionId == 0) break;
            _close(sessionId, _sessions[sessionId]);
        }
    }

    function _withdraw(address user, address to) private returns (uint256 amount) {
        if (withdrawable(user) == 0) revert SessionManager_NothingToWithdraw(user);
        Purse purse = _openPurse(user);
        // slither-disable-next-line unused-return: a purse is sent no ETH
        (uint256 owed,) = ai.claimable(address(purse));
        uint256 waiting;
        (amount, waiting) = purse.payOut(to, owed);
        if (waiting > 0) revert SessionManager_RefundRefused(to, amount);
        emit RefundPaid(user, to, amount);
    }

    /// @dev Moves exactly `amount` from `from`, who must have given us the allowance, to a purse. A token's own error
    /// is passed on; whatever else it says is not read.
    function _pull(address from, address purse, uint256 amount) private {
        uint256 before = IERC20(TOKEN).balanceOf(purse);
        bytes memory transferFrom = abi.encodeCall(IERC20.transferFrom, (from, purse, amount));
        if (!LowLevelCall.callNoReturn(TOKEN, transferFrom)) LowLevelCall.bubbleRevert();
        uint256 arrived = IERC20(TOKEN).balanceOf(purse) - before;
        if (arrived != amount) revert SessionManager_TransferInexact(amount, arrived);
    }
}

// slither-disable-end incorrect-equality,timestamp
