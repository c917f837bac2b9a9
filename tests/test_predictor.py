"""The map is the same however the work was cut, and holds each valid pixel once, at its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synthetic
from models import PLAIN, colour_model, unet_model
from sat2map.calibration import UNCERTAINTIES, Calibration
from sat2map.domain import Domain
from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.mapmodel import Architecture, MapModel
from sat2map.options import RuntimeOptions
from sat2map.outputs import Classes
from sat2map.predictor import QUARTER_TURNS, Predictor, choose_tiling, predictors
from sat2map.runtimes import Computed
from sat2map.scenes import Scene, array_scene
from sat2map.tiling import Tiling, Window, grid, ramp, whole

MODEL = MapModel(PLAIN, Classes(synthetic.LEGEND), Architecture("custom"), Tiling(16, 4))


@dataclass(frozen=True)
class Exact:
    """The value of a pixel of the first band is its class, for certain."""

    batch: int = 1
    ahead: int = 1
    description: str = "exact"

    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        ids = np.where(valid_NHW, pixels_NCHW[:, 0], 0).astype(int)
        scores = np.moveaxis(np.eye(3, dtype=np.float32)[ids], -1, 1).copy()
        return lambda: Computed(scores)


@dataclass(frozen=True)
class Opinionated(Exact):
    """Scores that depend on the place of a pixel in its window, and on all of the window: windows disagree."""

    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        x_NCHW = np.where(valid_NHW[:, None], pixels_NCHW, 0).astype(np.float32)
        noise = np.random.default_rng(0).random((3, *x_NCHW.shape[2:]), np.float32)
        weight = 1 + x_NCHW.sum(axis=(1, 2, 3), keepdims=True) % 7
        scores = noise * weight + x_NCHW * noise[::-1]
        scores /= scores.sum(axis=1, keepdims=True)
        return lambda: Computed(scores)


def fabricated(shape: tuple[int, int], share: float = 1.0, seed: int = 0) -> Scene:
    rng = np.random.default_rng(seed)
    return array_scene(rng.integers(0, 3, shape).astype(np.uint8), rng.random(shape) < share)


def mapped(predictor: Predictor, scene: Scene, block: int) -> np.ndarray:
    """Return the map that is made of blocks, the last one first."""
    ids = np.full(scene.shape, 77, np.uint8)
    for window in list(grid(whole(scene.shape), block))[::-1]:
        ids[window.slices] = predictor.block(scene, window).pixels
    return ids


def weights(tiling: Tiling, length: int, i: int) -> np.ndarray:
    """Return the weight of window `i` of a side on each pixel of the scene, written down by the definition."""
    axis = tiling.axis(length)
    made = np.zeros(length, np.float32)
    made[slice(*axis.reach(i))] = 1
    if i > 0:
        made[axis.seams[i - 1] : axis.seams[i - 1] + axis.width] = ramp(axis.width)
    if i < len(axis.seams):
        made[axis.seams[i] : axis.seams[i] + axis.width] = ramp(axis.width)[::-1]
    return made


def reference(predictor: Predictor, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and the map by the definition: all windows of the lattice, one by one, over the whole scene."""
    (height, width), tiling = scene.shape, predictor.tiling
    total = np.zeros((3, height, width), np.float32)
    for i, row in enumerate(tiling.axis(height).starts):
        for j, col in enumerate(tiling.axis(width).starts):
            read = scene.read(Window(row, col, tiling.size, tiling.size))
            if read.valid.any():
                scores = predictor.runtime.start(read.pixels[None], read.valid[None])().activated[0]
                canvas = np.zeros((3, row + tiling.size, col + tiling.size), np.float32)
                canvas[:, row:, col:] = scores
                canvas = np.pad(canvas, ((0, 0), (0, height), (0, width)))[:, :height, :width]
                total += canvas * weights(tiling, height, i)[:, None] * weights(tiling, width, j)
    return total, np.where(scene.read().valid, total.argmax(axis=0), IGNORED)


shapes = st.tuples(st.integers(1, 50), st.integers(1, 50))


