import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat2map.errors import BadOption
from sat2map.tiling import Tiling, Window, chunks, grid, whole

sides = st.integers(1, 90)


@st.composite
def tilings(draw):
    size = draw(st.integers(1, 24))
    return Tiling(size, draw(st.integers(0, size // 2)))


@st.composite
def windows(draw):
    return Window(*(draw(st.integers(-40, 60)) for _ in "rc"), *(draw(st.integers(0, 50)) for _ in "hw"))


@given(tilings(), sides, sides)
def test_weights_sum_to_one_at_every_pixel(tiling, height, width):
    total = np.zeros((height + tiling.size, width + tiling.size))
    for window in tiling.windows((height, width)):
        total[window.slices] += tiling.weights((height, width), window)
    np.testing.assert_allclose(total[:height, :width], 1, atol=1e-6)


@given(tilings(), sides, sides)
def test_windows_lie_inside_a_scene_that_is_large_enough(tiling, height, width):
    for window in tiling.windows((height, width)):
        assert window.row >= 0 and window.col >= 0
        assert window.bottom <= max(height, tiling.size) and window.right <= max(width, tiling.size)


@given(tilings(), sides, sides, windows())
def test_windows_over_a_part_are_those_with_weight_there(tiling, height, width, part):
    part = part.intersect(whole((height, width)))
    if part.empty:
        return
    chosen = set(tiling.windows((height, width), part))
    for window in tiling.windows((height, width)):
        common = window.intersect(part)
        inside = tiling.weights((height, width), window)[common.within(window).slices]
        assert (window in chosen) or not inside.any()


@given(tilings(), sides, sides, windows())
def test_no_window_is_read_in_vain(tiling, height, width, part):
    """A window that is chosen has weight, but for the last bits of a ramp, which round to nothing."""
    part = part.intersect(whole((height, width)))
    if part.empty:
        return
    for window in tiling.windows((height, width), part):
        reach = window.intersect(part.pad(1))
        assert not reach.empty


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
