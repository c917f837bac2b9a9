"""Numbers and words that cannot be meant: nodata that nobody declared, scores of NaN, misspelt words of options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import synthetic
from models import PLAIN, colour_model
from sat2map.domain import Domain
from sat2map.errors import BadOption
from sat2map.inputs import fit_inputs
from sat2map.legend import IGNORED
from sat2map.mapmodel import Architecture, MapModel
from sat2map.options import CriticOptions, EvaluateOptions, PredictOptions, ReadOptions, RuntimeOptions, TrainOptions
from sat2map.outputs import Classes, Picture
from sat2map.predictor import Predictor, predictors
from sat2map.runtimes import Computed
from sat2map.scenes import Scene, array_scene, open_scene
from sat2map.tiling import Tiling, Window, whole

ODD = (-3.4e38, 3.4e38, 1.7e308, 1e31, np.inf, -np.inf, np.nan)


def hdf5(folder: Path, pixels: np.ndarray) -> Scene:
    with h5py.File(folder / "a.h5", "w") as file:
        file["image"] = pixels
    return open_scene(folder / "a.h5")


READERS: dict[str, Callable[[Path, np.ndarray], Scene]] = {
    "array": lambda _, pixels: array_scene(pixels),
    "tif": lambda folder, pixels: open_scene(synthetic.save(folder / "a.tif", pixels)),
    "masked tif": lambda folder, pixels: open_scene(synthetic.save(folder / "a.tif", pixels, nodata=-9999)),
    "hdf5": hdf5,
}


# Pixels


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_beyond_measure_are_not_valid(tmp_path, reader, dtype):
    pixels = np.random.default_rng(0).normal(0, 1e6, (3, 8, 9)).astype(dtype)
    with np.errstate(over="ignore"):
        pixels[1, 0, : len(ODD)] = np.array(ODD).astype(dtype)
    pixels[2, 1, :2] = 1e29, -1e29
    valid = np.ones((8, 9), bool)
    valid[0, : len(ODD)] = False
    read = READERS[reader](tmp_path, pixels).read()
    np.testing.assert_array_equal(read.valid, valid)
    np.testing.assert_array_equal(read.pixels[:, valid], pixels[:, valid])


def test_half_floats_are_measured(tmp_path):
    pixels = np.float16([[[1, 65504, np.nan]]])
    assert array_scene(pixels).read().valid.tolist() == [[True, True, False]]


@pytest.mark.parametrize(("odd", "dtype"), [(-3.4e38, "float32"), (1.7e308, "float64")])
def test_undeclared_nodata_is_neither_learnt_from_nor_mapped(tmp_path, odd, dtype):
    ids = synthetic.landscape(0, 40)
    pixels = synthetic.seen(ids).astype(dtype)
    pixels[0, 5, 7] = odd
    scene = replace(array_scene(pixels), bands=("red", "green", "blue"))
    fitted = fit_inputs([(scene, whole(scene.shape))], (0, 1, 2))
    np.testing.assert_allclose(fitted.mean, pixels[:, scene.valid].mean(axis=1))
    options = RuntimeOptions(runtime="openvino", precision="fp32")
    made = predictors(colour_model(tmp_path), options)(scene).block(scene, whole(scene.shape)).pixels
    assert made[5, 7] == IGNORED
    assert (made == ids).sum() > 0.99 * ids.size


# Scores


@dataclass(frozen=True)
class Failing:
    """A network with scores of NaN around the pixels of value 9, as far as one pixel to all sides."""

    batch: int = 1
    ahead: int = 1
    description: str = "failing"

    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        nines = np.pad(pixels_NCHW[:, 0] == 9, ((0, 0), (1, 1), (1, 1)))
        scores = np.full((len(nines), 3, *valid_NHW.shape[1:]), 0.2, np.float32)
        scores[:, 1] = 0.6
        for row in range(3):
            for col in range(3):
                failed = nines[:, row : row + valid_NHW.shape[1], col : col + valid_NHW.shape[2]]
                scores[np.broadcast_to(failed[:, None], scores.shape)] = np.nan
        return lambda: Computed(scores, scores.mean(axis=(1, 2, 3))[:, None])


class Near(Domain):
    """Knows windows of scores that are numbers."""

    def strangeness(self, inner_ND: np.ndarray) -> np.ndarray:
        return inner_ND[:, 0]


@pytest.mark.parametrize("output", [Classes(synthetic.LEGEND), Picture()])
def test_scores_of_nan_are_no_data(output):
    pixels = np.zeros((30, 30), np.uint8)
    pixels[10, 20] = 9
    scene = array_scene(pixels)
    model = MapModel(PLAIN, output, Architecture("custom"), Tiling(16, 4), domain=Near((), (), (), ()))
    of_classes = isinstance(output, Classes)
    keep = ("probabilities", "scores", "confidence", "entropy", "novelty") if of_classes else ()
    predictor = Predictor(model, Tiling(16, 4), Failing(), keep=keep, abstain=0.5 if of_classes else None)
    failed = np.zeros((30, 30), bool)
    failed[9:12, 19:22] = True
    made = list(predictor.strips(scene, whole(scene.shape)))
    drawn = np.concatenate([strip.pixels for strip in made], axis=-2)
    np.testing.assert_array_equal(drawn == IGNORED if of_classes else drawn[-1] == 0, failed)
    for name in keep:
        layer = np.concatenate([strip.layers[name] for strip in made], axis=-2)[0]
        np.testing.assert_array_equal(np.isnan(layer) if name == "probabilities" else layer == IGNORED, failed)
    assert any(Window(10, 20, 1, 1).intersect(part).height for strip in made for part in strip.strange)


# Words


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        (PredictOptions, {"engine": "dask"}, "--engine is 'dask'; it must be one of: local, ray"),
        (PredictOptions, {"resample": "modle"}, "--resample is 'modle'; it must be one of: no, model, scene"),
        (PredictOptions, {"uncertainty": "entropie"}, "--uncertainty is 'entropie'; it must be one of: entropy, mar"),
        (PredictOptions, {"uncertainty": ("margin", "x")}, "--uncertainty is 'x'"),
        (PredictOptions, {"uncertainty": None}, "--uncertainty is None"),
        (PredictOptions, {"engine": ("ray",)}, r"--engine is \('ray',\)"),
        (PredictOptions, {"tta": None}, "--tta is None; it must be one of: none, flips, d4"),
        (EvaluateOptions, {"runtime": "onnx"}, "--runtime is 'onnx'; it must be one of: auto, openvino, torch"),
        (EvaluateOptions, {"split": "tests"}, "--split is 'tests'; it must be one of: test, val, train, all"),
        (TrainOptions, {"split": "test"}, "--split is 'test'; it must be one of: auto, groups, blocks"),
        (TrainOptions, {"class_weights": True}, "--class-weights is True; it must be one of: none, balanced"),
        (TrainOptions, {"optimizer": "adamx"}, "--optimizer is 'adamx'; it must be one of: adamw, adam, gan-adam"),
        (CriticOptions, {"critic_levels": 5}, "--critic-levels is 5; it must be one of: 3, 4"),
    ],
)
def test_words_that_there_are_not_are_refused(kind, words, told):
    with pytest.raises(BadOption, match=told):
        kind(**words)


def test_one_word_may_come_where_several_may():
    assert PredictOptions(uncertainty="entropy").uncertainty == ("entropy",)
    assert ReadOptions(ignore="void").ignore == ("void",)
    made = TrainOptions(val="a", test=0.2, bands=["red"], schedule=None)
    assert (made.val, made.test, made.bands, made.schedule) == (("a",), ("0.2",), ["red"], None)


def test_every_part_of_the_options_of_a_command_is_checked():
    for words in ({"line_width": 0}, {"block": 0}, {"epochs": 0}, {"critic_lr": 0}):
        with pytest.raises(BadOption, match="must be above 0"):
            TrainOptions(**words)
    for words in ({"resize": 0}, {"window": 0}):
        with pytest.raises(BadOption, match="must be above 0"):
            EvaluateOptions(**words)
