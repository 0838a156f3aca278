// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Signed
/// @notice What nodes sign (EIP-712), and whether somebody signed it: an account, or a contract by ERC-1271.
/// @dev The domain is name "DtnAi", version "1", the chain and this contract. OpenZeppelin's `EIP712` says the same with
/// 700 bytes more of code, which the contract does not have.
abstract contract Signed {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    // slither-disable-next-line function-init-state: it reads nothing that a constructor sets
    bytes32 private immutable DOMAIN = _domain();
    uint256 private immutable CHAIN_ID = block.chainid;

    function _digestOf(bytes32 structHash) internal view returns (bytes32) {
        // After a fork of the chain, what was signed for one must not count on the other.
        bytes32 domain = block.chainid == CHAIN_ID ? DOMAIN : _domain();
        return MessageHashUtils.toTypedDataHash(domain, structHash);
    }

    function _isSignedBy(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        // An account's signature is tried first: asking whether the signer is a contract costs as much as recovering.
        // slither-disable-next-line unused-return: the third says more of an error that nobody reads
        (address recovered, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (err == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature);
    }

    function _domain() private view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("DtnAi"), keccak256("1"), block.chainid, address(this)));
    }
}
