"""Why a node does not take a transaction, by geth's words, which others follow: there are no common codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from web3.exceptions import Web3RPCError

__all__ = ["is_cheap", "is_known", "is_poor", "is_taken", "is_underpriced", "message_of"]

_REPLACEMENT: Final = "replacement transaction underpriced"
_KNOWN: Final = ("already known", "already imported", "known transaction", "already exists")
_TAKEN: Final = ("nonce too low", _REPLACEMENT, "nonce has already been used", "invalid nonce")
_POOR: Final = ("insufficient funds", "insufficient balance")
_CHEAP: Final = ("less than block base fee", "fee cap less than", "max fee per gas")


def is_known(error: Web3RPCError) -> bool:
    """It has it already."""
    return _says(error, _KNOWN)


def is_taken(error: Web3RPCError) -> bool:
    """Another transaction has the number."""
    return _says(error, _TAKEN)


def is_underpriced(error: Web3RPCError) -> bool:
    """Another one has it that waits, and is replaced by what pays more only."""
    return _says(error, (_REPLACEMENT,))


def is_poor(error: Web3RPCError) -> bool:
    """The wallet cannot pay for it."""
    return _says(error, _POOR)


def is_cheap(error: Web3RPCError) -> bool:
    """It offers less than the chain asks."""
    return _says(error, _CHEAP)


def message_of(error: Web3RPCError) -> str:
    """What the node said."""
    response = error.rpc_response or {}
    said: Any = response.get("error") or {}
    return str(said.get("message", error) if isinstance(said, Mapping) else said)[:300]


def _says(error: Web3RPCError, words: tuple[str, ...]) -> bool:
    message = message_of(error).lower()
    return any(each in message for each in words)
