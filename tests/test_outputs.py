"""Scores become maps, maps become what a critic sees, and pixels without data never become a class or a colour."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sat2map.legend import IGNORED
from sat2map.outputs import OUTPUTS, Classes, Output, Picture, output_from_json
from sat2map.raster import Raster
from sat2map.scenes import array_scene
from sat2map.tiling import whole
from synthetic import LEGEND, landscape

EVERY = {"classes": Classes(LEGEND), "picture": Picture(LEGEND)}


def true_map(kind: str, seed: int = 0) -> np.ndarray:
    ids = landscape(seed, 20)
    if kind == "classes":
        return ids.astype(np.uint8)
    return np.concatenate([np.moveaxis(LEGEND.colourise(ids), -1, 0), np.full((1, 20, 20), 255, np.uint8)])


def target_of(kind: str) -> Raster:
    pixels = true_map(kind)[None] if kind == "classes" else true_map(kind)[:3]
    scene = array_scene(pixels)
    return scene.read(whole(scene.shape))


def test_every_kind_is_tested():
    assert EVERY.keys() == OUTPUTS.keys()


@pytest.mark.parametrize(("kind", "output"), EVERY.items())
def test_a_map_that_is_encoded_is_decoded_again(kind: str, output: Output):
    """What a critic sees of a true map is what a perfect network would give it, and decodes to that map."""
    truth = true_map(kind)
    activated_NKHW, known = output.encode(torch.from_numpy(truth)[None])
    assert activated_NKHW.shape == (1, output.channels, 20, 20) and known.shape == (1, 1, 20, 20) and known.all()
    np.testing.assert_array_equal(output.decode(activated_NKHW[0].numpy(), np.ones((20, 20), bool)), truth)


@pytest.mark.parametrize(("kind", "output"), EVERY.items())
def test_what_is_not_valid_is_blank(kind: str, output: Output):
    valid = np.random.default_rng(1).random((20, 20)) < 0.7
    activated_NKHW, _ = output.encode(torch.from_numpy(true_map(kind))[None])
    made, blank = output.decode(activated_NKHW[0].numpy(), valid), output.blank((20, 20))
    assert made.dtype == np.uint8 and made.shape == blank.shape
    np.testing.assert_array_equal(made[..., ~valid], blank[..., ~valid])
    np.testing.assert_array_equal(made[..., valid], true_map(kind)[..., valid])
    _, known = output.encode(torch.from_numpy(made)[None])
    np.testing.assert_array_equal(known[0, 0].numpy().astype(bool), valid)


@pytest.mark.parametrize(("kind", "output"), EVERY.items())
def test_the_truth_of_a_target_is_the_map_it_should_become(kind: str, output: Output):
    known = np.random.default_rng(2).random((20, 20)) < 0.5
    truth = output.truth(target_of(kind), known)
    np.testing.assert_array_equal(truth[..., known], true_map(kind)[..., known])
    np.testing.assert_array_equal(truth[..., ~known], output.blank((20, 20))[..., ~known])
    assert output.count(truth).sum() == known.sum()
    assert not output.count(output.blank((5, 5))).any()


@pytest.mark.parametrize("output", EVERY.values())
def test_scores_are_activated_to_what_can_be_decoded(output: Output):
    scores_NKHW = torch.randn(2, output.channels, 6, 6, generator=torch.Generator().manual_seed(0)) * 5
    activated_NKHW = output.activate(scores_NKHW)
    assert activated_NKHW.shape == scores_NKHW.shape
    assert activated_NKHW.min() >= (0 if output.kind == "classes" else -1) and activated_NKHW.max() <= 1
    if output.kind == "classes":
        torch.testing.assert_close(activated_NKHW.sum(1), torch.ones(2, 6, 6))


@pytest.mark.parametrize("output", EVERY.values())
def test_an_output_comes_back_from_json(output: Output):
    assert output_from_json(json.loads(json.dumps(output.to_json()))) == output


def test_the_most_probable_class_is_the_map():
    ids = landscape(0, 20)
    scores = np.random.default_rng(0).uniform(0, 0.3, (3, 20, 20)).astype(np.float32)
    np.put_along_axis(scores, ids[None].astype(int), 0.4, axis=0)
    made = Classes(LEGEND).decode(scores, np.ones((20, 20), bool))
    np.testing.assert_array_equal(made, ids)


@given(st.integers(0, 255))
def test_each_byte_of_a_colour_comes_back(byte):
    truth = torch.full((1, 4, 1, 1), byte, dtype=torch.uint8)
    truth[:, 3] = 255
    activated, _ = Picture().encode(truth)
    assert (Picture().decode(activated[0].numpy(), np.ones((1, 1), bool))[:3] == byte).all()


def test_colours_beyond_their_range_are_cut_off():
    wild = np.array([-3.0, 0.0, 7.0], np.float32).reshape(3, 1, 1)
    assert Picture().decode(wild, np.ones((1, 1), bool)).ravel().tolist() == [0, 128, 255, 255]


def test_ids_without_a_label_are_of_no_class():
    shown, known = Classes(LEGEND).encode(torch.full((1, 2, 2), IGNORED, dtype=torch.uint8))
    assert not shown.any() and not known.any()
