"""A command that kills its own process at one of its steps, in batches of two rows and two pages."""

from __future__ import annotations

import os
import signal
import sys
import tempfile

import prepaid.store.postgres.place as on_postgres
import prepaid.store.sqlite.place as on_sqlite
from prepaid.cli.app import app
from prepaid.moving import backups

STEPS = ("leave", "receive", "insert", "finish", "advance", "reopen", "seal")
PLACES = (on_sqlite.SqlitePlace, on_postgres.PostgresPlace)


def killed_at(arguments, deadly, counted, folder):
    """``prepaid`` with these arguments, which dies before its nth step (``2 * n - 1``) or right behind it (``2 * n``).

    ``counted`` is how many steps it took. 0 is never reached. What it leaves behind it leaves in ``folder``.
    """
    tempfile.tempdir = folder
    on_postgres.BATCH_ROWS = on_sqlite.BATCH_ROWS = 2
    copied = backups.copy_pages

    def deadly_at_a_step(step):
        def taken(*given):
            counted.value += 1
            before = 2 * counted.value - 1
            if deadly == before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*given)
            if deadly == before + 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return taken

    def copied_in_steps(reader, copy, advance):
        copied(reader, copy, deadly_at_a_step(advance))

    for place in PLACES:
        for name in STEPS:
            if hasattr(place, name):
                setattr(place, name, deadly_at_a_step(getattr(place, name)))
    on_sqlite.copy_pages = backups.copy_pages = copied_in_steps
    backups._named = deadly_at_a_step(backups._named)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 -- until the process ends
    app(arguments)
