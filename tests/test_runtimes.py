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
from sat2map import runtimes
from sat2map.errors import MissingExtra, ModelError
from sat2map.mapmodel import Architecture, MapModel
from sat2map.runtimes import RUNTIMES, open_runtime
from sat2map.tiling import Tiling

every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)


@pytest.fixture
def model(tmp_path: Path) -> MapModel:
    return unet_model(tmp_path / "model")


def inputs(count: int = 2, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (count, 3, size, size)).astype(np.float32)


@every_runtime
def test_scores_are_probabilities(model, runtime):
    opened = open_runtime(model, batch=2, size=32, runtime=runtime, precision="fp32")
    scores = opened(inputs())
    assert (scores.shape, scores.dtype) == ((2, 3, 32, 32), np.float32)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert scores.std() > 0.001
    assert "fp32" in opened.description


@pytest.mark.parametrize("batch", [1, 3])
def test_runtimes_agree(model, batch):
    made = [open_runtime(model, batch=batch, size=32, runtime=r, precision="fp32")(inputs(batch)) for r in RUNTIMES]
    for other in made[1:]:
        np.testing.assert_allclose(other, made[0], atol=1e-4)


@every_runtime
def test_a_window_does_not_depend_on_its_company(model, runtime):
    opened = open_runtime(model, batch=2, size=32, runtime=runtime, precision="fp32")
    batch = inputs()
    alone = np.stack([batch[0], np.zeros_like(batch[1])])
    np.testing.assert_array_equal(opened(batch)[0].copy(), opened(alone)[0])


@every_runtime
def test_bf16_is_near(model, runtime):
    made = [open_runtime(model, batch=2, size=32, runtime=runtime, precision=p)(inputs()) for p in ("fp32", "bf16")]
    np.testing.assert_allclose(made[1], made[0], atol=0.05)


def test_torch_takes_windows_of_other_sizes(model):
    opened = open_runtime(model, batch=1, size=48, runtime="torch", precision="fp32")
    assert opened(inputs(1, 48)).shape == (1, 3, 48, 48)


@pytest.mark.parametrize("size", [48, 64])
def test_a_graph_is_not_run_on_windows_of_other_sizes(model, size):
    """Its padding is that of its own size: at 48 pixels it would give scores, and wrong ones."""
    with pytest.raises(ModelError) as caught:
        open_runtime(model, batch=1, size=size, runtime="openvino")
    told = f"The model's graph was made for windows of 32 pixels, not of {size}. "
    assert str(caught.value) == told + "Leave out --window, or take --runtime torch."


@pytest.mark.parametrize("damage", [b"", b"<?xml version='1.0'?><net", b"no graph at all"])
def test_a_damaged_graph_is_told(model, damage):
    model.graph.write_bytes(damage)
    with pytest.raises(ModelError, match=r"graph.xml does not run: .* copy the model anew"):
        open_runtime(model, batch=1, size=32, runtime="openvino")


def test_a_graph_that_was_cut_off_is_told(model):
    data = model.graph.with_suffix(".bin")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"graph.xml"):
        open_runtime(model, batch=1, size=32, runtime="openvino")


@pytest.mark.parametrize("damage", [b"", b"no weights at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_weights_are_told(model, damage):
    model.weights.write_bytes(damage)
    with pytest.raises(ModelError, match=r"weights.safetensors does not fit the network small-unet: "):
        open_runtime(model, batch=1, size=32, runtime="torch")


def test_weights_of_another_network_are_told(model):
    weights = load_file(model.weights)
    save_file({k: np.zeros((1, *v.shape), v.dtype) for k, v in weights.items()}, model.weights)
    with pytest.raises(ModelError, match=r"does not fit the network small-unet"):
        open_runtime(model, batch=1, size=32, runtime="torch")


@every_runtime
def test_a_model_without_what_the_runtime_needs_is_told(model, runtime):
    needed = model.graph if runtime == "openvino" else model.weights
    needed.unlink()
    with pytest.raises(ModelError, match=rf"no {needed.name}, which --runtime {runtime} needs"):
        open_runtime(model, batch=1, size=32, runtime=runtime)


def test_without_a_graph_torch_is_taken(model, monkeypatch):
    monkeypatch.setattr(runtimes, "_has_gpu", lambda: False)
    assert open_runtime(model, batch=1, size=32).description.startswith("OpenVINO")
    model.graph.unlink()
    assert open_runtime(model, batch=1, size=32).description.startswith("PyTorch")


def test_a_network_that_was_an_object_has_its_graph_alone(model):
    model = replace(model, architecture=Architecture("custom"))
    with pytest.raises(ModelError, match="was passed as an object, so only its graph is known"):
        open_runtime(model, batch=1, size=32, runtime="torch")


def test_torch_that_is_not_installed_is_told(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"runtime torch needs .* pip install 'sat2map\[train\]'"):
        open_runtime(model, batch=1, size=32, runtime="torch")


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
    shown = (colours - np.reshape(model.inputs.mean, (3, 1, 1))) / np.reshape(model.inputs.std, (3, 1, 1))
    windows = np.repeat(shown, 3, axis=3).astype(np.float32)
    model = replace(model, tiling=Tiling(3, 1))
    scores = open_runtime(model, batch=1, size=3, runtime="openvino", precision="fp32")(windows)
    np.testing.assert_array_equal(scores.argmax(axis=1)[0], [[0] * 3, [1] * 3, [2] * 3])
