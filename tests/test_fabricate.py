"""The fabricated town: the same for the same seed, true to its classes, and readable as training data."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from sat2map.fabricate import FABRICATED_CLASSES, fabricate_scene, write_scene
from sat2map.fabricate.canvas import BUILDING, LAND, ROAD, VEGETATION, WATER, Place, blank, nearest, roof, tree
from sat2map.fabricate.photograph import cast_shadows, slopes
from sat2map.fabricate.plan import Line
from sat2map.scenes import open_scene
from sat2map.sources import open_source


@pytest.fixture(scope="module")
def town() -> tuple[np.ndarray, np.ndarray]:
    return fabricate_scene(640, seed=1)


def test_a_town_has_the_promised_form(town):
    image, labels = town
    assert image.shape == (3, 640, 640)
    assert labels.shape == (640, 640)
    assert image.dtype == labels.dtype == np.uint8
    assert [FABRICATED_CLASSES.names[i] for i in (LAND, BUILDING, ROAD, VEGETATION, WATER)] == [
        "Land", "Building", "Road", "Vegetation", "Water"
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_every_class_has_its_share(seed):
    counts = np.bincount(fabricate_scene(640, seed)[1].ravel(), minlength=len(FABRICATED_CLASSES))
    assert len(counts) == len(FABRICATED_CLASSES)
    assert (counts / counts.sum() > 0.03).all()


def test_the_seed_decides():
    one, again, other = (fabricate_scene(200, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert (one[1] != other[1]).mean() > 0.1


def test_colours_help_but_do_not_suffice(town):
    """The nearest mean colour finds most pixels, yet mixes up roads and roofs: shapes must be learnt."""
    image, labels = town
    pixels = np.moveaxis(image, 0, -1).astype(float)
    means = np.array([pixels[labels == i].mean(axis=0) for i in range(5)])
    guess = ((pixels[:, :, None] - means) ** 2).sum(-1).argmin(-1)
    assert 0.45 < (guess == labels).mean() < 0.9
    assert (guess[labels == BUILDING] == BUILDING).mean() < 0.75


def test_a_scene_is_training_data_without_any_option(tmp_path):
    source = open_source(write_scene(tmp_path / "town", size=300, seed=4))
    image, labels = fabricate_scene(300, seed=4)
    (pair,) = source.pairs
    np.testing.assert_array_equal(pair.image.read().pixels, image)
    np.testing.assert_array_equal(pair.target.read().pixels[0], labels)
    assert source.legend == FABRICATED_CLASSES
    assert source.output == "classes"
    assert not [f for f in source.findings if f.level == "error"]


def test_a_scene_is_georeferenced(tmp_path):
    folder = write_scene(tmp_path, size=130)
    for name, bands in (("images", 3), ("masks", 1)):
        with rasterio.open(folder / name / "scene.tif") as file:
            assert (file.crs.to_epsg(), file.res, file.count) == (32633, (0.5, 0.5), bands)
            assert (file.nodata, file.block_shapes[0]) == (None, (256, 256))
    assert open_scene(folder / "images" / "scene.tif").bands == ("red", "green", "blue")


def test_distance_from_a_line():
    far, along = nearest(50, [Line(np.array([[10.0, 5.0], [10.0, 25.0], [30.0, 25.0]]), 1.0)], reach=8)
    assert far[10, 15] == 0
    assert far[13, 15] == 3
    assert far[45, 45] == 8
    assert far[10, 2] == 3
    assert (along[10, 15], along[20, 27]) == (10, 30)


@pytest.mark.parametrize(("kind", "ridge"), [("gable", 5 + 0.45 * 5), ("hip", 5 + 0.45 * 5), ("flat", 5)])
def test_a_roof_is_a_building_of_its_height(kind, ridge):
    canvas = blank(80, 0)
    roof(canvas, Place(40, 40, 0.3, 40, 20), (100, 100, 100), 5, kind)
    built = canvas.labels == BUILDING
    assert built.sum() == pytest.approx(800, rel=0.03)
    assert canvas.height[40, 40] == pytest.approx(ridge, abs=0.05)
    assert (canvas.height[built] >= 5).all()
    assert not canvas.height[~built].any()


def test_a_tree_does_not_grow_through_a_higher_roof():
    canvas = blank(60, 0)
    roof(canvas, Place(30, 30, 0, 20, 20), (100, 100, 100), 30, "flat")
    before = (canvas.labels == BUILDING).sum()
    tree(canvas, 30, 38, 8, 10)
    assert (canvas.labels == BUILDING).sum() == before
    assert (canvas.labels == VEGETATION).sum() > 20


@pytest.mark.parametrize("sun", [(1.0, 0.0), (0.8, 0.6), (0.8, -0.6)])
def test_shadows_fall_away_from_the_sun_as_long_as_heights_say(sun):
    height = np.zeros((81, 81), np.float32)
    height[40, 40] = 10
    hidden = np.argwhere(cast_shadows(height, sun, 1.0) > 0) - 40
    assert len(hidden) >= 15
    assert np.hypot(*hidden.T).max() == pytest.approx(20, abs=1.5)
    np.testing.assert_allclose(hidden @ sun / np.hypot(*hidden.T), -1, atol=0.15)


def test_slopes_towards_the_sun_are_brighter():
    rising_north = np.repeat(np.arange(20, 0, -1, np.float32)[:, None] * 0.2, 20, axis=1)
    light = slopes(rising_north, (1.0, 0.0), 1.0)
    assert light.min() > 1
    assert slopes(rising_north[::-1], (1.0, 0.0), 1.0).max() < 1
    np.testing.assert_allclose(slopes(np.zeros((5, 5), np.float32), (1.0, 0.0), 1.0), 1)
