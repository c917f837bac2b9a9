"""The same probabilities from the same model, whatever runs it; and prediction without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import synthetic
from models import colour_model, colour_run, unet_model
from packed import tapped_model
from sat2map import runtimes
from sat2map.errors import BadOption, MissingExtra, ModelError
from sat2map.mapmodel import Architecture, MapModel
from sat2map.runtimes import RUNTIMES, Computed, Runtime, Shape
from sat2map.tiling import Tiling

every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


@pytest.fixture
def model(tmp_path: Path) -> MapModel:
    return unet_model(tmp_path / "model")


def opened(model: MapModel, batch: int = 1, size: int = 32, dtype: str = "uint8", **words: str) -> Runtime:
    return runtimes.open_runtime(model, Shape(size, dtype, batch), **words)


def pixels(count: int = 2, size: int = 32, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size)).astype(dtype)


def compute(runtime: Runtime, batch: np.ndarray, valid: np.ndarray | None = None) -> Computed:
    return runtime.start(batch, np.ones((len(batch), *batch.shape[2:]), bool) if valid is None else valid)()


def run(runtime: Runtime, batch: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    return compute(runtime, batch, valid).activated.copy()


@every_runtime
def test_scores_are_probabilities(model, runtime):
    made = opened(model, 2, runtime=runtime, precision="fp32")
    scores = run(made, pixels())
    assert (scores.shape, scores.dtype) == ((2, 3, 32, 32), np.float32)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert scores.std() > 0.001
    assert "fp32" in made.description


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_runtimes_agree(model, batch, dtype):
    given = pixels(batch, dtype=dtype)
    valid = np.random.default_rng(1).random((batch, 32, 32)) < 0.9
    made = [run(opened(model, batch, dtype=dtype, runtime=r, precision="fp32"), given, valid) for r in RUNTIMES]
    for other in made[1:]:
        np.testing.assert_allclose(other, made[0], atol=1e-4)


@every_runtime
def test_a_window_does_not_depend_on_its_company(model, runtime):
    made = opened(model, 2, runtime=runtime, precision="fp32")
    batch = pixels()
    alone = np.stack([batch[0], np.zeros_like(batch[1])])
    np.testing.assert_array_equal(run(made, batch)[0], run(made, alone)[0])


@every_runtime
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_is_not_valid_does_not_matter(model, runtime, dtype):
    made = opened(model, dtype=dtype, runtime=runtime)
    valid = np.random.default_rng(1).random((1, 32, 32)) < 0.5
    batch = pixels(1, dtype=dtype)
    other = np.where(valid[:, None], batch, np.array(np.nan if dtype == "float32" else 7).astype(dtype))
    np.testing.assert_array_equal(run(made, batch, valid), run(made, other, valid))


@every_runtime
def test_results_stand_while_others_are_started(model, runtime):
    made = opened(model, runtime=runtime, precision="fp32")
    batches = [pixels(1) + np.uint8(i) for i in range(made.ahead + 2)]
    alone = [run(made, batch) for batch in batches]
    waiting = [made.start(batch, np.ones((1, 32, 32), bool)) for batch in batches]
    for result, expected in zip(waiting, alone, strict=True):
        np.testing.assert_array_equal(result().activated, expected)


@every_runtime
def test_bf16_is_near(model, runtime):
    made = [run(opened(model, 2, runtime=runtime, precision=p), pixels()) for p in ("fp32", "bf16")]
    np.testing.assert_allclose(made[1], made[0], atol=0.05)


@every_runtime
def test_older_models_have_no_inner_features(model, runtime):
    assert compute(opened(model, runtime=runtime), pixels(1)).inner is None


@pytest.fixture(scope="module")
def tapped(tmp_path_factory) -> MapModel:
    """The same U-Net with a second output."""
    return tapped_model(tmp_path_factory.mktemp("tapped"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_runtimes_agree_on_inner_features(tapped, dtype):
    batch, valid = pixels(2, dtype=dtype), np.random.default_rng(1).random((2, 32, 32)) < 0.9
    given = [compute(opened(tapped, 2, dtype=dtype, runtime=r, precision="fp32"), batch, valid) for r in RUNTIMES]
    for computed in given:
        assert (computed.inner.shape, computed.inner.dtype) == ((2, 64), np.float32)
        np.testing.assert_allclose(computed.inner, given[0].inner, rtol=1e-3, atol=1e-6)
    assert np.abs(given[0].inner[0] - given[0].inner[1]).max() > 0


@every_runtime
def test_the_map_is_the_same_with_inner_features(model, tapped, runtime):
    both = [run(opened(m, 2, runtime=runtime, precision="fp32"), pixels()) for m in (model, tapped)]
    np.testing.assert_array_equal(*both)


@every_runtime
def test_inner_features_are_those_of_the_valid_ground(tapped, runtime):
    """A window that reaches beyond the scene is no other ground for that."""
    made = opened(tapped, size=128, runtime=runtime, precision="fp32")
    shown = np.full((1, 3, 128, 128), 200, np.uint8)
    valid = np.zeros((1, 128, 128), bool)
    valid[:, :, :64] = True
    full, half, none = (
        compute(made, shown, v).inner.copy() for v in (np.ones_like(valid), valid, np.zeros_like(valid))
    )
    assert np.abs(half - full).max() < 0.5 * np.abs(none - full).max()


def test_a_tap_that_is_not_there_is_told(tapped):
    model = replace(tapped, domain=replace(tapped.domain, tap="no.such"))
    with pytest.raises(ModelError, match=r"does not fit the network small-unet: .*no"):
        opened(model, runtime="torch")


def test_torch_takes_windows_of_other_sizes(model):
    made = opened(model, size=48, runtime="torch", precision="fp32")
    assert run(made, pixels(1, 48)).shape == (1, 3, 48, 48)


def test_a_graph_takes_windows_that_are_multiples(model):
    made = [run(opened(model, size=96, runtime=r, precision="fp32"), pixels(1, 96)) for r in RUNTIMES]
    np.testing.assert_allclose(made[0], made[1], atol=1e-4)


@pytest.mark.parametrize(("unit", "told"), [(None, "of 32 pixels"), (32, "that are multiples of 32 pixels")])
def test_a_graph_is_not_run_on_windows_of_other_sizes(model, unit, told):
    """Its padding is that of its own size: at 48 pixels it would give scores, and wrong ones."""
    with pytest.raises(ModelError) as caught:
        opened(replace(model, unit=unit), size=48, runtime="openvino")
    start = f"The model's graph takes windows {told}, not of 48. "
    assert str(caught.value) == start + "Give another --window, or take --runtime torch."


@every_runtime
def test_a_changed_byte_is_told(model, runtime):
    data = bytearray(model.weights.read_bytes())
    data[-9] ^= 1
    model.weights.write_bytes(data)
    with pytest.raises(ModelError, match=r"weights.safetensors was changed or damaged since the model was saved"):
        opened(model, runtime=runtime)


def test_int8_is_asked_for_where_it_is_not(model):
    with pytest.raises(ModelError, match=r"has no int8 graph. Make one with `sat2map export RUN`"):
        opened(model, precision="int8")
    with pytest.raises(BadOption, match=r"torch does not compute in int8. Take --runtime openvino"):
        opened(model, precision="int8", runtime="torch")


@pytest.mark.parametrize("damage", [b"", b"<?xml version='1.0'?><net", b"no graph at all"])
def test_a_damaged_graph_is_told(model, damage):
    model.graph.write_bytes(damage)
    model.save()  # as if it had been saved so
    with pytest.raises(ModelError, match=r"graph.xml does not run: .* copy the model anew"):
        opened(model, runtime="openvino")


def test_a_graph_that_was_cut_off_is_told(model):
    data = model.graph.with_suffix(".bin")
    data.write_bytes(data.read_bytes()[:1000])
    model.save()
    with pytest.raises(ModelError, match=r"graph.xml"):
        opened(model, runtime="openvino")


@pytest.mark.parametrize("damage", [b"", b"no weights at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_weights_are_told(model, damage):
    model.weights.write_bytes(damage)
    model.save()
    with pytest.raises(ModelError, match=r"weights.safetensors does not fit the network small-unet: "):
        opened(model, runtime="torch")


def test_weights_of_another_network_are_told(model):
    weights = load_file(model.weights)
    save_file({k: np.zeros((1, *v.shape), v.dtype) for k, v in weights.items()}, model.weights)
    model.save()
    with pytest.raises(ModelError, match=r"does not fit the network small-unet"):
        opened(model, runtime="torch")


@every_runtime
def test_a_model_without_what_the_runtime_needs_is_told(model, runtime):
    needed = model.graph if runtime == "openvino" else model.weights
    needed.unlink()
    with pytest.raises(ModelError, match=rf"no {needed.name}, which --runtime {runtime} needs"):
        opened(model, runtime=runtime)


def test_without_a_graph_torch_is_taken(model, monkeypatch):
    monkeypatch.setattr(runtimes, "_has_gpu", lambda: False)
    assert opened(model).description.startswith("OpenVINO")
    model.graph.unlink()
    assert opened(model).description.startswith("PyTorch")


def test_a_network_that_was_an_object_has_its_graph_alone(model):
    model = replace(model, architecture=Architecture("custom"))
    with pytest.raises(ModelError, match="was passed as an object, so only its graph is known"):
        opened(model, runtime="torch")


def test_torch_that_is_not_installed_is_told(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"runtime torch needs .* pip install 'sat2map\[train\]'"):
        opened(model, runtime="torch")


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "lightning_fabric", "segmentation_models_pytorch", "timm", "tensorboard"):
    sys.modules[name] = None
import sat2map
source, model, scene, out = sys.argv[1:]
print(sat2map.inspect(source).trainable)
print(sat2map.predict(scene, out + "/map.tif", model=model, picture=out + "/map.png").runtime)
sat2map.polygonize(out + "/map.tif", out + "/map.geojson")
print(sat2map.evaluate(source, out + "/report", model=model).scores.accuracy > 0.9)
"""


def test_maps_are_made_and_scored_without_torch(tmp_path, rgb_folder):
    run = colour_run(tmp_path / "run", rgb_folder)
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(0))
    words = [str(v) for v in (rgb_folder, run.path, scene, tmp_path)]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert (told[0], told[2]) == ("True", "True")
    assert told[1].startswith("OpenVINO")
    assert {f.name for f in tmp_path.iterdir()} >= {"map.tif", "map.png", "map.geojson", "report"}


def test_the_colour_model_knows_its_colours(tmp_path):
    """The model that other tests count on."""
    model = colour_model(tmp_path)
    colours = synthetic.SEEN[:3].T[None, :, :, None]
    windows = np.repeat(colours, 3, axis=3).astype(np.uint8)
    model = replace(model, tiling=Tiling(3, 1))
    scores = run(opened(model, size=3, runtime="openvino", precision="fp32"), windows)
    np.testing.assert_array_equal(scores.argmax(axis=1)[0], [[0] * 3, [1] * 3, [2] * 3])
