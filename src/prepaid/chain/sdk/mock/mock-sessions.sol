// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IDtnAiEvents} from "../idtn-ai-events.sol";
import {IDtnAi} from "../idtn-ai.sol";
import {MockDepositAddress} from "./mock-deposit-address.sol";

// What is compared with == is zero, a state or a mark of our own, never a balance that somebody could shift.
// slither-disable-start incorrect-equality

/// @title MockSessions
/// @notice The mock's books of money: the same rules, errors and events as the AI contract's, written plainly.
/// @dev For unit tests only: no word is packed and no gas is saved. A differential test keeps it true to the original.
abstract contract MockSessions is IDtnAi, IDtnAiEvents {
    struct Session {
        address owner;
        uint256 available;
        uint256 held;
        uint32 serial;
        bool open;
        uint32[] freeSlots;
    }

    bytes4 private constant AUTHORIZE_VRS = bytes4(
        keccak256("receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)")
    );
    bytes4 private constant AUTHORIZE_BYTES =
        bytes4(keccak256("receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"));
    uint8 private constant OPEN = 0;
    uint8 private constant BUSY = 1;
    uint8 private constant CALLING_BACK = 2;

    /// @inheritdoc IDtnAi
    address public immutable feeToken;

    uint8 private _lock;
    uint256 private _lastNumber;
    mapping(uint256 => Session) internal _sessions;
    mapping(address => uint256) private _claimableTokens;
    mapping(address => uint256) private _claimableWei;

    /// @dev For what callbacks may enter.
    modifier guarded() {
        uint8 before = _lock;
        if (before == BUSY) revert DtnAi_Reentered();
        _lock = BUSY;
        _;
        _lock = before;
    }

    /// @dev For what settles requests.
    modifier guardedFromCallbacks() {
        if (_lock != OPEN) revert DtnAi_Reentered();
        _lock = BUSY;
        _;
        _lock = OPEN;
    }

    /// @dev Around the call of a callback.
    modifier callingBack() {
        _lock = CALLING_BACK;
        _;
        _lock = BUSY;
    }

    constructor(address token) {
        feeToken = token;
    }

    // ──────────────────────────────────────── IDtnAi: sessions ───────────────────────────────────────

    /// @inheritdoc IDtnAi
    function feeTarget() external view returns (address) {
        if (msg.sender == address(0)) revert DtnAi_NoCaller();
        return feeTargetOf(msg.sender);
    }

    /// @inheritdoc IDtnAi
    function feeTargetOf(address owner) public view returns (address) {
        // slither-disable-next-line too-many-digits: it is no number
        bytes32 code = keccak256(type(MockDepositAddress).creationCode);
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), _salt(owner), code)))));
    }

    /// @inheritdoc IDtnAi
    function startUserSession() external guarded returns (uint256) {
        return _startFromDeposit(msg.sender);
    }

    /// @inheritdoc IDtnAi
    function startUserSession(uint256 amount) external guarded returns (uint256) {
        _pull(msg.sender, amount);
        return _start(msg.sender, amount);
    }

    /// @inheritdoc IDtnAi
    function startUserSessionWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        guarded
        returns (uint256)
    {
        try IERC20Permit(feeToken).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _pull(msg.sender, amount);
        return _start(msg.sender, amount);
    }

    /// @inheritdoc IDtnAi
    function startUserSessionWithAuthorization(
        address owner,
        uint256 amount,
        uint256,
        uint256,
        bytes32,
        bytes calldata signature
    ) external guarded returns (uint256) {
        uint256 before = _balance();
        // From `amount` to `nonce`, the arguments are those of the token's function.
        _authorize(owner, msg.data[36:164], signature);
        if (_balance() - before != amount) revert DtnAi_TransferInexact(amount, _balance() - before);
        return _start(owner, amount);
    }

    /// @inheritdoc IDtnAi
    function fundSession(uint256 sessionId, uint256 amount) external guarded {
        _requireOpen(sessionId, msg.sender);
        _pull(msg.sender, amount);
        _fund(sessionId, msg.sender, amount);
    }

    /// @inheritdoc IDtnAi
    function fundSession(uint256 sessionId) external guarded {
        _requireOwn(sessionId, msg.sender);
        uint256 amount = _collect(msg.sender);
        if (amount == 0) revert DtnAi_NothingDeposited(msg.sender, feeTargetOf(msg.sender));
        _fund(sessionId, msg.sender, amount);
    }

    /// @inheritdoc IDtnAi
    function closeUserSession(uint256 sessionId) external guarded {
        _requireOwn(sessionId, msg.sender);
        Session storage session = _sessions[sessionId];
        uint256 refund = session.available;
        session.available = 0;
        session.open = false;
        emit SessionClosed(sessionId, msg.sender, refund, session.held);
        _refund(msg.sender, refund);
    }

    /// @inheritdoc IDtnAi
    function sessionOf(uint256 sessionId)
        external
        view
        returns (address owner, uint256 available, uint256 held, bool open)
    {
        Session storage session = _sessions[sessionId];
        return (session.owner, session.available, session.held, session.open);
    }

    /// @inheritdoc IDtnAi
    function claimable(address account) external view returns (uint256 tokens, uint256 etherWei) {
        return (_claimableTokens[account], _claimableWei[account]);
    }

    /// @inheritdoc IDtnAi
    function claimRefund(address payable to) external guarded {
        uint256 tokens = _claimableTokens[msg.sender];
        uint256 etherWei = _claimableWei[msg.sender];
        if (tokens == 0 && etherWei == 0) revert DtnAi_NothingToClaim(msg.sender);
        _claimableTokens[msg.sender] = 0;
        _claimableWei[msg.sender] = 0;
        emit RefundClaimed(msg.sender, to, tokens, etherWei);
        bool paid = tokens == 0 || _push(to, tokens, gasleft()) == 0;
        // slither-disable-next-line missing-zero-check: whoever claims says to whom
        if (paid && etherWei > 0) (paid,) = to.call{value: etherWei}("");
        if (!paid) revert DtnAi_PaymentRefused(to, tokens, etherWei);
    }

    // ───────────────────────────────────── what requests ask of it ───────────────────────────────────

    function _requireOwn(uint256 sessionId, address caller) internal view {
        if (_sessions[sessionId].owner != caller) revert DtnAi_SessionNotFound(sessionId, caller);
        _requireOpen(sessionId, caller);
    }

    function _startFromDeposit(address owner) internal returns (uint256) {
        uint256 amount = _collect(owner);
        if (amount == 0) revert DtnAi_NothingDeposited(owner, feeTargetOf(owner));
        return _start(owner, amount);
    }

    function _fund(uint256 sessionId, address payer, uint256 amount) internal {
        if (amount == 0) revert DtnAi_AmountZero();
        Session storage session = _sessions[sessionId];
        _fits(amount + session.available + session.held);
        session.available += amount;
        emit SessionFunded(sessionId, payer, amount);
    }

    function _collect(address owner) internal returns (uint256) {
        address target = feeTargetOf(owner);
        uint256 deposited = IERC20(feeToken).balanceOf(target);
        if (deposited == 0) return 0;
        // A session cannot hold more; what is beyond stays for the next.
        if (deposited > type(uint96).max) deposited = type(uint96).max;
        if (target.code.length == 0) new MockDepositAddress{salt: _salt(owner)}();
        uint256 before = _balance();
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events: the lock is held
        MockDepositAddress(target).collect(feeToken, deposited);
        return _balance() - before;
    }

    function _refund(address owner, uint256 amount) internal {
        uint256 unpaid = amount == 0 ? 0 : _push(owner, amount, 500_000);
        if (unpaid == 0) return;
        _claimableTokens[owner] += unpaid;
        emit RefundClaimable(owner, unpaid, 0);
    }

    function _payEther(address to, uint256 amountWei) internal {
        if (amountWei == 0) return;
        // The lock is held, the books are done.
        // slither-disable-next-line reentrancy-eth,reentrancy-benign,reentrancy-events
        (bool sent,) = to.call{value: amountWei, gas: 30_000}("");
        if (sent) return;
        _claimableWei[to] += amountWei;
        emit RefundClaimable(to, 0, amountWei);
    }

    function _fits(uint256 amount) internal pure returns (uint96) {
        if (amount > type(uint96).max) revert DtnAi_AmountTooLarge(amount, type(uint96).max);
        return uint96(amount);
    }

    // ──────────────────────────────────────────── private ────────────────────────────────────────────

    function _requireOpen(uint256 sessionId, address caller) private view {
        Session storage session = _sessions[sessionId];
        if (session.owner == address(0)) revert DtnAi_SessionNotFound(sessionId, caller);
        if (!session.open) revert DtnAi_SessionAlreadyClosed(sessionId);
    }

    function _start(address owner, uint256 amount) private returns (uint256 sessionId) {
        if (amount == 0) revert DtnAi_AmountZero();
        sessionId = (uint256(uint160(owner)) << 96) | ++_lastNumber;
        Session storage session = _sessions[sessionId];
        (session.owner, session.available, session.serial, session.open) = (owner, _fits(amount), 1, true);
        emit SessionStarted(sessionId, owner, amount);
    }

    /// @dev EIP-3009, with the signature as bytes for contracts, split for accounts.
    // slither-disable-next-line encode-packed-collision: it is how ABI encodes, and the token decodes it
    function _authorize(address owner, bytes calldata terms, bytes calldata signature) private {
        bytes memory head = abi.encodePacked(abi.encode(owner, address(this)), terms);
        if (owner.code.length > 0 || signature.length != 65) {
            bytes memory padding = new bytes((32 - signature.length % 32) % 32);
            bytes memory tail = abi.encodePacked(uint256(7 * 32), signature.length, signature, padding);
            _callToken(abi.encodePacked(AUTHORIZE_BYTES, head, tail));
        } else {
            bytes memory vrs = abi.encode(uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
            _callToken(abi.encodePacked(AUTHORIZE_VRS, head, vrs));
        }
    }

    /// @dev A token's own error is passed on.
    function _callToken(bytes memory data) private {
        // The lock is held; what arrived is what counts.
        // slither-disable-next-line reentrancy-balance,reentrancy-no-eth,reentrancy-benign,reentrancy-events
        (bool done, bytes memory result) = feeToken.call(data);
        if (done) return;
        assembly ("memory-safe") {
            revert(add(result, 32), mload(result))
        }
    }

    function _pull(address from, uint256 amount) private {
        uint256 before = _balance();
        _callToken(abi.encodeCall(IERC20.transferFrom, (from, address(this), amount)));
        if (_balance() - before != amount) revert DtnAi_TransferInexact(amount, _balance() - before);
    }

    /// @dev Whether the token paid shows in the balance; nothing that it says is read.
    function _push(address to, uint256 amount, uint256 gasLimit) private returns (uint256 unpaid) {
        uint256 before = _balance();
        bytes memory data = abi.encodeCall(IERC20.transfer, (to, amount));
        address token = feeToken;
        assembly ("memory-safe") {
            pop(call(gasLimit, token, 0, add(data, 32), mload(data), 0, 0))
        }
        uint256 left = before > _balance() ? before - _balance() : 0;
        if (left > amount) revert DtnAi_TransferInexact(amount, left);
        return amount - left;
    }

    function _balance() private view returns (uint256) {
        return IERC20(feeToken).balanceOf(address(this));
    }

    function _salt(address owner) private pure returns (bytes32) {
        return bytes32(uint256(uint160(owner)));
    }
}

// slither-disable-end incorrect-equality
