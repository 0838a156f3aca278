"""Prompts as requests carry them: lines of text, with typed placeholders that are filled in (spec A16).

``{0:uint8} {1:address}`` in a prompt stand for the ABI-encoded values of ``extra_params``, the first and the
second. Numbers, addresses, text, bytes and lists of these can be filled in. Braces around anything else are
text, and a value is never looked into for placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.address import to_checksum_address

from prepaid.errors import InvalidRequestError, ValueTooLarge

__all__ = ["BYTES_MAX", "PLACEHOLDERS_MAX", "decode_lines", "encode_values", "fill", "read_prompt"]

BYTES_MAX: Final = 32_768
"""Of the prompt, and of the values. Offsets may share their target, so a little can mean a lot."""

PLACEHOLDERS_MAX: Final = 64
_FIXED_LENGTH_MAX: Final = 256
_WIDTH_MAX: Final = 32
_BITS_MAX: Final = 256

_PLACEHOLDER: Final = re.compile(r"\{(\d{1,9}):([a-z][a-z0-9]*(?:\[\d{0,9}\])?)\}")
_KIND: Final = re.compile(r"(address|bool|string|bytes|(?:u?int|bytes)\d{1,3})(?:\[(\d*)\])?")
_REMEDY: Final = "Encode one value for each placeholder, of its type, in order: abi.encode(first, second)."


def read_prompt(call: bytes, extra_params: bytes) -> str:
    """The text that a request asks: its lines, placeholders filled in.

    Raises:
        InvalidRequestError: it is no prompt, or placeholders and values do not match.
    """
    return fill("\n".join(decode_lines(call)), extra_params)


def decode_lines(call: bytes) -> tuple[str, ...]:
    """The lines of a prompt, ``abi.encode(string[])``.

    Raises:
        InvalidRequestError: these bytes are none.
        ValueTooLarge: they are too many.
    """
    if len(call) > BYTES_MAX:
        raise ValueTooLarge("the prompt", len(call), BYTES_MAX)
    try:
        (lines,) = decode(["string[]"], call)
        is_prompt = encode(["string[]"], [lines]) == call  # no offset leads to where another has been
    except (DecodingError, EncodingError, UnicodeError, OverflowError):
        is_prompt = False
    if not is_prompt:
        raise InvalidRequestError(
            f"The {len(call)} bytes of the request are no ABI-encoded lines of text.",
            remedy="Encode the prompt as abi.encode(string[]).",
        )
    return tuple(lines)


def fill(text: str, extra_params: bytes) -> str:
    """``text`` with its placeholders filled from ``extra_params``.

    Raises:
        InvalidRequestError: a type that is none, numbers with gaps, or other values than are asked for.
        ValueTooLarge: more placeholders or values than anybody needs.
    """
    kinds = _kinds(text)
    shown = [_shown(kind, value) for kind, value in zip(kinds, _values(kinds, extra_params), strict=True)]
    return _PLACEHOLDER.sub(lambda found: shown[int(found[1])], text)


def encode_values(kinds: Sequence[str], *values: Any) -> bytes:
    """Values for placeholders of these types, as a contract's ``abi.encode`` writes them.

    Raises:
        InvalidRequestError: a value is not of its type.
    """
    try:
        return encode(list(kinds), values)
    except (EncodingError, ValueError, TypeError):
        raise InvalidRequestError(
            f"{len(values)} values do not fit the types {', '.join(kinds)}.", remedy=_REMEDY
        ) from None


def _kinds(text: str) -> tuple[str, ...]:
    """The types of the placeholders, by their numbers."""
    found: dict[int, str] = {}
    for number, kind in _PLACEHOLDER.findall(text):
        at = int(number)
        _check_kind(at, kind)
        if found.setdefault(at, kind) != kind:
            raise InvalidRequestError(
                f"Placeholder {at} is asked for as {found[at]} and as {kind}.", remedy="Give it one type."
            )
    if len(found) > PLACEHOLDERS_MAX:
        raise ValueTooLarge("the prompt", len(found), PLACEHOLDERS_MAX, "placeholders")
    missing = next((at for at in range(len(found)) if at not in found), None)
    if missing is not None:
        raise InvalidRequestError(
            f"Placeholder {missing} is missing, and {max(found)} is there.", remedy="Count from 0, no gaps."
        )
    return tuple(found[at] for at in range(len(found)))


def _check_kind(at: int, kind: str) -> None:
    """See that a type is one of Solidity's that can stand in a text."""
    matched = _KIND.fullmatch(kind)
    if matched is None or not _is_width(matched[1]) or not _is_length(matched[2]):
        raise InvalidRequestError(
            f"Placeholder {at} has the type {kind[:40]!r}, which cannot be filled in.",
            remedy="Use address, bool, string, bytes, bytesN, uintN, intN, or a list of one of these.",
        )


def _is_width(base: str) -> bool:
    digits = base.lstrip("abcdefghijklmnopqrstuvwxyz")
    if not digits:
        return True
    width = int(digits)
    if base.startswith("bytes"):
        return 1 <= width <= _WIDTH_MAX
    return 8 <= width <= _BITS_MAX and width % 8 == 0  # noqa: PLR2004 -- a byte


def _is_length(length: str | None) -> bool:
    return not length or 1 <= int(length) <= _FIXED_LENGTH_MAX


def _values(kinds: tuple[str, ...], extra_params: bytes) -> tuple[Any, ...]:
    """The values, which must be exactly those that are asked for."""
    if len(extra_params) > BYTES_MAX:
        raise ValueTooLarge("extraParams", len(extra_params), BYTES_MAX)
    try:
        values = decode(kinds, extra_params)
        fits = encode(kinds, values) == extra_params  # else there is more in it than was read
    except (DecodingError, EncodingError, UnicodeError, OverflowError):
        fits = False
    if not fits:
        asked = ", ".join(kinds) or "no values"
        raise InvalidRequestError(
            f"The prompt asks for {asked}; the {len(extra_params)} bytes of extraParams are something else.",
            remedy=_REMEDY,
        )
    return values


def _shown(kind: str, value: Any) -> str:
    """A value as a model reads it."""
    if kind.endswith("]"):
        base = kind.partition("[")[0]
        return f"[{', '.join(_shown(base, each) for each in value)}]"
    if kind == "address":
        return str(to_checksum_address(value))
    if kind == "bool":
        return "true" if value else "false"
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
