"""Spec P: whatever a provider and a client do, what is billed is charged or booked, and nobody pays too much.

``PREPAID_MATRIX`` says which cells: a number, ``all``, names or patterns; ``PREPAID_MATRIX_SEED`` which of them.
"""

from __future__ import annotations

import os
from collections import Counter

from matrix.playing import IN_CHECK, chosen, played

TOLD_MAX = 40
"""Cells that are told one by one; of the others there is the count."""


async def test_every_cell_holds(tmp_path):
    """Spec P1 to P6, P11, C12, D1, N5."""
    seed = int(os.environ.get("PREPAID_MATRIX_SEED", "0"))
    cells = chosen(os.environ.get("PREPAID_MATRIX", str(IN_CHECK)), seed)
    results = await played(cells, tmp_path)
    assert Counter(result.cell for result in results) == Counter(cells)
    bad = [result for result in results if result.broken]
    counts = Counter(each.property for result in bad for each in result.broken)
    told = "\n".join(map(str, bad[:TOLD_MAX]))
    assert not bad, f"{len(bad)} of {len(results)} cells are broken {dict(counts)} (seed {seed}):\n{told}"
