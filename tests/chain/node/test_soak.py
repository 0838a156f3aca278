"""The node's soak in its short form: its long one is 100,000 requests (``benchmarks/chain/soak.py``)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pages import ROOT


@pytest.mark.slow
def test_memory_stays_flat_and_the_books_balance(anvil, tmp_path):
    """Spec A10: ``anvil`` is installed by then."""
    command = [sys.executable, "-m", "benchmarks.chain.soak", "--requests", "100", "--directory", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
