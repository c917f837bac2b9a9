"""Object counts against a search through all pairs of objects, and what counts as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sat2map.legend import IGNORED
from sat2map.objects import SMALLEST, object_counts, object_f1

coarse = arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 0, 1, 1, 2, IGNORED]))
flips = arrays(np.uint8, (12, 15), elements=st.sampled_from([7, 7, 7, 7, 0, 1, IGNORED]), fill=st.just(7))


def objects(ids: np.ndarray, k: int) -> list[frozenset[tuple[int, int]]]:
    """Return the pixels of each object of a class, found by walking from edge to edge."""
    left, found = {(r, c) for r, c in zip(*np.nonzero(ids == k), strict=True)}, []
    while left:
        edge, seen = [left.pop()], set()
        while edge:
            r, c = edge.pop()
            seen.add((r, c))
            beside = {(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)} & left
            left -= beside
            edge += beside
        found.append(frozenset(seen))
    return found


def by_definition(truth: np.ndarray, predicted: np.ndarray, k: int) -> list[int]:
    known = (truth != IGNORED) & (predicted != IGNORED)
    true, drawn = (objects(np.where(known, ids, IGNORED), k) for ids in (truth, predicted))
    pairs = [(t, d) for t in true for d in drawn if len(t & d) / len(t | d) > 0.5]
    pairs = [(t, d) for t, d in pairs if max(len(t), len(d)) >= SMALLEST]
    return [
        len(pairs),
        sum(len(d) >= SMALLEST or any(d == b for _, b in pairs) for d in drawn),
        sum(len(t) >= SMALLEST or any(t == a for a, _ in pairs) for t in true),
    ]


@given(coarse, flips)
def test_counts_are_those_of_the_definition(blocks, changed):
    truth = np.kron(blocks, np.ones((3, 3), np.uint8))
    predicted = np.where(changed == 7, truth, changed)
    for one, other in ((truth, predicted), (predicted, truth), (truth, np.roll(truth, 1, 1))):
        assert object_counts(one, other, 3).tolist() == [by_definition(one, other, k) for k in range(3)]


@given(coarse)
def test_a_map_has_the_objects_of_itself(blocks):
    ids = np.kron(blocks, np.ones((4, 4), np.uint8))
    for counts in object_counts(ids, ids, 3):
        assert counts[0] == counts[1] == counts[2]
        assert object_f1(counts) in ((1, 1, 1), (None, None, None))


def town(*houses: tuple[int, int, int, int]) -> np.ndarray:
    """Return ground with houses of these rows and columns."""
    ids = np.zeros((40, 40), np.uint8)
    for top, bottom, left, right in houses:
        ids[top:bottom, left:right] = 1
    return ids


TWO = town((5, 15, 5, 15), (5, 15, 16, 26))


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (TWO, [2, 2, 2]),
        (town((5, 15, 5, 26)), [0, 1, 2]),  # run together
        (town((5, 15, 5, 15)), [1, 1, 2]),  # one missed
        (town((5, 15, 5, 15), (5, 10, 16, 26)), [1, 2, 2]),  # half is not more than half
        (town((5, 15, 5, 15), (5, 11, 16, 26)), [2, 2, 2]),
        (town((5, 15, 5, 15), (5, 15, 16, 26), (30, 33, 30, 33)), [2, 2, 2]),  # a speck of 9 pixels
        (town((5, 15, 5, 15), (5, 15, 16, 26), (30, 35, 30, 32)), [2, 3, 2]),  # 10 pixels
        (town((5, 15, 5, 15), (8, 11, 18, 21)), [1, 1, 2]),  # a speck in a house is no house
        (town((5, 15, 5, 15), (15, 25, 15, 25)), [1, 2, 2]),  # corners do not join
    ],
)
def test_what_is_an_object_and_what_was_found(predicted, expected):
    assert object_counts(TWO, predicted, 2)[1].tolist() == expected


def test_a_small_object_that_matches_a_larger_one_counts():
    truth, predicted = town((5, 8, 5, 9)), town((5, 8, 5, 8))
    assert object_counts(truth, predicted, 2)[1].tolist() == [1, 1, 1]
    assert object_counts(predicted, predicted, 2)[1].tolist() == [0, 0, 0]


def test_unknown_ground_cuts_objects_of_both_maps_alike():
    truth, predicted = town((5, 15, 5, 25)), town((5, 15, 5, 15))
    assert object_counts(truth, predicted, 2)[1].tolist() == [0, 1, 1]
    for unknown in (truth, predicted):
        seen = unknown[:, 15:].copy()
        unknown[:, 15:] = IGNORED
        assert object_counts(truth, predicted, 2)[1].tolist() == [1, 1, 1]
        unknown[:, 15:] = seen


def test_f1_of_objects():
    assert object_f1(np.array([2, 4, 8])) == (0.5, 0.25, pytest.approx(1 / 3))
    assert object_f1(np.array([0, 3, 0])) == (0, 0, 0) == object_f1(np.array([0, 0, 3]))
    assert object_f1(np.zeros(3, int)) == (None, None, None)


def test_counts_of_no_class_have_their_shape():
    assert object_counts(TWO, TWO, 0).shape == (0, 3)
    assert object_counts(np.full((4, 4), IGNORED, np.uint8), TWO[:4, :4], 2).tolist() == [[0, 0, 0], [0, 0, 0]]
