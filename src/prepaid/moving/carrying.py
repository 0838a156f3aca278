"""All rows from one database into another, and whether they are the same on both sides.

Rows go in the order of their keys, each batch in one transaction. So the last key on the other side says
where to go on after a crash, and nothing else has to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from prepaid.audit import AuditReport
from prepaid.errors import StoreCorrupted
from prepaid.moving.places import Watch, check
from prepaid.store.tables import TABLES, Place

__all__ = [
    "CARRIED",
    "Carried",
    "Content",
    "carry",
    "content_of",
    "digest_of",
    "refuse_contradictions",
    "refuse_difference",
    "refuse_unkept",
]

CARRIED: Final = tuple(table for table in TABLES if not table.is_derived)


@dataclass(frozen=True, slots=True)
class Content:
    """How many rows a table has, and the SHA-256 of all of them in the order of their keys."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Carried:
    """What is the same on both sides now."""

    rows: int
    accounts: int
    lines: int
    digest: str
    """of all rows, on either side"""


def carry(source: Place, target: Place, move_id: str, watch: Watch) -> Carried:
    """Carry what is not there yet, and compare all of it; the target must have been told to ``receive``.

    Raises:
        StoreCorrupted: the two sides differ, or the target contradicts itself.
        StoreMoved, StoreBusy: somebody else works at the target.
    """
    with source.snapshot():
        total = sum(source.count(table) for table in CARRIED)
        with watch("Copying", total) as advance:
            for table in CARRIED:
                after = target.last_key(table)
                if after is not None:
                    advance(target.count(table))
                for rows in source.rows(table, after):
                    target.insert(move_id, table, rows)
                    advance(len(rows))
        target.finish()
        here = content_of(source, watch)
    with target.snapshot():
        there = content_of(target, watch)
    refuse_difference(source, here, target, there)
    report = refuse_contradictions(target, watch)
    return Carried(total, report.accounts, report.lines, digest_of(here))


def refuse_unkept(source: Place, target: Place, watch: Watch) -> None:
    """Nothing, if the target's kind of database can keep all that is in the source.

    Raises:
        StoreCorrupted: it cannot.
    """
    refuse = target.refuse_unkept
    if refuse is None:
        return
    with source.snapshot():
        total = sum(source.count(table) for table in CARRIED)
        with watch(f"Reading {source.name}", total) as advance:
            for table in CARRIED:
                for rows in source.rows(table, None):
                    refuse(table, rows)
                    advance(len(rows))


def content_of(place: Place, watch: Watch) -> dict[str, Content]:
    """Each table's content; inside a ``snapshot``."""
    found = {}
    total = sum(place.count(table) for table in TABLES)
    with watch(f"Comparing {place.name}", total) as advance:
        for table in TABLES:
            digest, count = sha256(), 0
            for rows in place.rows(table, None):
                digest.update("".join(map(repr, rows)).encode())
                count += len(rows)
                advance(len(rows))
            found[table.name] = Content(count, digest.hexdigest())
    return found


def digest_of(content: dict[str, Content]) -> str:
    """One digest of a whole database's content."""
    return sha256("".join(content[name].digest for name in sorted(content)).encode()).hexdigest()


def refuse_difference(
    source: Place, here: dict[str, Content], target: Place, there: dict[str, Content]
) -> None:
    """Nothing, if both sides have the same.

    Raises:
        StoreCorrupted: they differ.
    """
    for name, content in here.items():
        if there[name] != content:
            raise StoreCorrupted(
                f"The table {name} is not the same: {content.rows} rows in {source.name},"
                f" {there[name].rows} in {target.name}.",
                remedy="Nothing was opened for use. Begin anew with an empty target.",
            )


def refuse_contradictions(place: Place, watch: Watch) -> AuditReport:
    """The report of a database that is sound.

    Raises:
        StoreCorrupted: it is not.
    """
    report = check(place, watch)
    if not report.is_clean:
        raise StoreCorrupted(
            f"The database {place.name} contradicts itself in {len(report.findings)} places,"
            f" first: {report.findings[0]}.",
            remedy="See all of them: prepaid check.",
        )
    return report
