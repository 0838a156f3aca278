// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {DepositAddress} from "./DepositAddress.sol";
import {Guarded} from "./Guarded.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {IDtnNodes} from "./interfaces/IDtnNodes.sol";
import {TokenMoves} from "./libraries/TokenMoves.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// slither-disable-start incorrect-equality

/// @title Sessions
/// @notice Whose money is where: deposit addresses, sessions, refunds.
/// @dev A session's id is owner 160 │ zero 32 │ number 64, so that its owner costs no storage; its books are one word.
abstract contract Sessions is Guarded, IDtnAi, IDtnAiEvents {
    /// @dev `serial` is the number of the session's next request, from 1, so that no session's word is zero.
    /// `freeSlot` is the first of the session's reusable request slots, 0 if there is none, CLOSED once it is closed.
    struct Session {
        uint96 available;
        uint96 held;
        uint32 serial;
        uint32 freeSlot;
    }

    uint8 private constant DECIMALS_MAX = 18;
    uint32 internal constant CLOSED = type(uint32).max;
    /// Gas for taking ETH: enough for a wallet that logs, too little to make a settlement dear.
    uint256 private constant ETHER_GAS = 30_000;
    /// Gas for paying back tokens, several times what any known token takes. Where receivers are told (ERC-777), one
    /// that burns its gas could else keep its requests from settling. What needs more can be claimed, with all there is.
    uint256 private constant TOKEN_GAS = 500_000;

    /// @inheritdoc IDtnAi
    address public immutable feeToken;
    address private immutable DEPOSIT_CODE = address(new DepositAddress());

    uint256 private _lastNumber;
    mapping(uint256 sessionId => Session) internal _sessions;
    mapping(address account => uint256) private _claimableTokens;
    mapping(address account => uint256) private _claimableWei;

    constructor(address token) {
        if (token.code.length == 0) revert IDtnNodes.DtnAi_TokenNotSupported(token, 0);
        uint8 decimals = IERC20Metadata(token).decimals();
        if (decimals > DECIMALS_MAX) revert IDtnNodes.DtnAi_TokenNotSupported(token, decimals);
        feeToken = token;
    }

    // ─────────────────────────────────────────── deposit addresses ───────────────────────────────────

    /// @inheritdoc IDtnAi
    function feeTarget() external view returns (address) {
        if (msg.sender == address(0)) revert DtnAi_NoCaller();
        return feeTargetOf(msg.sender);
    }

    /// @inheritdoc IDtnAi
    function feeTargetOf(address owner) public view returns (address) {
        return Clones.predictDeterministicAddress(DEPOSIT_CODE, _salt(owner));
    }

    // ────────────────────────────────────────────── starting ─────────────────────────────────────────

    /// @inheritdoc IDtnAi
    function startUserSession() external guarded returns (uint256 sessionId) {
        return _startFromDeposit(msg.sender);
    }

    /// @inheritdoc IDtnAi
    function startUserSession(uint256 amount) external guarded returns (uint256 sessionId) {
        TokenMoves.pull(feeToken, msg.sender, amount);
        return _start(msg.sender, amount);
    }

    /// @inheritdoc IDtnAi
    function startUserSessionWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        guarded
        returns (uint256 sessionId)
    {
        // Whoever saw the signature may have used it before us; then the allowance is there all the same.
        // slither-disable-next-line reentrancy-benign,reentrancy-events: the lock is held
        try IERC20Permit(feeToken).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        TokenMoves.pull(feeToken, msg.sender, amount);
        return _start(msg.sender, amount);
    }

    /// @inheritdoc IDtnAi
    function startUserSessionWithAuthorization(
        address owner,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external guarded returns (uint256 sessionId) {
        uint256 before = IERC20(feeToken).balanceOf(address(this));
        _authorize(owner, amount, validAfter, validBefore, nonce, signature);
        TokenMoves.requireArrived(feeToken, before, amount);
        return _start(owner, amount);
    }

    // ────────────────────────────────────────────── funding ──────────────────────────────────────────

    /// @inheritdoc IDtnAi
    function fundSession(uint256 sessionId, uint256 amount) external guarded {
        Session memory session = _openSession(sessionId, msg.sender);
        TokenMoves.pull(feeToken, msg.sender, amount);
        _fund(sessionId, session, msg.sender, amount);
    }

    /// @inheritdoc IDtnAi
    function fundSession(uint256 sessionId) external guarded {
        Session memory session = _ownSession(sessionId, msg.sender);
        _fund(sessionId, session, msg.sender, _collectSome(msg.sender));
    }

    // ────────────────────────────────────────────── closing ──────────────────────────────────────────

    /// @inheritdoc IDtnAi
    function closeUserSession(uint256 sessionId) external guarded {
        Session memory session = _ownSession(sessionId, msg.sender);
        uint256 refund = session.available;
        session.available = 0;
        session.freeSlot = CLOSED;
        _sessions[sessionId] = session;
        emit SessionClosed(sessionId, msg.sender, refund, session.held);
        _refund(msg.sender, refund);
    }

    /// @inheritdoc IDtnAi
    function claimRefund(address payable to) external guarded {
        uint256 tokens = _claimableTokens[msg.sender];
        uint256 etherWei = _claimableWei[msg.sender];
        if (tokens == 0 && etherWei == 0) revert DtnAi_NothingToClaim(msg.sender);
        _claimableTokens[msg.sender] = 0;
        _claimableWei[msg.sender] = 0;
        emit RefundClaimed(msg.sender, to, tokens, etherWei);
        bool paid = tokens == 0 || TokenMoves.push(feeToken, to, tokens, gasleft()) == 0;
        paid = paid && (etherWei == 0 || _send(to, etherWei, gasleft()));
        if (!paid) revert DtnAi_PaymentRefused(to, tokens, etherWei);
    }

    // ─────────────────────────────────────────────── views ───────────────────────────────────────────

    /// @inheritdoc IDtnAi
    function sessionOf(uint256 sessionId)
        external
        view
        returns (address owner, uint256 available, uint256 held, bool open)
    {
        Session memory session = _sessions[sessionId];
        if (session.serial == 0) return (address(0), 0, 0, false);
        return (_ownerOf(sessionId), session.available, session.held, session.freeSlot != CLOSED);
    }

    /// @inheritdoc IDtnAi
    function claimable(address account) external view returns (uint256 tokens, uint256 etherWei) {
        return (_claimableTokens[account], _claimableWei[account]);
    }

    // ────────────────────────────────── what requests and answers ask of it ──────────────────────────

    function _ownerOf(uint256 sessionId) internal pure returns (address) {
        return address(uint160(sessionId >> 96));
    }

    /// @dev The books of a session that `caller` owns and that is open.
    function _ownSession(uint256 sessionId, address caller) internal view returns (Session memory) {
        if (_ownerOf(sessionId) != caller) revert DtnAi_SessionNotFound(sessionId, caller);
        return _openSession(sessionId, caller);
    }

    /// @dev Starts a session of `owner` with what lies at its deposit address.
    function _startFromDeposit(address owner) internal returns (uint256 sessionId) {
        return _start(owner, _collectSome(owner));
    }

    /// @dev Adds money that has arrived to a session, and writes its books.
    function _fund(uint256 sessionId, Session memory session, address payer, uint256 amount) internal {
        if (amount == 0) revert DtnAi_AmountZero();
        // What is held may all come free again, so that both together must fit.
        session.available = _fits(amount + session.available + session.held) - session.held;
        _sessions[sessionId] = session;
        emit SessionFunded(sessionId, payer, amount);
    }

    /// @dev Takes what lies at `owner`'s deposit address; what arrived is what counts.
    function _collect(address owner) internal returns (uint256 amount) {
        address target = feeTargetOf(owner);
        uint256 deposited = IERC20(feeToken).balanceOf(target);
        if (deposited == 0) return 0;
        // A session cannot hold more; what is beyond stays for the next.
        deposited = Math.min(deposited, type(uint96).max);
        // slither-disable-next-line unused-return: it comes to lie at `target`
        if (target.code.length == 0) Clones.cloneDeterministic(DEPOSIT_CODE, _salt(owner));
        uint256 before = IERC20(feeToken).balanceOf(address(this));
        // slither-disable-next-line reentrancy-no-eth,reentrancy-events: the lock is held
        DepositAddress(target).collect(feeToken, deposited);
        return IERC20(feeToken).balanceOf(address(this)) - before;
    }

    /// @dev Takes what lies at `owner`'s deposit address, or reverts if there is nothing.
    function _collectSome(address owner) private returns (uint256 amount) {
        amount = _collect(owner);
        if (amount == 0) revert DtnAi_NothingDeposited(owner, feeTargetOf(owner));
    }

    /// @dev Pays `amount` back to `owner`, or makes claimable what the token refuses.
    function _refund(address owner, uint256 amount) internal {
        if (amount == 0) return;
        uint256 unpaid = TokenMoves.push(feeToken, owner, amount, TOKEN_GAS);
        if (unpaid == 0) return;
        _claimableTokens[owner] += unpaid;
        emit RefundClaimable(owner, unpaid, 0);
    }

    /// @dev Pays ETH to `to`, or makes it claimable if it is refused.
    function _payEther(address to, uint256 amountWei) internal {
        if (amountWei == 0 || _send(to, amountWei, ETHER_GAS)) return;
        _claimableWei[to] += amountWei;
        emit RefundClaimable(to, 0, amountWei);
    }

    /// @dev `amount` as a word of the books, or an error.
    function _fits(uint256 amount) internal pure returns (uint96) {
        if (amount > type(uint96).max) revert DtnAi_AmountTooLarge(amount, type(uint96).max);
        return uint96(amount);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _start(address owner, uint256 amount) private returns (uint256 sessionId) {
        if (amount == 0) revert DtnAi_AmountZero();
        sessionId = (uint256(uint160(owner)) << 96) | ++_lastNumber;
        _sessions[sessionId] = Session({available: _fits(amount), held: 0, serial: 1, freeSlot: 0});
        emit SessionStarted(sessionId, owner, amount);
    }

    function _openSession(uint256 sessionId, address caller) private view returns (Session memory session) {
        session = _sessions[sessionId];
        if (session.serial == 0) revert DtnAi_SessionNotFound(sessionId, caller);
        if (session.freeSlot == CLOSED) revert DtnAi_SessionAlreadyClosed(sessionId);
    }

    function _authorize(
        address owner,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) private {
        IERC3009 token = IERC3009(feeToken);
        if (owner.code.length > 0 || signature.length != 65) {
            // slither-disable-next-line reentrancy-benign,reentrancy-events: the lock is held
            token.receiveWithAuthorization(owner, address(this), amount, validAfter, validBefore, nonce, signature);
            return;
        }
        (bytes32 r, bytes32 s, uint8 v) = (bytes32(signature[:32]), bytes32(signature[32:64]), uint8(signature[64]));
        token.receiveWithAuthorization(owner, address(this), amount, validAfter, validBefore, nonce, v, r, s);
    }

    /// @dev Sends ETH without reading what comes back, however much it is.
    function _send(address to, uint256 amountWei, uint256 gasLimit) private returns (bool sent) {
        assembly ("memory-safe") {
            sent := call(gasLimit, to, amountWei, 0, 0, 0, 0)
        }
    }

    function _salt(address owner) private pure returns (bytes32) {
        return bytes32(uint256(uint160(owner)));
    }
}

// slither-disable-end incorrect-equality
