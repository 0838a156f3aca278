"""The documentation as a test sees it: pages, their blocks, their tables, their links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GENERATED = re.compile(r"^<!-- generated: .*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is where its content begins, ``output`` the block of text right behind it."""

    page: str
    line: int
    language: str
    content: str
    output: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def named(page):
    return page.relative_to(ROOT).as_posix()


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page, *languages):
    """The page's blocks in these languages, in order."""
    text = written(page)
    found = list(_FENCE.finditer(text))
    for match, behind in zip_longest(found, found[1:]):
        if match[1] not in languages:
            continue
        follows = (
            behind is not None and behind[1] == "text" and not text[match.end() : behind.start()].strip()
        )
        line = text.count("\n", 0, match.start(2)) + 1
        yield Block(named(page), line, match[1], match[2], behind[2] if follows else None)


def written(page):
    """The page without what is generated; every line keeps its number."""
    text = page.read_text(encoding="utf-8")
    return _GENERATED.sub(lambda match: "\n" * match[0].count("\n"), text)


def links(page):
    """Where the page's links lead, outside of its blocks."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page):
    """The page's headings, as GitHub names them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def rows(text, heading):
    """The cells of the first table after a heading, without its head."""
    after = text.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"^\|.*?(?=\n\n|\Z)", after, re.MULTILINE | re.DOTALL)
    assert table is not None, f"no table after {heading!r}"
    lines = table[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def is_output(wanted, found):
    """Whether a program said what the page shows; ``…`` stands for anything within a line."""
    pattern = ".*".join(re.escape(part) for part in shown(wanted).split("…"))
    return re.fullmatch(pattern, shown(found)) is not None


def shown(text):
    """Output as a page shows it: without empty lines and blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
