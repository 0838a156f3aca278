"""What a local chain says no with: JSON-RPC's errors, in geth's words."""

from __future__ import annotations

from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

__all__ = ["Refused", "reverted"]

_REFUSED: Final = -32_000
_REVERTED: Final = 3
_ERROR: Final = bytes.fromhex("08c379a0")
"""``Error(string)``."""


class Refused(Exception):
    """An error of JSON-RPC; ``data`` is what a contract reverted with."""

    def __init__(self, message: str, code: int = _REFUSED, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    def form(self) -> dict[str, Any]:
        """As an answer has it."""
        told = {"code": self.code, "message": str(self)}
        return told if self.data is None else told | {"data": self.data}


def reverted(output: bytes) -> Refused:
    """A contract's revert, with its reason where that is text, and its data for whoever knows its errors."""
    reason = ""
    if output[:4] == _ERROR:
        try:
            reason = f": {decode(['string'], output[4:])[0]}"
        except (DecodingError, UnicodeDecodeError):
            reason = ""
    return Refused(f"execution reverted{reason}", _REVERTED, f"0x{output.hex()}")
