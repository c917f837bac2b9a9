"""What training leaves in the model of the ground it saw, and what maps make of it."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import sat2map
import synthetic
from models import colour_run
from sat2map.domain import Domain
from sat2map.errors import BadOption, SceneError
from sat2map.jobs import Job
from sat2map.learning import remembering
from sat2map.learning.fitting import plan_run
from sat2map.mapmodel import MapModel, load_model
from sat2map.networks import NETWORKS, build_network, stride_of
from sat2map.networks.tapping import Tapped, find_tap
from sat2map.options import PredictOptions, RuntimeOptions, TrainOptions
from sat2map.predictor import choose_tiling
from sat2map.runs import RunFolder
from sat2map.runtimes import Shape, open_runtime
from sat2map.scenes import array_scene
from sat2map.tiling import Window, whole

SMALL = {"network": "small-unet", "width": 4, "size": 32, "batch": 4, "lr": 1e-2, "precision": "fp32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory, rgb_folder) -> Path:
    return Path(sat2map.train(rgb_folder, tmp_path_factory.mktemp("domain") / "run", epochs=1, **SMALL))


@pytest.fixture(scope="module")
def model(run) -> MapModel:
    return load_model(run)


def darkened(path: Path, seed: int = 5) -> Path:
    return synthetic.save(path, (synthetic.seen(synthetic.landscape(seed, 200)) * 0.3).astype(np.uint8))


def test_a_model_knows_its_training_pixels(model):
    domain = model.domain
    assert isinstance(domain, Domain)
    assert len(domain.quantiles) == 3
    assert domain.crs == ("none",)
    median = np.array([band[50] for band in domain.quantiles])
    assert (np.abs(median - model.inputs.mean) < model.inputs.std).all()
    assert domain.tap == "network.down.4"
    assert domain.familiar.mean.shape == (64,)
    assert model.inner.exists()


def strangeness(model: MapModel, pixels: np.ndarray) -> float:
    size = model.tiling.size
    runtime = open_runtime(model, Shape(size, "uint8"), runtime="openvino", precision="fp32")
    computed = runtime.start(pixels[None, :, :size, :size], np.ones((1, size, size), bool))()
    return float(model.domain.strangeness(computed.inner)[0])


def test_other_ground_is_stranger(model):
    size = model.tiling.size
    alike = strangeness(model, synthetic.seen(synthetic.landscape(7, size)))
    other = strangeness(model, np.full((3, size, size), 255, np.uint8))
    assert other > max(alike, 1)


def test_scenes_that_differ_are_told(run, tmp_path, caplog):
    job = Job(str(darkened(tmp_path / "dark.tif")), str(run), PredictOptions())
    with caplog.at_level(logging.WARNING):
        job.check()
    assert "darker than in training: --match-histogram may help." in caplog.text


def test_a_matched_scene_is_the_same_for_every_worker(run, tmp_path):
    job = Job(str(darkened(tmp_path / "dark.tif")), str(run), PredictOptions(match_histogram=True))
    sent = pickle.loads(pickle.dumps(job))
    part = Window(30, 40, 50, 60)
    np.testing.assert_array_equal(job.scene.read(part).pixels, sent.scene.read().pixels[:, 30:80, 40:100])
    assert not [d for d in job.differences if d.kind == "brightness"]
    assert job.scene.read().pixels.mean() > job.original.read().pixels.mean() + 20
    assert job.facts() != Job(job.path, job.model_path, PredictOptions()).facts()


def test_a_model_of_before_cannot_match(tmp_path, rgb_folder):
    older = colour_run(tmp_path / "run", rgb_folder)
    job = Job(str(darkened(tmp_path / "dark.tif")), str(older.path), PredictOptions(match_histogram=True))
    with pytest.raises(BadOption, match=r"--match-histogram needs the distribution .* Train again, or leave it out"):
        _ = job.scene


def test_a_scene_without_data_cannot_be_matched(run, tmp_path):
    empty = synthetic.save(tmp_path / "empty.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    with pytest.raises(SceneError, match=r"--match-histogram finds no valid pixel in .*empty.tif"):
        _ = Job(str(empty), str(run), PredictOptions(match_histogram=True)).scene


TAPS = {"unet": 512, "small-unet": 64, "pix2pix-7": 32, "deeplabv3": 512, "pspnet": 512, "pan": 512}


@pytest.mark.parametrize("name", TAPS)
def test_networks_are_tapped_where_they_are_deep(name):
    entry = NETWORKS[name]
    words = {"encoder": "resnet18"} if entry.encoder else {"width": 4}
    network = build_network(name, bands=3, channels=2, **words).eval()
    tap = find_tap(network, 3, stride_of(name))
    x_NCHW = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        scores, inner = Tapped(network, tap)(x_NCHW)
        assert torch.equal(scores, network(x_NCHW))
    assert inner.shape == (2, TAPS[name])
    assert not network.get_submodule(tap)._forward_hooks


def test_a_network_that_takes_squares_alone_is_not_tapped():
    class Squares(torch.nn.Module):
        def forward(self, x_NCHW):
            if x_NCHW.shape[2] != x_NCHW.shape[3]:
                raise ValueError("squares only")
            return x_NCHW

    assert find_tap(Squares(), 3, 32) is None


def test_a_scene_is_not_strange_to_a_model_of_its_own_blocks(tmp_path):
    """Blocks are smaller than the windows of prediction: what lies around them belongs to what a window looks like."""
    ids = synthetic.landscape(0, 400)
    source = synthetic.geotiff(tmp_path / "source" / "images" / "a.tif", ids)
    synthetic.save(tmp_path / "source" / "masks" / "a.png", ids[None])
    synthetic.write_legend(tmp_path / "source" / "classes.json")
    run = sat2map.train(tmp_path / "source", tmp_path / "run", split="blocks", epochs=1, **SMALL)
    assert load_model(run).domain.familiar is not None
    assert sat2map.predict(source, tmp_path / "map.tif", model=run).strange == ()


def test_chips_of_one_scene_are_remembered_as_a_scene(tmp_path):
    """Windows are larger than chips: a window around a chip holds what its neighbours hold."""
    source = synthetic.geotiff_with_vectors(tmp_path, count=4, size=64)
    plan = plan_run(source, RunFolder(tmp_path / "run"), TrainOptions(**SMALL | {"size": 32}, epochs=1))
    images = [pair.image for pair in plan.samples.pairs.values()]
    grounds = dict(zip(plan.samples.pairs, remembering.lay_together(images), strict=True))
    seen = [raster for _, raster in remembering._windows(plan, grounds, "train", 128, 10)]
    alone = [image.read(Window(0, 0, 128, 128)) for image in images]
    assert max(raster.valid.mean() for raster in seen) == 2 * max(raster.valid.mean() for raster in alone)


def test_windows_are_remembered_in_the_sizes_by_which_scenes_are_mapped(model):
    small, large = (array_scene(np.zeros((3, side, side), np.uint8)) for side in (64, 4096))
    own = model.tiling.size
    assert remembering._sizes(model, {"a": (small, whole(small.shape))}) == {own: remembering.WINDOWS}
    sizes = remembering._sizes(model, {"a": (small, whole(small.shape)), "b": (large, whole(large.shape))})
    tiling = choose_tiling(model, RuntimeOptions(), large.shape)
    assert tiling.size > own and sizes == {own: remembering.WINDOWS, tiling.size: 1}
