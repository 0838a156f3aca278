"""The night in its short form: everything in it runs, counts what it did, and can fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from pages import ROOT


def nightly(folder, *arguments, portion=0.02, **settings):
    named = {f"PREPAID_NIGHTLY_{name}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "scripts/nightly.py", *arguments],
        cwd=ROOT,
        env=os.environ
        | named
        | {"PREPAID_NIGHTLY_KEPT": str(folder), "PREPAID_NIGHTLY_PORTION": str(portion)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1_200,
    )


def test_a_short_night(tmp_path):
    done = nightly(tmp_path, STEPS=100, IMAGES=8, KILLS=3, CELLS=5, SEED=7, JOBS=1)
    assert done.returncode == 0, done.stdout + done.stderr
    made = re.findall(r"(\d+) (?:steps|images|kills|cells)", done.stdout.splitlines()[-1])
    steps, images, kills, cells = map(int, made)
    assert steps >= 100
    assert images >= 8
    assert kills >= 3
    assert cells >= 5
    assert "seeds from 7, 1 at once" in done.stdout
    for kind in ("ledger", "ledger-postgres", "ledger-lanes", "sessions", "kills-postgres", "kills-server"):
        assert f"{kind} 7: " in done.stdout


def test_a_portion_that_fails_keeps_what_it_found(tmp_path):
    done = nightly(
        tmp_path, "--replay", "lying-disk", "7", portion=0.5
    )  # some cuts come before there is money
    assert done.returncode == 1, done.stdout + done.stderr
    assert "lost: " in done.stderr
    (kept,) = tmp_path.iterdir()
    assert {"x.db", "acknowledged.txt"} <= {file.name for file in kept.iterdir()}
