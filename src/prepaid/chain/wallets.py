"""Wallets: who signs. Keys come from a keystore file or the environment, never from a command line.

A key is held in one place here, and no ``repr``, log line or error of ours shows it. Whoever keeps keys
elsewhere implements ``Wallet``, or runs a signer that ``ExternalSigner`` asks.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount

from prepaid.chain.signing import signed
from prepaid.errors import WalletUnusable
from prepaid.files import private

__all__ = [
    "KEY_VARIABLE",
    "PASSWORD_VARIABLE",
    "KeyWallet",
    "Password",
    "Wallet",
    "password_from_environment",
    "password_from_file",
    "password_from_prompt",
]

KEY_VARIABLE: Final = "PREPAID_CHAIN_KEY"
PASSWORD_VARIABLE: Final = "PREPAID_KEYSTORE_PASSWORD"  # noqa: S105 -- the variable's name
_KEYSTORE_BYTES_MAX: Final = 16_384
_KEY_BYTES: Final = 32
_QUICK_SCRYPT: Final = 4_096

Password = Callable[[], str]
"""Called once, when the keystore is opened, so that a password is never kept."""


class Wallet(Protocol):
    """An account that signs. The chain's transactions come as web3 has them, typed data as EIP-712 has it."""

    @property
    def address(self) -> str:
        """The account, with its checksum."""

    async def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The signed transaction, ready to be sent.

        Raises:
            WalletUnusable: it cannot, or will not.
        """

    async def sign_typed_data(self, typed: Mapping[str, Any]) -> bytes:
        """The signature of a whole EIP-712 message (types, primaryType, domain, message): r, s, v, 65 bytes.

        Raises:
            WalletUnusable: it cannot, or will not.
        """


class KeyWallet:
    """A wallet whose key is in this process."""

    __slots__ = ("_account",)

    def __init__(self, key: bytes) -> None:
        try:
            self._account: LocalAccount = Account.from_key(key)
        except Exception:  # noqa: BLE001 -- whatever it says may quote the key
            raise WalletUnusable("This is no private key.") from None

    @classmethod
    async def from_keystore(cls, path: Path, password: Password) -> KeyWallet:
        """The key in an encrypted JSON keystore (Web3 Secret Storage), as geth, Foundry and others write it.

        Deciphering takes about a second, in a thread.

        Raises:
            WalletUnusable: there is no such file, it is none, or the password is another.
        """
        return await asyncio.to_thread(cls._deciphered, path, password)

    @classmethod
    def from_environment(cls, variable: str = KEY_VARIABLE) -> KeyWallet:
        """The key in an environment variable, in hexadecimal.

        Raises:
            WalletUnusable: it is not set, or no key.
        """
        text = os.environ.get(variable, "").strip().removeprefix("0x")
        if not text:
            raise WalletUnusable(
                f"The environment has no {variable}.",
                remedy=f"Set {variable} to the private key, or use a keystore file.",
            )
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise WalletUnusable(
                f"{variable} is no private key: it must be {_KEY_BYTES} bytes in hexadecimal."
            )
        return cls(key)

    @classmethod
    def create(cls) -> KeyWallet:
        """A wallet with a new key; ``to_keystore`` keeps it."""
        return cls(bytes(Account.create().key))

    def to_keystore(self, path: Path, password: Password, *, is_for_tests: bool = False) -> None:
        """Write the key to a new keystore file that only this user can read.

        ``is_for_tests`` makes one that is opened at once, and guessed as quickly.

        Raises:
            FileExistsError: there is one already; a key is never overwritten.
        """
        with open(path, "x", encoding="utf-8", opener=private) as file:
            json.dump(
                self._account.encrypt(password(), iterations=_QUICK_SCRYPT if is_for_tests else None), file
            )

    def to_environment(self, path: Path, variable: str = KEY_VARIABLE) -> None:
        """Add the key to a file of variables, which this makes readable by this user only."""
        with open(path, "a", encoding="utf-8", opener=private) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(f"{variable}=0x{bytes(self._account.key).hex()}\n")

    @property
    def address(self) -> str:
        """The account, with its checksum."""
        return str(self._account.address)

    async def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The signed transaction, ready to be sent."""
        return signed(self._account, transaction)

    async def sign_typed_data(self, typed: Mapping[str, Any]) -> bytes:
        """The signature of an EIP-712 message."""
        return bytes(self._account.sign_typed_data(full_message=dict(typed)).signature)

    def __repr__(self) -> str:
        return f"<KeyWallet {self.address}>"

    def __reduce__(self) -> str:
        raise TypeError("a wallet with a key in it is not copied elsewhere")

    @classmethod
    def _deciphered(cls, path: Path, password: Password) -> KeyWallet:
        try:
            with path.open("rb") as file:
                content = file.read(_KEYSTORE_BYTES_MAX)
        except OSError as error:
            raise WalletUnusable(f"The keystore {path} cannot be read: {error.strerror}.") from None
        try:
            return cls(bytes(Account.decrypt(content.decode(), password())))
        except WalletUnusable:
            raise
        except Exception as error:  # noqa: BLE001 -- by what is wrong, a keystore fails in many ways
            why = (
                "the password is another"
                if "MAC" in str(error)
                else "it is no keystore that can be deciphered"
            )
            raise WalletUnusable(f"The keystore {path} cannot be opened: {why}.") from None


def password_from_environment(variable: str = PASSWORD_VARIABLE) -> Password:
    """The password in an environment variable."""

    def read() -> str:
        if variable not in os.environ:
            raise WalletUnusable(f"The environment has no {variable}, which has the keystore's password.")
        return os.environ[variable]

    return read


def password_from_file(path: Path) -> Password:
    """The password in the first line of a file."""

    def read() -> str:
        try:
            return path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError):
            raise WalletUnusable(f"The password file {path} cannot be read.") from None

    return read


def password_from_prompt(text: str = "Password of the keystore: ") -> Password:
    """The password as typed at the terminal, unseen."""
    return lambda: getpass.getpass(text)