@settings(max_examples=120)
@given(
    shape=shapes,
    share=st.sampled_from([0.0, 0.02, 0.9, 1.0]),
    overlap=st.integers(0, 8),
    block=st.integers(1, 60),
    batch=st.integers(1, 5),
    ahead=st.integers(0, 3),
)
def test_the_map_does_not_depend_on_blocks_and_batches(shape, share, overlap, block, batch, ahead):
    scene = fabricated(shape, share)
    predictor = Predictor(MODEL, Tiling(16, overlap), Opinionated(batch, ahead))
    made = mapped(predictor, scene, max(block, max(shape) // 8))
    np.testing.assert_array_equal(made, mapped(predictor, scene, 100))
    total, expected = reference(predictor, scene)
    best = np.sort(total, axis=0)
    unsure = best[-1] - best[-2] < 1e-5  # sums in another order may fall on the other side
    np.testing.assert_array_equal(made[~unsure], expected[~unsure])


@settings(max_examples=600)
@given(
    shape=st.one_of(shapes, st.sampled_from([(1, 1), (1, 97), (97, 1), (16, 16), (17, 31), (3, 100)])),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    bands=st.integers(1, 14),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    overlap=st.integers(0, 8),
    block=st.integers(5, 120),
    seed=st.integers(0, 9),
)
def test_each_valid_pixel_is_mapped_and_no_other(shape, dtype, bands, share, overlap, block, seed):
    rng = np.random.default_rng(seed)
    ids, valid = rng.integers(0, 3, shape), rng.random(shape) < share
    pixels = np.repeat(ids[None], bands, axis=0).astype(dtype)
    if dtype == "float32":
        pixels[:, ~valid] = np.nan
    scene = array_scene(pixels, valid)
    inputs = replace(PLAIN, bands=scene.bands, indexes=tuple(range(bands)), of=bands, dtype=dtype)
    predictor = Predictor(replace(MODEL, inputs=inputs), Tiling(16, overlap), Exact())
    np.testing.assert_array_equal(mapped(predictor, scene, block), np.where(valid, ids, IGNORED))


def test_windows_without_data_are_not_computed():
    calls = []

    @dataclass(frozen=True)
    class Counting(Exact):
        def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
            calls.append(pixels_NCHW.shape)
            return super().start(pixels_NCHW, valid_NHW)

    valid = np.zeros((160, 160), bool)
    valid[:10, :10] = True
    scene = array_scene(np.ones((160, 160), np.uint8), valid)
    mapped(Predictor(MODEL, Tiling(16, 4), Counting()), scene, 80)
    assert calls == [(1, 1, 16, 16)]


@pytest.mark.parametrize("tta", QUARTER_TURNS)
def test_turning_a_scene_turns_its_map_if_windows_are_turned(tta):
    """Averaged over all positions a map no longer depends on how the scene lies."""
    scene = fabricated((40, 40))
    predictor = Predictor(MODEL, Tiling(16, 4), Opinionated(), tta=tta, keep=("scores",))
    made = next(predictor.strips(scene, whole(scene.shape)))
    assert made.layers["scores"].max() <= 254

    def scores(pixels: np.ndarray) -> np.ndarray:
        strips = predictor.strips(array_scene(pixels), whole(scene.shape))
        return np.concatenate([s.layers["scores"] for s in strips], axis=1).astype(int)

    pixels = scene.read().pixels[0]
    plain, mirrored, turned = scores(pixels), scores(pixels[:, ::-1]), scores(np.rot90(pixels))
    assert (abs(mirrored[..., ::-1] - plain).max() <= 1) == (tta != "none")
    assert (abs(np.rot90(turned, -1, axes=(1, 2)) - plain).max() <= 1) == (tta == "d4")


def test_probabilities_are_bytes_and_without_data_255():
    scene = fabricated((40, 30), 0.5)
    predictor = Predictor(MODEL, Tiling(16, 4), Opinionated(), keep=("scores",))
    strips = list(predictor.strips(scene, whole(scene.shape)))
    scores = np.concatenate([s.layers["scores"] for s in strips], axis=1)
    total, _ = reference(predictor, scene)
    valid = scene.read().valid
    assert (scores[:, ~valid] == 255).all()
    np.testing.assert_allclose(scores[:, valid], total[:, valid] * 254, atol=0.51)


TEMPERED = Calibration.of_temperature(2.5, 3)
VECTOR = Calibration((0.5, 1.0, 2.0), (0.0, 1.0, -1.0))


@pytest.mark.parametrize("calibration", [None, TEMPERED, VECTOR])
def test_layers_are_of_calibrated_probabilities(calibration):
    """Raw ones stay as they are; the map changes with them only if the most probable class can."""
    scene = fabricated((40, 30), 0.8)
    keep = ("probabilities", "scores", "confidence", *UNCERTAINTIES)
    predictor = Predictor(replace(MODEL, calibration=calibration), Tiling(16, 4), Opinionated(), keep=keep)
    made, valid = predictor.block(scene, whole(scene.shape)), scene.read().valid
    total, ids = reference(predictor, scene)
    corrected = calibration.apply(total) if calibration else total
    np.testing.assert_allclose(made.layers["probabilities"][:, valid], total[:, valid], atol=1e-5)
    assert np.isnan(made.layers["probabilities"][:, ~valid]).all()
    np.testing.assert_allclose(made.layers["scores"][:, valid], corrected[:, valid] * 254, atol=0.51)
    np.testing.assert_allclose(made.layers["confidence"][0, valid], corrected.max(axis=0)[valid] * 254, atol=0.51)
    for name, measure in UNCERTAINTIES.items():
        np.testing.assert_allclose(made.layers[name][0, valid], measure(corrected)[valid] * 254, atol=0.51)
    expected = np.where(valid, corrected.argmax(axis=0), IGNORED) if calibration is VECTOR else ids
    np.testing.assert_array_equal(made.pixels, expected)
    assert (made.pixels != ids).any() == (calibration is VECTOR)


@pytest.mark.parametrize("calibration", [None, TEMPERED])
def test_pixels_that_are_not_sure_enough_have_a_class_of_their_own(calibration):
    scene = fabricated((40, 30), 0.8)
    model = replace(MODEL, calibration=calibration)
    made, plain = (
        Predictor(model, Tiling(16, 4), Opinionated(), abstain=p).block(scene, whole(scene.shape)).pixels
        for p in (0.5, None)
    )
    total, _ = reference(Predictor(model, Tiling(16, 4), Opinionated()), scene)
    confidence = (calibration.apply(total) if calibration else total).max(axis=0)
    unsure = scene.read().valid & (confidence < 0.5)
    assert 20 < unsure.sum() < 1000
    np.testing.assert_array_equal(made, np.where(unsure, 3, plain))


@dataclass(frozen=True)
class Telling(Exact):
    """The mean of a window is its inner feature."""

    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        made = super().start(pixels_NCHW, valid_NHW)().activated
        return lambda: Computed(made, pixels_NCHW.mean(axis=(2, 3)))


class Narrow(Domain):
    """Knows windows of a mean of up to 1."""

    def strangeness(self, inner_ND: np.ndarray) -> np.ndarray:
        return inner_ND[:, 0]


def test_windows_unlike_all_training_are_told():
    """The lower half of the scene is of higher values; below it there is no data, which is not strange."""
    pixels, valid = np.zeros((48, 48), np.uint8), np.ones((48, 48), bool)
    pixels[24:], valid[36:] = 2, False
    model = replace(MODEL, domain=Narrow((), (), (), ()))
    for batch in (1, 3):
        predictor = Predictor(model, Tiling(12, 0), Telling(batch), keep=("novelty",))
        made = list(predictor.strips(array_scene(pixels, valid), whole((48, 48))))
        assert [w for strip in made for w in strip.strange] == [Window(24, col, 12, 12) for col in range(0, 48, 12)]
        novelty = np.concatenate([strip.layers["novelty"][0] for strip in made])
        assert [novelty[0, 0], novelty[30, 0], novelty[40, 0]] == [0, round(2 / 3 * 254), 255]


@pytest.mark.parametrize(("rows", "judged"), [(1, False), (2, True)])
def test_windows_that_see_slivers_of_the_scene_alone_are_not_judged(rows, judged):
    """Of 12 rows of a window one is less than a tenth."""
    valid = np.zeros((12, 24), bool)
    valid[:rows] = True
    predictor = Predictor(replace(MODEL, domain=Narrow((), (), (), ())), Tiling(12, 0), Telling(1), keep=("novelty",))
    (made,) = predictor.strips(array_scene(np.full((12, 24), 2, np.uint8), valid), whole((12, 24)))
    assert made.strange == ((Window(0, 0, 12, 12), Window(0, 12, 12, 12)) if judged else ())
    assert made.layers["novelty"][0, 0].any() == judged and (made.layers["novelty"][0, rows:] == IGNORED).all()


def test_ground_without_data_is_not_strange_though_its_window_sees_some():
    """The second of three windows has a third of valid pixels, all of them in the cell of the third one."""
    pixels, valid = np.full((12, 28), 2, np.uint8), np.zeros((12, 28), bool)
    valid[:, 16:] = True
    predictor = Predictor(replace(MODEL, domain=Narrow((), (), (), ())), Tiling(12, 4), Telling(1))
    (made,) = predictor.strips(array_scene(pixels, valid), whole((12, 28)))
    assert all(valid[part.slices].any() for part in made.strange)
    assert made.strange == (Window(0, 16, 12, 12),)


@dataclass(frozen=True)
class Reusing(Exact):
    """The first pixel is the inner feature; results lie in as few places as a runtime may have."""

    places: Iterator[np.ndarray] = field(default_factory=lambda: cycle(np.zeros((3, 1, 1), np.float32)))

    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        inner_ND = next(self.places)
        inner_ND[:] = pixels_NCHW[:, 0, 0, :1]
        return lambda: Computed(np.full((1, 3, *valid_NHW.shape[1:]), 1 / 3, np.float32), inner_ND)


def test_what_is_seen_in_all_positions_is_averaged_where_results_are_written_over():
    pixels = np.zeros((12, 12), np.uint8)
    pixels[-1, -1] = 8  # the first pixel in two of eight positions
    model = replace(MODEL, domain=Narrow((), (), (), ()))
    predictor = Predictor(model, Tiling(12, 0), Reusing(), tta="d4", keep=("novelty",))
    (made,) = predictor.strips(array_scene(pixels), whole((12, 12)))
    assert (made.layers["novelty"] == round(2 / 3 * 254)).all()


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_real_networks_make_the_same_map_of_any_blocks(tmp_path, runtime, dtype):
    model = unet_model(tmp_path / "model")
    rng = np.random.default_rng(0)
    scene = array_scene(rng.integers(0, 256, (3, 150, 130)).astype(dtype), rng.random((150, 130)) < 0.97)
    scene = replace(scene, bands=model.inputs.bands)
    predictor = predictors(model, RuntimeOptions(runtime=runtime, window=32, precision="fp32"))(scene)
    expected = mapped(predictor, scene, 200)
    assert len(np.unique(expected)) > 2
    for block in (31, 64, 101):
        np.testing.assert_array_equal(mapped(predictor, scene, block), expected)


def test_one_opening_serves_scenes_alike(tmp_path):
    opened = predictors(colour_model(tmp_path), RuntimeOptions())
    one, other = (replace(fabricated((9, 9), seed=s), bands=("red", "green", "blue")) for s in (0, 1))
    assert opened(one) is opened(other)
    assert opened(one) is not opened(replace(one, dtype="uint16"))


@pytest.mark.parametrize(
    ("unit", "shape", "words", "expected"),
    [
        (32, (500, 900), {}, (512, 64)),
        (None, (9000, 9000), {}, (512, 64)),
        (32, (9000, 9000), {"overlap": 32}, (1184, 32)),
        (32, (9000, 9000), {"window": 96}, (96, 48)),
        (48, (300, 4000), {}, (768, 64)),
    ],
)
def test_windows_fit_model_options_and_scene(unit, shape, words, expected):
    model = replace(MODEL, tiling=Tiling(512, 64), unit=unit)
    tiling = choose_tiling(model, RuntimeOptions(**words), shape)
    assert (tiling.size, tiling.overlap) == expected


@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.integers(0, 5))
def test_the_most_probable_class_is_that_of_numpy(classes, height, width, seed):
    colours = ((i, i, i) for i in range(classes))
    legend = Legend(tuple(MapClass(str(i), colour, i) for i, colour in enumerate(colours)))
    scores = np.random.default_rng(seed).integers(0, 4, (classes, height, width)).astype(np.float32)
    ids = Classes(legend).decode(scores, np.ones((height, width), bool))
    np.testing.assert_array_equal(ids, scores.argmax(axis=0))
