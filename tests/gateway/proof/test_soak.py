"""The soak in its short form: its long one is a million requests (``benchmarks/gateway/soak.py``)."""

from __future__ import annotations

import subprocess
import sys

from pages import ROOT


def test_memory_stays_flat_and_the_books_balance(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gateway.soak", "--requests", "4000", "--directory", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
