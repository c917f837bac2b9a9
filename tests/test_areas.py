"""Areas with their errors: the published example, and intervals that hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sat2map.areas import estimate_areas, estimate_areas_from_places
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


def rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(list(values)))))


RATES = np.array([[0.8, 0.15, 0.05], [0.04, 0.86, 0.1], [0.03, 0.07, 0.9]])
"""What is on the ground, on average, where a class is mapped."""


def clustered(places: int, rng: np.random.Generator) -> np.ndarray:
    """Return pixels `(places, 3, 3)`, rows the truth: what is mapped and how wrong it is varies from place to place."""
    mapped = rng.multinomial(2000, rng.dirichlet([0.6, 1, 2], places))
    gammas = rng.gamma(6 * RATES, size=(places, 3, 3))
    counts = rng.multinomial(mapped, gammas / gammas.sum(axis=2, keepdims=True))
    return counts.swapaxes(1, 2)


def held_by(estimate, trials: int = 300) -> np.ndarray:
    """Return which share of each class's intervals hold its area on maps of 60 places, from 40 of test ground."""
    held = np.zeros(3)
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        test, ground = clustered(40, rng), clustered(60, rng)
        found = estimate(test, ground.sum(axis=(0, 1)))
        area = ground.sum(axis=(0, 2))
        held += [c.area.interval[0] <= a <= c.area.interval[1] for c, a in zip(found.classes, area, strict=True)]
    return held / trials


def test_intervals_by_places_hold_the_truth_of_maps_with_clustered_errors():
    held = held_by(lambda test, mapped: estimate_areas_from_places(test, mapped, NAMES[:3], pixels=mapped.sum()))
    assert ((held >= 0.90) & (held <= 0.98)).all(), held


def test_intervals_by_pixels_would_be_far_too_sure():
    held = held_by(lambda test, mapped: estimate_areas(test.sum(axis=0).T, mapped, NAMES[:3]))
    assert (held < 0.5).all(), held


def test_intervals_without_the_luck_of_a_small_map_would_be_too_sure():
    held = held_by(lambda test, mapped: estimate_areas_from_places(test, mapped, NAMES[:3]), 150)
    assert (held < 0.9).all(), held


def test_accuracies_by_places_have_the_errors_of_places():
    """Against 1,000 test grounds of the same kind: what they spread is what the bootstrap of one of them says."""
    rng, mapped = np.random.default_rng(0), [20.0, 30.0, 50.0]
    drawn = [clustered(40, rng) for _ in range(1000)]
    every = [estimate_areas(counts.sum(axis=0).T, mapped, NAMES[:3]) for counts in drawn]
    said = [estimate_areas_from_places(counts, mapped, NAMES[:3]) for counts in drawn[:80]]
    assert rms(a.overall.error for a in said) == pytest.approx(np.std([a.overall.value for a in every]), rel=0.15)
    for k in range(3):
        for what in ("users", "producers", "area"):
            spread = np.std([getattr(areas.classes[k], what).value for areas in every])
            assert rms(getattr(a.classes[k], what).error for a in said) == pytest.approx(spread, rel=0.15)


def test_estimates_by_places_are_those_of_all_their_pixels():
    counts, mapped = clustered(12, np.random.default_rng(0)), [2.0, 0.0, 5.0]
    empty = np.zeros((3, 3, 3), np.int64)
    found = estimate_areas_from_places(np.concatenate([empty, counts]), mapped, NAMES[:3])
    pooled = estimate_areas(counts.sum(axis=0).T, mapped, NAMES[:3])
    for a, b in zip(found.classes, pooled.classes, strict=True):
        assert (a.area.value, a.users.value) == (b.area.value, b.users.value) and a.mapped == b.mapped
        assert a.producers.value == b.producers.value and a.points <= 12
    assert found.overall.value == pooled.overall.value
    again = estimate_areas_from_places(counts, mapped, NAMES[:3])
    assert again == found != estimate_areas_from_places(counts, mapped, NAMES[:3], seed=1)


def test_places_that_are_alike_leave_no_doubt():
    counts = np.repeat(clustered(1, np.random.default_rng(0)), 20, axis=0)
    found = estimate_areas_from_places(counts, [1.0, 1.0, 1.0], NAMES[:3])
    assert [c.area.error for c in found.classes] == pytest.approx([0, 0, 0], abs=1e-9)


def test_a_class_that_is_nowhere_has_no_producers_accuracy_and_does_not_disturb():
    counts = clustered(12, np.random.default_rng(0))
    counts[:, 1], counts[:, :, 1] = 0, 0
    found = estimate_areas_from_places(counts, [1.0, 0.0, 1.0], NAMES[:3])
    assert found.classes[1].producers is None and found.classes[1].area.value == 0 == found.classes[1].points


def test_a_class_on_few_places_of_the_test_ground_has_an_error_all_the_same():
    counts = clustered(30, np.random.default_rng(0))
    counts[2:, :, 1] = 0  # so that one draw in eight lacks it
    found = estimate_areas_from_places(counts, [1.0, 1.0, 1.0], NAMES[:3])
    assert found.classes[1].points == 2 and all(c.area.error > 0 for c in found.classes)


def test_test_ground_of_no_use_is_told():
    counts = clustered(12, np.random.default_rng(0))
    with pytest.raises(BadOption, match="has 9 places, too few to know how much the map's errors vary: 10 are needed"):
        estimate_areas_from_places(counts[:9], [1.0, 1.0, 1.0], NAMES[:3])
    with pytest.raises(BadOption, match="holds no class"):
        estimate_areas_from_places(counts, [0.0, 0.0, 0.0], NAMES[:3])
    counts[1:, :, 2] = 0
    with pytest.raises(BadOption, match="holds stable forest, but on fewer than 2 places"):
        estimate_areas_from_places(counts, [1.0, 1.0, 1.0], NAMES[:3])
    estimate_areas_from_places(counts, [1.0, 1.0, 0.0], NAMES[:3])
