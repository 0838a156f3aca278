"""What the matrix is made of: nothing is left out in silence, and every sample has every pair."""

from __future__ import annotations

import itertools

import pytest

from matrix.cells import (
    DIMENSIONS,
    UNTOLD,
    Api,
    Mode,
    all_cells,
    combinations,
    named,
    reasons,
    sample,
)
from matrix.playing import IN_CHECK, chosen
from matrix.scripts import LIMIT, PIECE_TOKENS, PIECES, Run, input_tokens, piece, request, steps, usage
from prepaid.models.measure import text_bytes


def test_every_combination_is_a_cell_or_has_a_reason():
    assert sum(1 for _ in combinations()) == len(all_cells()) + sum(reasons().values())
    assert len(all_cells()) > 4_000
    assert all(len(reason) > 10 for reason in reasons())


def test_every_value_of_every_dimension_is_in_some_cell():
    for place, kind in enumerate(DIMENSIONS):
        assert {cell.values[place] for cell in all_cells()} == set(kind)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_sample_has_every_pair_that_there_is(seed):
    def pairs(cells):
        places = itertools.combinations(range(len(DIMENSIONS)), 2)
        return {(one, two, cell.values[one], cell.values[two]) for one, two in places for cell in cells}

    chosen_cells = sample(IN_CHECK, seed)
    assert len(chosen_cells) == len(set(chosen_cells)) == IN_CHECK
    assert pairs(chosen_cells) == pairs(all_cells())
    assert chosen_cells == sample(IN_CHECK, seed) != sample(IN_CHECK, seed + 7)


def test_cells_are_found_again_by_their_names():
    cells = all_cells()
    assert [named(str(cell)) for cell in cells] == list(cells)
    assert chosen(f"{cells[0]},{cells[9]}", 0) == [cells[0], cells[9]]
    assert set(chosen("embeddings-*", 0)) == {cell for cell in cells if cell.api is Api.EMBEDDINGS}
    for wrong in ("chat", "embeddings-stream-whole-proper-text-stops-asked"):
        with pytest.raises(ValueError, match="is no cell"):
            named(wrong)


def test_the_vocabulary_is_counted_right():
    """Where it has four bytes a token, the truth is what an estimate says."""
    for cell in {cell.output: cell for cell in all_cells()}.values():
        sizes = {text_bytes(piece(cell.output, number)) for number in range(PIECES)}
        bytes_per_token = {"long_words": 16, "short_words": 2}.get(cell.output, 4)
        assert sizes == {PIECE_TOKENS * bytes_per_token}


def test_answers_are_below_their_limit_and_prompts_are_counted():
    for cell in all_cells():
        run = Run(cell, 7)
        _, body = request(run)
        assert run.tag in str(body)
        assert input_tokens(body) >= text_bytes(run.prompt) // 4
        if cell.api is not Api.EMBEDDINGS:
            made = steps(run)
            shown = sum(step.shown for step in made)
            assert PIECES * PIECE_TOKENS <= shown <= PIECES * PIECE_TOKENS + 2 < LIMIT
            assert cell.mode is Mode.PLAIN or {"role", "ended"} <= {step.point for step in made}


def test_forms_that_tell_nothing_tell_no_output():
    for cell in all_cells():
        if cell.told in UNTOLD and cell.api is Api.CHAT:
            told = usage(cell, 10, 20).get("usage") or {}
            assert not 0 < (told.get("completion_tokens") or 0) < 10**9
