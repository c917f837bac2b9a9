from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sat2map.splits.assignment import FREE, assign


def free(places: int) -> np.ndarray:
    return np.full(places, FREE)


@given(st.lists(st.integers(1, 1000), min_size=3, max_size=60), st.floats(0.01, 0.4), st.integers(0, 9))
def test_every_part_gets_a_place(sizes: list[int], share: float, seed: int) -> None:
    parts = assign(np.array(sizes)[:, None], [1 - 2 * share, share, share], free(len(sizes)), seed)
    assert set(parts.tolist()) == {0, 1, 2}


@given(st.integers(0, 20))
def test_shares_are_met_where_places_are_many(seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(1, 100, 200)
    parts = assign(sizes[:, None], [0.75, 0.1, 0.15], free(200), seed)
    held = np.bincount(parts, sizes) / sizes.sum()
    np.testing.assert_allclose(held, [0.75, 0.1, 0.15], atol=0.02)


@given(st.integers(0, 20))
def test_a_class_in_three_places_of_forty_is_in_every_part_if_it_can_be(seed: int) -> None:
    amounts = np.full((40, 3), 100)
    amounts[:, 2] = 0
    amounts[[3, 17, 30], 2] = 1
    lucky = [assign(amounts, [0.5, 0.25, 0.25], free(40), s) for s in (seed, seed + 1)]
    for parts in lucky:
        assert set(parts[[3, 17, 30]].tolist()) == {0, 1, 2}


def test_few_places_are_divided_as_well_as_can_be() -> None:
    sizes = np.array([46, 25, 84, 65, 337, 286])[:, None]
    parts = assign(sizes, [0.56, 0.1, 0.34], np.array([FREE] * 5 + [2]), 0)
    assert parts.tolist() == [0, 0, 1, 0, 0, 2]


def test_classes_are_balanced() -> None:
    sizes = np.full(30, 10)
    water = np.where(np.arange(30) % 2, 10, 0)
    parts = assign(np.column_stack([sizes, water, sizes - water]), [0.6, 0.2, 0.2], free(30), 0)
    for part in (0, 1, 2):
        assert 0.3 < water[parts == part].sum() / sizes[parts == part].sum() < 0.7


def test_fixed_places_stay_and_nothing_joins_a_named_part() -> None:
    fixed = free(50)
    fixed[:5], fixed[5:9] = 2, 0
    parts = assign(np.ones((50, 1)), [0.7, 0.2, 0.1], fixed, 3)
    assert np.flatnonzero(parts == 2).tolist() == [0, 1, 2, 3, 4]
    assert (parts[5:9] == 0).all()
    assert (parts == 1).sum() == 10
