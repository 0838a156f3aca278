"""The AI contract's client: ``AiContract``, and the records that it hands out."""

from __future__ import annotations

from prepaid.chain.ai.answers import Ballot, Seal
from prepaid.chain.ai.client import AiContract
from prepaid.chain.ai.requests import Request, Settled
from prepaid.chain.ai.sessions import Claimable, ClosedSession, SessionBooks

__all__ = [
    "AiContract",
    "Ballot",
    "Claimable",
    "ClosedSession",
    "Request",
    "Seal",
    "SessionBooks",
    "Settled",
]
