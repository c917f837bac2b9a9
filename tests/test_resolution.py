"""Coarse labels are learnt from coarse pixels, fine or sparse ones are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat2map.learning.resolution import COARSER, choose_scale, coarsened
from sat2map.legend import IGNORED
from sat2map.raster import Raster
from sat2map.scenes import array_scene
from sat2map.scenes.overview import overview
from sat2map.sources import Pair
from sat2map.tiling import Window, whole


def ground(ids: np.ndarray) -> list[tuple[Pair, Window]]:
    image, target = (array_scene(pixels[None], name="a") for pixels in (ids, ids))
    return [(Pair("a", "", image, target), whole(ids.shape))]


def checkers(side: int) -> np.ndarray:
    rows, cols = np.mgrid[:256, :256] // side
    return ((rows + cols) % 2).astype(np.uint8)


def test_broad_classes_are_learnt_from_coarser_pixels() -> None:
    assert choose_scale(ground(checkers(128)), 2) == COARSER


@pytest.mark.parametrize("side", [1, 2, 5])
def test_fine_classes_need_every_pixel(side: int) -> None:
    assert choose_scale(ground(checkers(side)), 2) == 1


def test_sparse_labels_do_not_tell_how_fine_the_ground_is() -> None:
    ids = np.full((256, 256), IGNORED, np.uint8)
    ids[:64, :64], ids[64:128, :64] = 0, 1
    assert choose_scale(ground(ids), 2) == 1


@given(st.integers(1, 40), st.integers(1, 40), st.floats(1, 4))
def test_coarsening_makes_up_no_class_and_keeps_the_shape(height: int, width: int, scale: float) -> None:
    ids = np.arange(height * width, dtype=np.uint16).reshape(height, width) % 7
    coarse = coarsened(ids, scale)
    assert coarse.shape == ids.shape
    assert set(np.unique(coarse)) <= set(np.unique(ids))
    assert (coarsened(ids, 1.0) == ids).all()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 80))
def test_an_overview_is_each_nth_pixel(height: int, width: int, side: int) -> None:
    pixels = np.arange(2 * height * width, dtype=np.uint16).reshape(2, height, width)
    valid = pixels[0] % 3 > 0
    scene = array_scene(pixels, valid=valid, name="a")
    small: Raster = overview(scene, side)
    step = -(-max(height, width) // side)
    assert (small.pixels == pixels[:, ::step, ::step]).all()
    assert (small.valid == valid[::step, ::step]).all()
    assert max(small.valid.shape) <= side
    assert small.geobox.affine.a == step
