"""One portion of a night: ``python -m nightly.portions KIND SEED`` says what it has done, or how it went wrong.

PREPAID_NIGHTLY_PORTION makes all of them smaller: 0.05 for a twentieth.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from test_ledger_machine import LanedLedgers, Ledgers, PostgresLedgers
from test_processes_killed import PROCESSES, kill_and_look
from test_session_machine import SessionMachine

from faults.test_ledger_power_cut import examined, sync_level, watched
from matrix.cells import all_cells
from matrix.playing import played
from postgres.test_server_dies import KILLED, die_and_return
from postgres_server import QUICK, Databases, OwnServer
from prepaid.errors import StoreError

SIZE = float(os.environ.get("PREPAID_NIGHTLY_PORTION", "1"))
KEPT = Path(os.environ.get("PREPAID_NIGHTLY_KEPT", Path(tempfile.gettempdir()) / "prepaid-nightly"))
STEPS = 50
MATRIX_PORTIONS = 10


def scaled(number):
    return max(round(number * SIZE), 1)


@contextmanager
def databases(**server):
    running = OwnServer(**server)
    try:
        yield running, Databases(running.url)
    finally:
        running.stop()


def run_machine(machine, number, examples):
    class Counted(machine):
        made = 0

        @invariant()
        def one_more(self):
            Counted.made += 1

        def teardown(self):
            Counted.made -= 1  # it is looked at before its first step, too
            super().teardown()

    run_state_machine_as_test(
        seed(number)(Counted),
        settings=settings(
            max_examples=scaled(examples),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return {"steps": Counted.made}


def ledger(number):
    return run_machine(Ledgers, number, 200)


def ledger_postgres(number, machine=PostgresLedgers):
    with databases(**QUICK) as (_, machine.databases):
        return run_machine(machine, number, 50)


def ledger_lanes(number):
    return ledger_postgres(number, LanedLedgers)


def sessions(number):
    return run_machine(SessionMachine, number, 60)


def images(number):
    """What each image lacks or does not recover to. One that is broken is kept as it was."""
    cuts = watched(number, moments=scaled(120), count=20)
    made = 0
    with tempfile.TemporaryDirectory() as folder:
        for acknowledged, moment in cuts.moments:
            for draw in range(4):
                image = moment.image(Path(folder), draw)
                try:
                    wrong = asyncio.run(examined(image.path("x.db"), cuts, acknowledged, retries=True))
                except StoreError as error:
                    wrong = [repr(error)]
                if wrong:
                    kept = KEPT / f"{number}-{image.number}-{draw}"
                    image = moment.image(kept, draw)
                    journal = [
                        f"{work} -> {answer}" for work, answer in cuts.journal.acknowledged[:acknowledged]
                    ]
                    (kept / "acknowledged.txt").write_text("\n".join(journal))
                    raise AssertionError(f"{image} in {kept}: {wrong}")
                made += 1
    return {"images": made}


def lying_disk(number):
    """A ledger that syncs too little: fails, or the silence of ``images`` would mean nothing."""
    with pytest.MonkeyPatch.context() as patched, sync_level("off", patched):
        return images(number)


def kills(number):
    rounds = scaled(10)
    KEPT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"kills-{number}-", dir=KEPT))
    names = count()
    kill_and_look(lambda: folder / f"{next(names)}.db", rounds, number)
    for file in folder.iterdir():  # nothing was found in them
        file.unlink()
    folder.rmdir()
    return {"kills": rounds * PROCESSES}


def kills_postgres(number):
    rounds = scaled(10)
    with databases(**QUICK) as (_, made):
        kill_and_look(made.new, rounds, number)
    return {"kills": rounds * PROCESSES}


def kills_server(number):
    rounds, times = scaled(3), 3
    with databases(**KILLED) as (server, made):
        for each in range(rounds):
            asyncio.run(die_and_return(server, made, times, 1_000 * number + each))
    return {"kills": rounds * times}


def matrix(number):
    """A tenth of all cells: ten seeds in a row have all of them."""
    cells = list(all_cells())[number % MATRIX_PORTIONS :: MATRIX_PORTIONS]
    with tempfile.TemporaryDirectory(prefix="prepaid-matrix-") as folder:
        results = asyncio.run(played(cells[: scaled(len(cells))], Path(folder)))
    bad = [result for result in results if result.broken]
    assert not bad, "\n".join(map(str, bad))
    return {"cells": len(results)}


KINDS = {
    "ledger": ledger,
    "ledger-postgres": ledger_postgres,
    "ledger-lanes": ledger_lanes,
    "sessions": sessions,
    "images": images,
    "kills": kills,
    "kills-postgres": kills_postgres,
    "kills-server": kills_server,
    "matrix": matrix,
    "lying-disk": lying_disk,
}


def main():
    _, kind, number = sys.argv
    sys.stdout.write(f"{json.dumps(KINDS[kind](int(number)))}\n")


if __name__ == "__main__":
    main()
