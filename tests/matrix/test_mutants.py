"""Spec P: the matrix can fail. Each mutant is killed by the cells that are there for its kind of mistake."""

from __future__ import annotations

import pytest

from matrix.cells import named
from matrix.mutants import MUTANTS, SOURCE, Mutant, MutantError, killed, unmutated
from matrix.verdict import _CHECKS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutants_are_killed_by_name(mutant):
    assert killed(mutant) == ""


def test_without_a_mutant_their_cells_hold():
    assert unmutated() == {}


def test_mutants_name_cells_and_properties_that_there_are():
    letters = {check.__name__[1] for check in _CHECKS}
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert mutant.cells
        assert all(named(cell) for cell in mutant.cells)
        assert set(mutant.property.split()) <= letters


@pytest.mark.parametrize(
    ("file", "old"), [("relay/chat.py", "no such text"), ("relay/chat.py", "self"), ("relay/none.py", "self")]
)
def test_a_mutant_of_what_is_not_there_once_is_an_error(tmp_path, file, old):
    (tmp_path / "prepaid" / "relay").mkdir(parents=True)
    (tmp_path / "prepaid" / "relay" / "chat.py").write_text((SOURCE / "prepaid/relay/chat.py").read_text())
    with pytest.raises(MutantError, match="wrong"):
        Mutant("wrong", file, old, "x", ("x",), "a").applied_to(tmp_path)
