"""Writes the parts of the documentation that the code knows best, or checks that they are up to date.

    uv run scripts/generate_docs.py [--check]

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; the rest is written by hand.
"""

from __future__ import annotations

import html
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prepaid.errors import PrepaidError

ROOT: Final = Path(__file__).resolve().parent.parent

_SAMPLES: Final[dict[str, Any]] = {
    "act": "make a key for model gpt-4o",
    "upstream": "openai",
    "failures": 10,
    "after_seconds": 4.2,
    "api": "tools",
    "action": "resume",
    "address": "0x5aAe…eAed",
    "allowed": ("POST",),
    "attempts": 6,
    "available": 400,
    "available_wei": 10**15,
    "block": 21000000,
    "cap": 5000,
    "captured": 250,
    "chat_id": "ses_01abc.2",
    "ended": "revoked",
    "expected": "7d79",
    "found": 7,
    "held": 0,
    "how": "captured",
    "key": "order-17",
    "key_id": "pp_ses_01abc.2",
    "kind": "a session",
    "lease_id": "lease_01abc",
    "limit": 100,
    "limit_name": "max_something",
    "limit_wei": 10**11,
    "content_id": "bafkreibm6j…4yeq",
    "line": 3,
    "minimum": 1000,
    "model": "gpt-4o",
    "name": "metadata",
    "needed": 1200,
    "needed_wei": 2 * 10**15,
    "nonce": 17,
    "offered": 500,
    "coding": "br",
    "path": "/v1/completions",
    "place": "https://rpc.example.com",
    "price": 150000,
    "price_wei": 2 * 10**11,
    "reason": "it is not JSON",
    "request_id": "req_01abc",
    "required": "the operator",
    "seconds": 600,
    "session_id": "ses_01abc",
    "size": 70000,
    "state": "closed",
    "limits": "model offline",
    "supported": ("chat",),
    "tx_hash": "0x9fc7…01ab",
    "what": "…",
    "why": "HTTP status 503",
}
"""Values for the parameters of the errors' constructors, by name."""

_NAMED: Final[dict[str, dict[str, Any]]] = {
    "HoldResolved": {"state": "captured"},
    "PoolEmpty": {"size": 5},
    "StoreMoved": {"place": "app.db", "why": "it was moved to postgresql://db.example/app"},
    "StoreNotEmpty": {"place": "app.db"},
    "StoreTooNew": {"supported": 1},
    "ValueTooLarge": {"limit": 65536},
    "InsufficientFee": {"what": "fee per million tokens"},
    "PoolFull": {"size": 5},
    "SessionLimitReached": {"limit_name": "max_sessions_per_user"},
    "ChatLimitReached": {"limit_name": "max_chats_per_session"},
    "MessageLimitReached": {"limit_name": "max_messages"},
    "ConcurrencyLimitReached": {"limit_name": "requests_per_key_max"},
    "CodingNotSupported": {"allowed": ("gzip", "zstd")},
    "TooManyFailedKeys": {"limit_name": "failed_keys_per_minute", "limit": 60, "after_seconds": 1.0},
    "LeaseCapReached": {"limit_name": "cap"},
    "KeyLimitReached": {"limit_name": "keys_max", "limit": 1000},
    "ModelNotAllowed": {"allowed": ("offline",)},
    "ChainMismatch": {"what": "The chain's id", "expected": "1", "found": "137"},
    "ContractReverted": {"reason": "DtnAi_DeadlinePassed"},
    "VersionConflict": {"what": "The configuration", "found": "5d41"},
}
"""Where a name means something else."""


def table_of_errors() -> Iterator[str]:
    """Every error with its code, whether it may be retried, and its message."""
    yield "| Error | `code` | Retry | Meaning | Message, for example |"
    yield "|---|---|---|---|---|"
    for kind, depth in tree(PrepaidError):
        name = f"{'&ensp;' * depth}`{kind.__name__}`" if depth else f"`{kind.__name__}`"
        meaning = (inspect.getdoc(kind) or "").split("\n")[0].replace("``", "`").replace("|", "\\|")
        meaning = re.sub(r" \(spec [^)]*\)", "", meaning)
        retry = "yes" if kind.retryable else "no"
        yield f"| {name} | `{kind.code}` | {retry} | {meaning} | {example(kind)} |"


def tree(kind: type[PrepaidError], depth: int = 0) -> Iterator[tuple[type[PrepaidError], int]]:
    """The class and all below it, as the drawing in ``errors.py`` has them."""
    yield kind, depth
    for below in kind.__subclasses__():
        yield from tree(below, depth + 1)


def example(kind: type[PrepaidError]) -> str:
    """A message of the error, with sample values; nothing where the raiser writes all of it."""
    wanted = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty
    ]
    named = _NAMED.get(kind.__name__, {})
    message = str(kind(*(named.get(name, _SAMPLES[name]) for name in wanted)))
    return message.replace("|", "\\|") if message != "…" else ""


def help_of_commands() -> Iterator[str]:
    """Every command's help, as Typer writes it for documentation."""
    command = [sys.executable, "-m", "typer", "prepaid.cli.app", "utils", "docs", "--name", "prepaid"]
    done = subprocess.run(  # noqa: S603
        command,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    yield whole_summaries(re.sub(r"^#", "##", html.unescape(done.stdout.strip()), flags=re.MULTILINE))


def whole_summaries(text: str) -> str:
    """Lists of commands with each command's whole first line, which Typer cuts short."""
    summaries = dict(re.findall(r"^#+ `([^`]+)`\n\n(.+)$", text, re.MULTILINE))
    lines, group = [], ""
    for line in text.splitlines():
        if heading := re.match(r"#+ `([^`]+)`", line):
            group = heading[1]
        listed = re.match(r"\* `([\w-]+)`: ", line)
        summary = summaries.get(f"{group} {listed[1]}") if listed else None
        lines.append(f"{listed[0]}{summary}" if listed and summary else line)
    return "\n".join(lines)


PARTS: Final = {
    "errors": ("docs/errors.md", table_of_errors),
    "commands": ("docs/cli.md", help_of_commands),
}


def written(text: str, name: str, content: str) -> str:
    """``text`` with the content of one part replaced."""
    part = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not part.search(text):
        raise SystemExit(f"there is no <!-- generated: {name} --> … <!-- end -->")
    return part.sub(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)


def main() -> int:
    """Write, or with ``--check`` only compare; 1 if something was out of date."""
    stale = []
    for name, (page, generate) in PARTS.items():
        path = ROOT / page
        before = path.read_text(encoding="utf-8")
        after = written(before, name, "\n".join(generate()))
        if after == before:
            continue
        stale.append(page)
        if "--check" not in sys.argv:
            path.write_text(after, encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)}: out of date; run uv run scripts/generate_docs.py")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
