"""What sessions, chats, the pool and the ledger must do together, in plain Python: no database, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from prepaid.models.offline import count_tokens

OUTPUT_TOKENS = 40
CONTEXT_MESSAGES = 6


@dataclass
class Lease:
    handle: object
    taker: str
    cap: int | None
    expires_ms: int
    spent: int = 0
    is_over: bool = False


@dataclass
class Chat:
    taker: str | None = None
    texts: list[str] = field(default_factory=list)


@dataclass
class Book:
    """One session as it must be."""

    owner: str
    funded: int
    available: int
    expires_ms: int | None
    state: str = "active"
    spent: int = 0
    refunded: int = 0
    requests: int = 0
    chats: list[Chat] = field(default_factory=list)
    is_pooled: bool = False
    cap: int | None = None
    leases: list[Lease] = field(default_factory=list)

    def state_at(self, now):
        is_live = self.state in ("active", "paused")
        return "due" if is_live and self.expires_ms is not None and self.expires_ms <= now else self.state

    def refusal(self, now):
        """Why nothing at all can be changed, if so."""
        return {"closed": "SessionAlreadyClosed", "expired": "SessionExpired", "due": "SessionExpired"}.get(
            self.state_at(now)
        )

    def refusal_to_spend(self, now):
        return self.refusal(now) or ("SessionPaused" if self.state == "paused" else None)

    def end(self, state):
        self.state = state
        self.refunded += self.available
        self.available = 0
        self.is_pooled = False
        for lease in self.leases:
            lease.is_over = True

    def lease(self):
        return next((each for each in self.leases if not each.is_over), None)


def input_tokens(chat, question):
    """What the model gets to read, in tokens."""
    return sum(count_tokens(text) for text in (*chat.texts[-CONTEXT_MESSAGES:], question))


def affordable(chat, question, wanted, balance):
    """How many tokens of ``wanted`` are answered with this balance; ``None`` where not even one is."""
    asked = input_tokens(chat, question)
    if balance < asked + 2:
        return None
    return min(wanted, OUTPUT_TOKENS, (balance - asked) // 2)


def counted(number):
    return " ".join(str(n) for n in range(1, number + 1))
