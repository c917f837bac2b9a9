"""Boundary counts against what they are by definition, pixel by pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sat2map.boundaries import BOUNDARY_COUNTS, TOLERANCE, boundary_counts, boundary_f1, boundary_iou
from sat2map.legend import IGNORED
from sat2map.metrics import scores_of

maps = arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, IGNORED]))


def outline(held: dict[tuple[int, int], int], k: int) -> set[tuple[int, int]]:
    """Return the boundary of a class as it is defined."""
    sides = ((0, 1), (0, -1), (1, 0), (-1, 0))
    return {(r, c) for (r, c), v in held.items() if v == k and any(held.get((r + i, c + j), k) != k for i, j in sides)}


def band(held: dict[tuple[int, int], int], k: int) -> set[tuple[int, int]]:
    """Return the pixels of a class that have another one nearby."""
    others = {at for at, v in held.items() if v != k}
    return {at for at, v in held.items() if v == k and near({at}, others)}


def near(pixels: set[tuple[int, int]], others: set[tuple[int, int]]) -> int:
    return sum(any(max(abs(r - y), abs(c - x)) <= TOLERANCE for y, x in others) for r, c in pixels)


@given(maps, maps)
def test_counts_are_those_of_the_definition(truth, predicted):
    known = [at for at in np.ndindex(truth.shape) if IGNORED not in (truth[at], predicted[at])]
    maps = [{at: int(ids[at]) for at in known} for ids in (truth, predicted)]
    for k, counts in enumerate(boundary_counts(truth, predicted, 3)):
        true, drawn = (outline(held, k) for held in maps)
        bands = [band(held, k) for held in maps]
        of_outlines = [near(drawn, true), len(drawn), near(true, drawn), len(true)]
        assert counts.tolist() == [*of_outlines, len(bands[0] & bands[1]), len(bands[0] | bands[1])]


@given(arrays(np.uint8, (14, 16), elements=st.sampled_from([0, 1])), st.integers(1, 4))
def test_boundary_iou_is_the_published_one_where_no_mask_is_cut(noise, size):
    """The authors take from a mask what is left of it when it is eroded; a mask at the edge of the image is cut."""
    truth = np.pad(np.kron(noise, np.ones((size, size), np.uint8)), TOLERANCE)
    predicted = np.roll(truth, (1, 2), (0, 1))
    square = np.ones((3, 3), np.uint8)
    rims = [ids - cv2.erode(ids, square, iterations=TOLERANCE) for ids in (truth, predicted)]
    union = np.count_nonzero(rims[0] | rims[1])
    found = boundary_iou(boundary_counts(truth, predicted, 2)[1])
    assert found == (np.count_nonzero(rims[0] & rims[1]) / union if union else None)


@given(maps)
def test_a_map_has_the_boundaries_of_itself(ids):
    for counts in boundary_counts(ids, ids, 3):
        assert boundary_f1(counts) in (1.0, None) and boundary_iou(counts) in (1.0, None)


def test_an_outline_may_lie_off_by_the_tolerance_and_no_more():
    square = np.zeros((60, 60), np.uint8)
    square[20:40, 20:40] = 1
    every = [boundary_counts(square, np.roll(square, by, 1), 2)[1] for by in (0, TOLERANCE, TOLERANCE + 6)]
    scores = [boundary_f1(counts) for counts in every]
    assert scores[0] == scores[1] == 1
    assert scores[2] < 0.8
    overlaps = [boundary_iou(counts) for counts in every]
    assert overlaps[0] == 1 > overlaps[1] > overlaps[2]


def test_boundary_iou_sees_what_iou_hardly_sees():
    truth, predicted = np.zeros((2, 400, 400), np.uint8)
    truth[100:300, 100:300], predicted[101:299, 101:299] = 1, 1
    whole = np.count_nonzero(truth & predicted) / np.count_nonzero(truth | predicted)
    ring = 200**2 - 194**2, 198**2 - 192**2
    shared = 198**2 - 194**2
    assert whole > 0.98
    assert boundary_iou(boundary_counts(truth, predicted, 2)[1]) == pytest.approx(shared / (sum(ring) - shared))


def test_numbers_are_taken_in_any_type_and_no_id_but_255_is_special():
    ids = np.random.default_rng(0).choice([0, 254, IGNORED], (30, 30))
    counts = boundary_counts(ids.astype(np.uint16), ids.astype(np.int64), 255)
    assert counts.shape == (255, BOUNDARY_COUNTS) and counts[[0, 254]].all() and not counts[1:254].any()


def test_a_class_without_an_outline_has_no_score_and_no_part_in_the_mean():
    ids = np.zeros((8, 8), np.uint8)
    counts = boundary_counts(ids, ids, 2)
    scores = scores_of(np.diag([64, 0]), ["a", "b"], counts)
    assert scores.mean_boundary_f1 is None and scores.classes[0].boundary_f1 is None
    assert boundary_iou(counts[0]) is None
    ids[:, 4:] = 1
    drawn = np.zeros((8, 8), np.uint8)
    counts = boundary_counts(ids, drawn, 2)
    scores = scores_of(np.array([[32, 0], [32, 0]]), ["a", "b"], counts)
    assert [c.boundary_f1 for c in scores.classes] == [0.0, 0.0] and scores.mean_boundary_f1 == 0
    assert [boundary_iou(c) for c in counts] == [0, 0]
