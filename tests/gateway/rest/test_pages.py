"""The pages on security and REST say what is so: the table of who may do what, and tests that are there."""

from __future__ import annotations

import re

import pytest

from pages import ROOT, read, rows

from .test_access import ALLOWED

KINDS = ("operator", "user", "session")
PROTECTED = rows(read("docs/security.md"), "## What is protected")
OUTAGES = rows(read("docs/security.md"), "## When the database is away")


def test_who_may_do_what_is_what_is_tested():
    told = {
        tuple(operation.strip("`").split(" ")): tuple(
            kind for kind, may in zip(KINDS, mays, strict=True) if may != "–"
        )
        for operation, *mays in rows(read("docs/security.md"), "## Who may do what over REST")
    }
    assert told == ALLOWED


@pytest.mark.parametrize("row", [*PROTECTED, *OUTAGES], ids=lambda row: f"{row[0]}, {row[1]}")
def test_what_is_protected_is_proved(row):
    file, name = re.fullmatch(r"`(tests/[\w/]+\.py)::(\w+)`", row[3]).groups()
    assert re.search(rf"\b(?:def|class) {name}\b", (ROOT / file).read_text("utf-8"))


def test_there_is_something_to_prove():
    assert len(PROTECTED) > 20
    assert len(OUTAGES) > 10
