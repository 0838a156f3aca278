"""A move that kills its own process at one of its steps, in batches of two rows."""

from __future__ import annotations

import os
import signal

import prepaid.store.postgres.place as on_postgres
import prepaid.store.sqlite.place as on_sqlite
from prepaid.moving import migrating

from .worlds import place

STEPS = ("leave", "receive", "insert", "finish", "advance")


def killed_at(left, reached, deadly):
    """Move, and die: before a step of an odd number, right behind one of an even number."""
    on_postgres.BATCH_ROWS = on_sqlite.BATCH_ROWS = 2
    done = 0

    def deadly_at_a_step(step):
        def taken(*arguments):
            nonlocal done
            done += 1
            if done == deadly and deadly % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*arguments)
            if done == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return taken

    source, target = place(left), place(reached)
    for each in (source, target):
        for name in STEPS:
            setattr(each, name, deadly_at_a_step(getattr(each, name)))
    migrating.migrate(source, target)
