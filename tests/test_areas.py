"""Areas with their errors: the published example, and intervals that hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sat2map.areas import estimate_areas
from sat2map.errors import BadOption

OLOFSSON = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
HECTARES = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
NAMES = ["deforestation", "forest gain", "stable forest", "stable non-forest"]


def test_the_example_of_olofsson_2014_is_reproduced():
    found = estimate_areas(OLOFSSON, HECTARES, NAMES)
    assert [round(c.area.value) for c in found.classes] == [21_158, 11_686, 285_770, 581_386]
    assert [round(c.area.margin) for c in found.classes] == [6_158, 3_756, 15_510, 16_282]
    assert [round(c.users.value, 2) for c in found.classes] == [0.88, 0.73, 0.93, 0.96]
    assert [round(c.producers.value, 2) for c in found.classes] == [0.75, 0.85, 0.93, 0.96]
    assert (round(found.overall.value, 3), round(found.overall.margin, 3)) == (0.947, 0.018)


def drawn(truth: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a stratified sample: `truth[i]` are the chances of the classes on the ground where the map says `i`."""
    return np.stack([rng.multinomial(n, chances) for n, chances in zip(points, truth, strict=True)])


@pytest.mark.parametrize("rare", [0.3, 0.05, 0.01])
def test_intervals_hold_the_truth_as_often_as_they_say(rare):
    """1,000 maps of three classes, of which one is as rare as given; 93 to 97 % of the intervals of each class."""
    rng = np.random.default_rng(round(1000 * rare))
    mapped = np.array([rare, 0.35, 0.65 - rare])
    truth = np.array([[0.8, 0.15, 0.05], [0.04, 0.86, 0.1], [0.03, 0.07, 0.9]])
    area = mapped @ truth
    points = np.array([150, 350, 500])
    held = np.zeros(3)
    for _ in range(1000):
        found = estimate_areas(drawn(truth, points, rng), mapped, ["rare", "one", "other"])
        held += [c.area.interval[0] <= a <= c.area.interval[1] for c, a in zip(found.classes, area, strict=True)]
    assert ((held >= 930) & (held <= 970)).all(), held


counts = arrays(np.int64, (3, 3), elements=st.integers(0, 30)).filter(lambda c: (c.sum(axis=1) >= 2).all())
shares = st.lists(st.floats(0.01, 10), min_size=3, max_size=3)


@given(counts, shares)
def test_areas_add_up_to_what_is_mapped(counts, mapped):
    found = estimate_areas(counts, mapped, NAMES[:3])
    assert sum(c.area.value for c in found.classes) == pytest.approx(sum(mapped))
    assert all(0 <= c.users.value <= 1 and c.area.error >= 0 for c in found.classes)
    assert 0 <= found.overall.value <= 1


@given(st.lists(st.integers(2, 99), min_size=3, max_size=3), shares)
def test_a_map_without_errors_is_right_and_sure(points, mapped):
    found = estimate_areas(np.diag(points), mapped, NAMES[:3])
    for c in found.classes:
        assert c.area.value == pytest.approx(c.mapped) and c.area.error == 0
        assert (c.users.value, c.producers.value) == (1, pytest.approx(1))


@given(counts, shares, st.floats(0.1, 1000))
def test_the_unit_does_not_matter(counts, mapped, unit):
    one = estimate_areas(counts, mapped, NAMES[:3])
    other = estimate_areas(counts, [unit * a for a in mapped], NAMES[:3])
    for a, b in zip(one.classes, other.classes, strict=True):
        assert b.area.value == pytest.approx(unit * a.area.value) and b.area.error == pytest.approx(unit * a.area.error)


def test_a_class_that_is_not_mapped_needs_no_points_but_may_be_on_the_ground():
    counts = np.array([[8, 2, 0], [0, 0, 0], [0, 1, 9]])
    found = estimate_areas(counts, [10.0, 0.0, 30.0], NAMES[:3])
    assert found.classes[1].area.value == pytest.approx(10 * 0.2 + 30 * 0.1)
    assert found.classes[1].producers.value == 0
    assert estimate_areas(np.diag([5, 0, 5]), [1.0, 0.0, 1.0], NAMES[:3]).classes[1].producers is None


@pytest.mark.parametrize(
    ("counts", "mapped", "told"),
    [(np.diag([5, 1, 5]), [1, 1, 1], r"forest gain \(1\)"), (np.diag([5, 5, 5]), [0, 0, 0], "holds no class")],
)
def test_what_cannot_be_estimated_is_told(counts, mapped, told):
    with pytest.raises(BadOption, match=told):
        estimate_areas(counts, mapped, NAMES[:3])
