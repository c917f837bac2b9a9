"""Statistics are those of the valid pixels, and bands are found however the user names them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from models import INPUTS
from sat2map import inputs
from sat2map.errors import BadOption, ModelError, SourceError
from sat2map.inputs import Inputs, fit_inputs, select_bands
from sat2map.scenes import Scene, array_scene
from sat2map.tiling import Window, whole


def scene(height: int = 60, width: int = 50, bands: int = 4, dtype: str = "uint16", seed: int = 0) -> Scene:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(2000, 300, (bands, height, width)) * (1 + np.arange(bands))[:, None, None]
    return array_scene(pixels.clip(1).astype(dtype), rng.random((height, width)) < 0.8)


def named(*bands: str) -> Scene:
    return replace(array_scene(np.zeros((len(bands), 2, 2), np.uint8), name="city.tif"), bands=bands)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_statistics_are_those_of_the_valid_pixels_of_the_ground(dtype):
    scenes = [scene(dtype=dtype, seed=seed) for seed in (0, 1)]
    areas = [Window(3, 5, 40, 30), Window(0, 0, 60, 50)]
    fitted = fit_inputs(list(zip(scenes, areas, strict=True)), (2, 0))
    parts = [s.read(area) for s, area in zip(scenes, areas, strict=True)]
    known = np.concatenate([p.pixels[:, p.valid] for p in parts], axis=1)[[2, 0]].astype(np.float64)
    np.testing.assert_allclose(fitted.mean, known.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(fitted.std, known.std(axis=1), rtol=1e-6)
    assert (fitted.bands, fitted.indexes, fitted.of, fitted.dtype) == (("band 3", "band 1"), (2, 0), 4, dtype)


def test_nan_is_left_out():
    pixels = np.array([[[1.0, 3.0, np.nan]]], np.float32)
    fitted = fit_inputs([(array_scene(pixels), Window(0, 0, 1, 3))], (0,))
    assert (fitted.mean, fitted.std) == ((2.0,), (1.0,))


def test_of_large_ground_windows_are_taken_evenly(monkeypatch):
    monkeypatch.setattr(inputs, "WINDOWS_READ", 3)
    ground = array_scene(np.repeat(np.arange(8, dtype=np.uint8), 512)[None, None])
    assert fit_inputs([(ground, whole(ground.shape))], (0,)).mean == (3.0,)  # of 0, 3, 6


def test_a_band_that_is_the_same_everywhere_does_not_blow_up():
    flat = array_scene(np.full((1, 4, 4), 7, np.uint8))
    fitted = fit_inputs([(flat, whole((4, 4)))], (0,))
    assert (fitted.mean, fitted.std) == ((7.0,), (1.0,))
    assert not fitted.apply(flat.read()).any()


def test_ground_without_data_is_refused():
    blank = array_scene(np.ones((1, 4, 4), np.uint8), np.zeros((4, 4), bool))
    with pytest.raises(ModelError, match=r"No pixel .* is valid"):
        fit_inputs([(blank, whole((4, 4)))], (0,))


def test_training_pixels_have_mean_zero_and_deviation_one_where_they_are_valid():
    ground = scene()
    fitted = fit_inputs([(ground, whole(ground.shape))], (0, 1, 2, 3))
    read = ground.read()
    shown = fitted.apply(read)
    assert shown.dtype == np.float32
    assert not shown[:, ~read.valid].any()
    np.testing.assert_allclose(shown[:, read.valid].mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(shown[:, read.valid].std(axis=1), 1, atol=1e-5)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 30), st.integers(1, 30))
def test_a_part_is_shown_as_it_is_in_the_whole(row, col, height, width):
    ground = scene()
    fitted = Inputs(ground.bands, (0, 1, 2, 3), 4, (2e3, 4e3, 6e3, 8e3), (310.0, 600.0, 900.0, 1300.0), "uint16")
    window = Window(row, col, height, width)
    every = fitted.apply(ground.read())
    np.testing.assert_array_equal(fitted.apply(ground.read(window)), every[:, *window.slices])


def test_pixels_that_are_not_numbers_do_not_reach_the_network():
    read = array_scene(np.array([[[np.nan, 170.0]]] * 3, np.float32)).read()
    shown = INPUTS.apply(read)
    assert not shown[:, 0, 0].any()
    np.testing.assert_allclose(shown[:, 0, 1], [1, 1, 1.5])


def test_bands_are_chosen_by_name_whatever_their_order():
    assert INPUTS.choose(named("nir", "blue", "green", "red")) == (3, 2, 1)


def test_bands_are_chosen_by_place_where_names_differ():
    one_of_four = replace(INPUTS, bands=("nir",), indexes=(3,), of=4)
    assert one_of_four.choose(named("a", "b", "c", "d")) == (3,)
    assert one_of_four.choose(named("gray")) == (0,)
    assert INPUTS.choose(named("a", "b", "c")) == (0, 1, 2)


def test_bands_of_the_same_name_are_chosen_by_place():
    twice = replace(INPUTS, bands=("b", "b", "b"))
    assert twice.choose(named("b", "b", "b")) == (0, 1, 2)


def test_an_image_with_other_bands_is_refused_in_words():
    with pytest.raises(ModelError) as caught:
        INPUTS.choose(named("red", "nir"))
    told = "The model reads 3 bands (red, green, blue), but city.tif has 2 (red, nir). "
    assert str(caught.value).startswith(told)


def test_bands_are_named_or_numbered():
    bands = ("red", "green", "2")
    assert select_bands(bands, ()) == (0, 1, 2)
    assert select_bands(bands, ("green", "1")) == (1, 0)
    assert select_bands(bands, ("2",)) == (2,)  # a name comes before a number


@pytest.mark.parametrize("word", ["0", "4", "nir", "-1", "1.5", ""])
def test_a_band_that_is_not_there_is_refused_in_words(word):
    with pytest.raises(BadOption) as caught:
        select_bands(("red", "green", "blue"), (word,))
    assert str(caught.value) == f"There is no band {word!r}. The images have: 1 (red), 2 (green), 3 (blue)."


def test_images_are_brought_to_the_grid_of_the_training():
    place = GeoBox((40, 60), Affine(0.5, 0, 500_000, 0, -0.5, 40_000), "EPSG:32636")
    image = array_scene(np.zeros((3, 40, 60), np.uint8), geobox=place)
    assert INPUTS.on_grid(image) is image
    coarse = replace(INPUTS, resolution=2.0).on_grid(image)
    assert coarse.shape == (10, 15)
    assert coarse.geobox.affine.almost_equals(Affine(2, 0, 500_000, 0, -2, 40_000))
    assert replace(INPUTS, resize=20).on_grid(image).shape == (20, 30)


def test_a_picture_has_no_resolution():
    with pytest.raises(SourceError, match="no georeference"):
        replace(INPUTS, resolution=2.0).on_grid(named("red", "green", "blue"))


def test_inputs_come_back_from_json():
    every = replace(INPUTS, mean=(0.1, 1 / 3, 1e-9), resolution=0.5)
    assert Inputs.from_json(json.loads(json.dumps(every.to_json()))) == every
