"""An audit of a whole database: the books must say one thing (guarantees 1 to 5).

Checks what must hold between the rows, not how they came about; it changes nothing. A clean report
and the survival of every acknowledged operation (guarantee 6) are what the fault tests ask for.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from prepaid.records import Account, Transfer
from prepaid.store.lines import first_digest, line_digest, payload_of
from prepaid.store.queries.reads import Reads

__all__ = ["AuditReport", "Finding", "audit"]

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: ``subject`` (an account, hold, chat …) breaks ``rule``."""

    rule: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.what} [{self.rule}]"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit looked at, and all that it found wrong."""

    accounts: int
    lines: int
    findings: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        """Nothing is wrong."""
        return not self.findings

    def __str__(self) -> str:
        looked_at = f"{self.accounts} accounts and {self.lines} lines"
        if self.is_clean:
            return f"{looked_at}: all of it adds up."
        return "\n".join([f"{looked_at}: {len(self.findings)} contradictions.", *map(str, self.findings)])


def audit(reads: Reads) -> AuditReport:
    """Check every rule over the whole database, as of one moment.

    Raises:
        StoreCorrupted: the file is too damaged to be read.
    """
    with reads.snapshot():
        findings = [Finding("the file is sound", "database", damage) for damage in reads.damage()]
        findings += [
            Finding(rule, subject, f"says {said}, but it is {counted}")
            for rule, subject, said, counted in reads.contradictions()
        ]
        accounts = lines = 0
        for account in _accounts(reads):
            transfers = reads.transfers(account.session_id)
            findings += _chain_findings(account, transfers)
            findings += _sum_findings(account, transfers)
            accounts += 1
            lines += len(transfers)
    return AuditReport(accounts, lines, tuple(findings))


def _accounts(reads: Reads) -> Generator[Account]:
    after = ""
    while page := reads.accounts(after, _PAGE):
        yield from page
        after = page[-1].session_id


def _chain_findings(account: Account, lines: list[Transfer]) -> Generator[Finding]:
    """Every line's digest, and that nothing is missing at the end."""
    rule = "lines are chained by hash"
    head = first_digest(account.session_id, account.owner, account.asset)
    for seq, line in enumerate(lines, start=1):
        head = line_digest(head, seq, payload_of(line))
        if line.seq != seq or line.digest != head:
            yield Finding(rule, account.session_id, f"line {seq} is not what was written")
            return
    if len(lines) != account.line_count or head != account.head:
        yield Finding(rule, account.session_id, f"{len(lines)} of {account.line_count} lines are here")


def _sum_findings(account: Account, lines: list[Transfer]) -> Generator[Finding]:
    """Guarantee 1 (each line debits what it credits) and the balance that follows from the lines."""
    own = ("session", "deposit")
    came = sum(line.amount for line in lines if line.kind == "fund" and line.credit in own)
    spent = sum(line.amount for line in lines if line.kind == "capture" and line.credit == "revenue")
    left = sum(line.amount for line in lines if line.kind in ("refund", "withdraw") and line.debit in own)
    for name, said, counted in (
        ("funded", account.funded, came),
        ("spent", account.spent, spent),
        ("refunded", account.refunded, left),
        ("available + held", account.available + account.held, came - spent - left),
    ):
        if said != counted:
            yield Finding(
                "an account is the sum of its lines (guarantee 1)",
                account.session_id,
                f"{name} says {said}, its lines {counted}",
            )
