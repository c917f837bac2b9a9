from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat2map.errors import BadOption
from sat2map.tiling import Tiling, Window, chunks, grid, ramp

sides = st.integers(1, 90)


@st.composite
def tilings(draw):
    size = draw(st.integers(1, 24))
    return Tiling(size, draw(st.integers(0, size // 2)), draw(st.sampled_from([1, 2, 5, 8])))


@st.composite
def windows(draw):
    return Window(*(draw(st.integers(-40, 60)) for _ in "rc"), *(draw(st.integers(0, 50)) for _ in "hw"))


@given(tilings(), sides)
def test_cells_cover_a_side_once_and_lie_in_their_windows(tiling, length):
    axis = tiling.axis(length)
    cells = [axis.cell(i) for i in range(len(axis.starts))]
    assert [p for first, end in cells for p in range(first, end)] == list(range(length))
    for i, start in enumerate(axis.starts):
        assert start <= axis.reach(i)[0] and axis.reach(i)[1] <= max(start + axis.size, length)
        assert start >= 0 and (start + axis.size < length + tiling.unit or len(axis.starts) == 1)


@given(tilings(), sides)
def test_windows_start_at_multiples_of_the_unit_and_overlap_enough(tiling, length):
    axis = tiling.axis(length)
    if tiling.unit <= tiling.size - tiling.overlap:
        assert all(start % tiling.unit == 0 for start in axis.starts)
    gaps = [b - a for a, b in pairwise(axis.starts)]
    assert all(0 < gap <= tiling.size - tiling.overlap for gap in gaps)
    assert axis.width == (min(tiling.overlap, *gaps) if gaps else 0)


@given(tilings(), sides)
def test_a_seam_ends_where_its_cell_does_or_before(tiling, length):
    """So that no pixel lies in two seams, and at most two windows along a side see it."""
    axis = tiling.axis(length)
    for i in range(1, len(axis.starts)):
        assert axis.reach(i - 1)[1] <= axis.cell(i)[1]


@given(tilings(), sides, st.data())
def test_windows_over_a_part_are_those_with_weight_there(tiling, length, data):
    axis = tiling.axis(length)
    first = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(first + 1, length))
    reaching = [i for i in range(len(axis.starts)) if axis.reach(i)[0] < end and axis.reach(i)[1] > first]
    assert list(axis.over(first, end)) == reaching


@given(st.integers(0, 60))
def test_ramps_of_both_sides_sum_to_one(width):
    rising = ramp(width)
    np.testing.assert_allclose(rising + rising[::-1], 1, atol=1e-6)
    assert (np.diff(rising) > 0).all()


@given(tilings(), sides, sides, st.integers(1, 99), st.integers(1, 99))
def test_blocks_are_whole_cells_and_cover_the_scene_once(tiling, height, width, tall, wide):
    held = np.zeros((height, width), int)
    rows, cols = ({axis.cell(i)[0] for i in range(len(axis.starts))} for axis in map(tiling.axis, (height, width)))
    for block in tiling.blocks((height, width), tall, wide):
        held[block.slices] += 1
        assert block.row in rows and block.col in cols
    assert (held == 1).all()


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([32, 48]))
def test_a_fitted_window_costs_no_more_than_the_plain_one(height, width, unit):
    def cost(tiling):
        return len(tiling.axis(height).starts) * len(tiling.axis(width).starts) * tiling.size**2

    plain = Tiling(768, 64, unit)
    fitted = plain.fitted((height, width), unit)
    assert fitted.size % unit == 0 and fitted.overlap == 64
    assert cost(fitted) <= cost(plain)


def test_a_window_is_chosen_that_just_covers_the_scene():
    assert len(Tiling(1024, 64).axis(8192).starts) == 9
    fitted = Tiling(1024, 64).fitted((8192, 8192), 32)
    count = len(fitted.axis(8192).starts)
    assert (count * fitted.size) ** 2 < 1.25 * 8192**2


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (8, 5), (8, -1)])
def test_an_impossible_tiling_is_refused(size, overlap):
    with pytest.raises(BadOption, match="half the size"):
        Tiling(size, overlap)


@given(windows(), st.integers(1, 20))
def test_a_grid_covers_its_area_once(area, size):
    held = np.zeros((150, 150), int)
    for window in grid(area, size):
        assert max(window.shape) <= size and not window.empty
        held[window._replace(row=window.row + 40, col=window.col + 40).slices] += 1
    assert held.sum() == area.height * area.width
    assert held.max(initial=0) <= 1


@given(windows(), windows())
def test_the_common_part_is_what_both_hold(one, other):
    pixels = {(r, c) for r in range(one.row, one.bottom) for c in range(one.col, one.right)}
    common = one.intersect(other)
    both = {(r, c) for r, c in pixels if other.row <= r < other.bottom and other.col <= c < other.right}
    assert len(both) == common.height * common.width
    assert common == other.intersect(one) or common.empty


@given(windows(), st.integers(0, 9))
def test_growing_and_shrinking_cancel(window, pixels):
    assert window.pad(pixels).pad(-pixels) == window
    assert window.within(window)[:2] == (0, 0)


def test_chunks_keep_order_and_the_rest():
    assert list(chunks(range(5), 2)) == [(0, 1), (2, 3), (4,)]
    assert list(chunks([], 2)) == []
