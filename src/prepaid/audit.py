"""An audit of a whole database: the books must say one thing (guarantees 1 to 6, as far as rows show them).

Checks what must hold between the rows, not how they came about; it changes nothing. Of guarantee 6 it sees
what is missing in the middle: of chains of lines, of counted messages, of the file's pages. What is lost from
everywhere at once only those can tell who were answered, as the fault tests do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

from prepaid.records import Account, Transfer
from prepaid.store.lines import first_digest, line_digest, payload_of
from prepaid.store.queries.reads import Reads
from prepaid.store.refusals import refusal_of

__all__ = ["AuditReport", "Finding", "audit", "audit_steps"]

_PAGE: Final = 1_000
_GUARANTEE: Final = re.compile(r"\(guarantee ([1-6])\)")
_SESSION: Final = re.compile(r"(ses_[0-9a-z]+|deposit:.+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: ``subject`` (an account, hold, chat …) breaks ``rule``."""

    rule: str
    subject: str
    what: str

    @property
    def guarantee(self) -> int | None:
        """The number of the guarantee (docs/ledger.md) that is broken, where the rule belongs to one."""
        found = _GUARANTEE.search(self.rule)
        return int(found[1]) if found else None

    @property
    def session_id(self) -> str | None:
        """The account that it is about, where it is about one."""
        found = _SESSION.match(self.subject)
        return found[0] if found else None

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


def audit_steps(reads: Reads) -> int:
    """How often ``audit`` will call ``advance``, as of now."""
    return reads.rule_count + reads.account_count()


def audit(reads: Reads, advance: Callable[[int], None] = lambda _: None) -> AuditReport:
    """Check every rule over the whole database, as of one moment; ``advance`` is told of each step.

    Raises:
        StoreCorrupted: the file is too damaged to be read.
    """
    with reads.snapshot():
        findings = [Finding("the file is sound (guarantee 6)", "database", said) for said in reads.damage()]
        for contradictions in reads.contradictions():
            findings += [
                Finding(rule, subject, f"says {said}, but it is {counted}")
                for rule, subject, said, counted in contradictions
            ]
            advance(1)
        findings += _answer_findings(reads)
        accounts = lines = 0
        for account in _accounts(reads):
            transfers = reads.transfers(account.session_id)
            findings += _chain_findings(account, transfers)
            findings += _sum_findings(account, transfers)
            accounts += 1
            lines += len(transfers)
            advance(1)
    return AuditReport(accounts, lines, tuple(findings))


def _answer_findings(reads: Reads) -> Generator[Finding]:
    """Guarantee 5: whoever comes again with a key can be told what was said the first time."""
    after = ("", "")
    while page := reads.answers(after, _PAGE):
        for session_id, key, kind, status, response in page:
            try:
                if status == "refused":
                    refusal_of(response)
                elif kind != "hold":  # whatever the request's answer is, it is its asker's to read
                    json.loads(response)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                yield Finding(
                    "what was answered under a key can be said again (guarantee 5)",
                    f"{session_id} {key}",
                    f"the answer cannot be read ({type(error).__name__})",
                )
        after = page[-1][:2]


def _accounts(reads: Reads) -> Generator[Account]:
    after = ""
    while page := reads.accounts(after, _PAGE):
        yield from page
        after = page[-1].session_id


def _chain_findings(account: Account, lines: list[Transfer]) -> Generator[Finding]:
    """Every line's digest, and that nothing is missing at the end."""
    rule = "lines are chained by hash (guarantee 6)"
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
