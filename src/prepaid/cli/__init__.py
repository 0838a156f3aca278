"""The command line: ``prepaid``. Commands import what they need when they run, so ``--help`` is fast."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """The console script. Ends quietly when whoever reads our output has gone.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """
    from prepaid.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    try:
        try:
            app(prog_name="prepaid")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # the database's are ours; this is a full disk behind our output, or no /tmp
        sys.stderr.write(f"✗ {error}.\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
