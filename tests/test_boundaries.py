"""Boundary counts against what they are by definition, pixel by pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sat2map.boundaries import TOLERANCE, boundary_counts, boundary_f1
from sat2map.legend import IGNORED
from sat2map.metrics import scores_of

maps = arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, IGNORED]))


def outline(ids: np.ndarray, k: int) -> set[tuple[int, int]]:
    """Return the boundary of a class as it is defined."""
    held = {(r, c): int(v) for (r, c), v in np.ndenumerate(ids) if v != IGNORED}
    sides = ((0, 1), (0, -1), (1, 0), (-1, 0))
    return {(r, c) for (r, c), v in held.items() if v == k and any(held.get((r + i, c + j), k) != k for i, j in sides)}


def near(pixels: set[tuple[int, int]], others: set[tuple[int, int]]) -> int:
    return sum(any(max(abs(r - y), abs(c - x)) <= TOLERANCE for y, x in others) for r, c in pixels)


@given(maps, maps)
def test_counts_are_those_of_the_definition(truth, predicted):
    both = (truth != IGNORED) & (predicted != IGNORED)
    for k, counts in enumerate(boundary_counts(truth, predicted, 3)):
        true, drawn = (outline(np.where(both, ids, IGNORED), k) for ids in (truth, predicted))
        assert counts.tolist() == [near(drawn, true), len(drawn), near(true, drawn), len(true)]


@given(maps)
def test_a_map_has_the_boundaries_of_itself(ids):
    for counts in boundary_counts(ids, ids, 3):
        assert boundary_f1(counts) in (1.0, None)


def test_an_outline_may_lie_off_by_the_tolerance_and_no_more():
    square = np.zeros((60, 60), np.uint8)
    square[20:40, 20:40] = 1
    scores = [
        boundary_f1(boundary_counts(square, np.roll(square, by, 1), 2)[1]) for by in (0, TOLERANCE, TOLERANCE + 6)
    ]
    assert scores[0] == scores[1] == 1
    assert scores[2] < 0.8


def test_a_class_without_an_outline_has_no_score_and_no_part_in_the_mean():
    ids = np.zeros((8, 8), np.uint8)
    counts = boundary_counts(ids, ids, 2)
    scores = scores_of(np.diag([64, 0]), ["a", "b"], counts)
    assert scores.mean_boundary_f1 is None and scores.classes[0].boundary_f1 is None
    ids[:, 4:] = 1
    drawn = np.zeros((8, 8), np.uint8)
    scores = scores_of(np.array([[32, 0], [32, 0]]), ["a", "b"], boundary_counts(ids, drawn, 2))
    assert [c.boundary_f1 for c in scores.classes] == [0.0, 0.0] and scores.mean_boundary_f1 == 0
