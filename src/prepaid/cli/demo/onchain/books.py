"""The chain's books, read from the chain: events of the contract, balances of the token, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prepaid.chain.ai import AiContract
from prepaid.chain.terms import Terms
from prepaid.chain.values import ResponseStatus

__all__ = ["Books", "Line", "read_books"]


@dataclass(slots=True)
class Line:
    """One session, in base units."""

    deposited: int = 0
    paid: int = 0
    refunded: int = 0
    held: int = 0

    @property
    def is_even(self) -> bool:
        """What came in went out, or is there."""
        return self.deposited == self.paid + self.refunded + self.held


@dataclass(slots=True)
class Books:
    """What happened on one AI contract. ``withdrawn`` is what its nodes took out of what they earned."""

    lines: dict[int, Line] = field(default_factory=dict)
    withdrawn: int = 0
    in_contract: int = 0
    answers: int = 0
    timeouts: int = 0

    def total(self) -> Line:
        """All sessions together."""
        return Line(
            *(
                sum(getattr(line, name) for line in self.lines.values())
                for name in ("deposited", "paid", "refunded", "held")
            )
        )


async def read_books(ai: AiContract) -> Books:
    """Everything since the first block."""
    books = Books(in_contract=await ai.token.balance_of(ai.address))
    for told in await _told(ai, "SessionStarted"):
        books.lines[told["sessionId"]] = Line(deposited=told["amount"])
    for told in await _told(ai, "SessionFunded"):
        books.lines[told["sessionId"]].deposited += told["amount"]
    for told in await _told(ai, "SessionClosed"):
        books.lines[told["sessionId"]].refunded += told["refund"]
    payers = {
        told["requestId"]: Terms.read(told["terms"]).session_id for told in await _told(ai, "RequestMade")
    }
    for told in await _told(ai, "ResponseDelivered"):
        books.lines[payers[told["requestId"]]].paid += told["cost"]
        books.answers += told["status"] == ResponseStatus.SUCCESS
    books.timeouts = len(await _told(ai, "RequestExpired"))
    books.withdrawn = sum(told["amount"] for told in await _told(ai, "EarningsWithdrawn"))
    for session_id, line in books.lines.items():
        session = await ai.session_of(session_id)
        line.held = session.available + session.held
    return books


async def _told(ai: AiContract, event: str) -> list[dict[str, Any]]:
    query: Any = {"address": ai.address, "topics": [ai.contract.topic(event)], "fromBlock": 0}
    return [ai.contract.decode(event, log) for log in await ai.contract.chain.w3.eth.get_logs(query)]
