"""Intervals from places: as wide as they should be, and the same draws for all models."""

from __future__ import annotations

import numpy as np
import pytest

from sat2map.bootstrap import FEWEST, RESAMPLES, differences, interval, intervals, resample, spread


def test_sums_are_those_of_as_many_places_drawn_anew():
    counts = np.random.default_rng(0).integers(0, 9, (12, 2, 3))
    sums = resample(counts)
    assert sums.shape == (RESAMPLES, 2, 3) and sums.dtype == np.int64
    assert np.array_equal(resample(counts), sums) and not np.array_equal(resample(counts, seed=1), sums)
    assert np.array_equal(resample(np.ones((12, 1), int)), np.full((RESAMPLES, 1), 12))
    assert sums.mean(axis=0) == pytest.approx(counts.sum(axis=0), rel=0.05)


def test_all_counts_are_of_the_same_places():
    counts = np.random.default_rng(0).integers(1, 9, (15, 4))
    draws = spread([counts, 3 * counts], lambda a, b: {"ratio": float(b.sum() / a.sum())})
    assert len(draws) == RESAMPLES and {draw["ratio"] for draw in draws} == {3.0}


def test_the_interval_of_a_mean_is_that_of_theory():
    """Of 400 places the mean's standard error is the deviation over 20."""
    values = np.random.default_rng(0).integers(0, 1000, (400, 1))
    low, high = intervals(spread([values], lambda sums: {"mean": float(sums[0]) / 400}))["mean"]
    error = values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), rel=0.02)
    assert high - low == pytest.approx(3.92 * error, rel=0.1)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Pixels of a place are right or wrong together: 60 places of a share of right ones drawn around 0.7."""
    rng, held, by_pixel = np.random.default_rng(1), 0, 0
    for _ in range(200):
        right = np.clip(rng.normal(700, 150, (60, 1)), 0, 1000).astype(int)
        (low, high) = intervals(spread([right], lambda sums: {"accuracy": float(sums[0]) / 60_000}))["accuracy"]
        held += low <= 0.7 <= high
        by_pixel += abs(right.mean() / 1000 - 0.7) <= 1.96 * np.sqrt(0.21 / 60_000)
    assert 0.90 <= held / 200 <= 0.99
    assert by_pixel / 200 < 0.5, "as if pixels were independent, most intervals would miss it"


def test_few_places_have_no_spread():
    assert spread([np.ones((FEWEST - 1, 2), int)], lambda sums: {"sum": float(sums.sum())}) == []
    assert intervals([]) == {} and differences([], []) == {}


def test_a_figure_that_is_not_always_known_has_no_interval():
    assert intervals([{"a": 1.0, "b": None}, {"a": 2.0, "b": 3.0}]).keys() == {"a"}


def test_differences_are_taken_draw_by_draw():
    """What is hard for both models blurs their scores, not their difference."""
    rng = np.random.default_rng(0)
    hard = rng.integers(0, 900, (50, 1))
    one, other = (spread([hard + gain], lambda sums: {"score": float(sums[0])}) for gain in (5, 0))
    assert differences(one, other)["score"] == (250.0, 250.0)
    low, high = intervals(one)["score"]
    assert high - low > 1000


def test_an_interval_leaves_out_a_fortieth_on_either_side():
    assert interval([float(i) for i in range(1001)]) == (25.0, 975.0)
