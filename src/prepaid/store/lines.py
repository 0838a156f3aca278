"""The hash chain of a session's statement, in the one place that writers and verifiers share.

    digest(n) = SHA-256( digest(n-1) || n as 8 bytes, big-endian || payload(n) )

digest(0) is SHA-256 of the session id, its owner and its asset, so that no line fits another session,
owner or currency. The payload is the line's fields as text, joined by line feeds; none of them can
contain one (keys are printable ASCII, the rest is checked where it enters). Source: spec D4.
"""

from __future__ import annotations

from hashlib import sha256

from prepaid.records import Transfer

__all__ = ["first_digest", "line_digest", "payload", "payload_of"]


def first_digest(session_id: str, owner: str, asset: str) -> bytes:
    """The digest that a session's first line is chained to."""
    return sha256(f"{session_id}\n{owner}\n{asset}".encode()).digest()


def line_digest(previous: bytes, seq: int, payload: str) -> bytes:
    """The 32-byte digest of line ``seq`` (from 1) after a line with digest ``previous``."""
    return sha256(previous + seq.to_bytes(8, "big") + payload.encode()).digest()


def payload(
    kind: str,
    debit: str,
    credit: str,
    amount: int,
    key: str,
    at_ms: int,
    actor: str,
    chat_no: int,
    model: str,
    input_units: int,
    output_units: int,
) -> str:
    """A line's fields as the digest sees them."""
    return (
        f"{kind}\n{debit}\n{credit}\n{amount}\n{key}\n{at_ms}\n"
        f"{actor}\n{chat_no}\n{model}\n{input_units}\n{output_units}"
    )


def payload_of(line: Transfer) -> str:
    """The payload of a stored line."""
    return payload(
        line.kind,
        line.debit,
        line.credit,
        line.amount,
        line.key,
        line.at_ms,
        line.actor,
        line.chat_no,
        line.model,
        line.input_units,
        line.output_units,
    )
