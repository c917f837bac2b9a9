"""From pairs of pictures to a map picture: trained, gone on with, mapped, by way of the public functions."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from safetensors.torch import load_file

import synthetic
from sat2map import load_model, predict, train
from sat2map.errors import BadOption, ModelError, SourceError
from sat2map.learning.trainer import Trainer
from sat2map.legend import legend_of
from sat2map.networks.critics import PatchCritic
from sat2map.runs import RunFolder

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 4, "precision": "fp32", "lr": 0.01}
SMALL = partial(PatchCritic, width=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory, picture_folder) -> Path:
    """A run against a critic."""
    words = {
        "adversarial": 0.05,
        "save_every": 5,
        "sample_every": 4,
        "epochs": 10,
        "brightness": 0,
        "contrast": 0,
        "zoom": 0,
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sat2map.learning.plan.PatchCritic", SMALL)
        patched.setattr("sat2map.learning.journal.curves", lambda *_, **__: None)  # ten times would be most of the time
        return train(picture_folder, tmp_path_factory.mktemp("runs") / "run", **TINY | words)


@pytest.fixture(autouse=True)
def fast(without_pictures, monkeypatch) -> None:
    """Take a small critic, and draw no pictures but those of the run above."""
    monkeypatch.setattr("sat2map.learning.plan.PatchCritic", SMALL)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "weights.safetensors")


def test_a_run_draws_pictures_and_logs_both_players(run):
    rows = RunFolder(run).rows()
    assert {"train_loss", "train_adversarial", "train_critic", "val_l1", "val_psnr"} < rows[-1].keys()
    assert rows[-1]["val_l1"] < 0.6 * rows[0]["val_l1"]
    assert {f.name for f in (run / "checkpoints").iterdir()} >= {"epoch_0005.pt", "epoch_0010.pt"}
    assert [f.name for f in sorted((run / "samples").iterdir())] == ["epoch_0004.png", "epoch_0008.png"]
    sheet = np.asarray(Image.open(run / "samples" / "epoch_0008.png"))
    assert len(np.unique(sheet.reshape(-1, sheet.shape[-1]), axis=0)) > 100
    model = load_model(run)
    assert model.output.kind == "picture" and model.output.channels == 3
    assert 0 <= model.provenance["tile_mismatch"] < 255 and 0 <= model.provenance["train_eval_disparity"] < 255
    assert "PatchCritic" in (run / "critic.txt").read_text()
    assert (run / "network.png").exists() and (run / "critic.png").exists()


def test_a_map_picture_is_drawn(run, picture_folder, tmp_path):
    """The network has learnt the colours of the maps from those of the images."""
    ids = synthetic.landscape(99, 80)
    scene = synthetic.geotiff(tmp_path / "scene.tif", ids)
    with rasterio.open(scene, "r+") as file:
        file.write_mask(np.pad(np.full((80, 70), 255, np.uint8), ((0, 0), (0, 10))))
    made = predict(scene, tmp_path / "map.tif", model=run)
    assert made.counts == {"drawn": 80 * 70} and made.invalid == 800
    with rasterio.open(tmp_path / "map.tif") as drawn, rasterio.open(scene) as image:
        pixels = drawn.read()
        assert drawn.transform == image.transform and drawn.crs == image.crs
        assert [c.name for c in drawn.colorinterp] == ["red", "green", "blue", "alpha"]
    assert (pixels[3, :, :70] == 255).all() and not pixels[:, :, 70:].any()
    truth = np.moveaxis(synthetic.LEGEND.colourise(ids), -1, 0)
    wrong = np.abs(pixels[:3, :, :70].astype(int) - truth[:, :, :70]).mean()
    painted = np.abs(truth - truth.mean(axis=(1, 2), keepdims=True)).mean()
    assert wrong < 0.6 * painted


def test_a_map_picture_is_the_same_for_any_blocks_and_twice(run, tmp_path):
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(3, 150))
    maps = []
    for i, block in enumerate((None, None, 40)):
        predict(scene, tmp_path / f"{i}.tif", model=run, block=block, window=64, overlap=16)
        maps.append((tmp_path / f"{i}.tif").read_bytes())
    assert maps[0] == maps[1] == maps[2]


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_both_runtimes_draw_the_same(run, tmp_path, runtime):
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(3, 64))
    for name in ("openvino", runtime):
        predict(scene, tmp_path / f"{name}.png", model=run, runtime=name, precision="fp32", overwrite=True)
    one, other = (np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in ("openvino", runtime))
    assert np.abs(one - other).max() <= 1


@pytest.mark.usefixtures("without_graph")
@pytest.mark.parametrize("words", [{"adversarial": 1.0, "replay": 5}, {"adversarial": 1.0, "output": "classes"}, {}])
def test_a_run_goes_on_exactly(tmp_path, picture_folder, words, monkeypatch):
    """Stopped after the second of three epochs, with a replay of maps, for pictures and classes."""
    source = picture_folder if "output" not in words else synthetic.rgb_folder(tmp_path / "rgb", count=3, size=64)
    words = TINY | words | {"epochs": 3}
    whole = train(source, tmp_path / "whole", **words)
    finish = Trainer._close_epoch

    def stop(trainer: Trainer, *told: object) -> None:
        finish(trainer, *told)
        if trainer.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_close_epoch", stop)
        train(source, tmp_path / "stopped", **words)
    train(source, tmp_path / "stopped", **words, resume=True)
    one, other = weights(whole), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_processes_train_against_a_critic(tmp_path, picture_folder):
    run = train(picture_folder, tmp_path / "run", **TINY, adversarial=1.0, epochs=1, devices=2, device="cpu")
    assert np.isfinite([RunFolder(run).rows()[-1][name] for name in ("train_loss", "train_critic")]).all()


@pytest.mark.usefixtures("without_graph")
def test_a_critic_that_has_won_and_a_network_that_draws_the_same_are_told(tmp_path, picture_folder, caplog):
    grey = torch.nn.Conv2d(3, 3, 3, padding=1)
    torch.nn.init.zeros_(grey.weight)
    words = TINY | {"network": grey, "lr": 1e-9}
    with caplog.at_level(logging.WARNING, "sat2map"):
        train(picture_folder, tmp_path / "run", **words, adversarial=1.0, epochs=12, critic_lr=0.003)
    assert "The critic has won" in caplog.text
    assert "draws nearly the same everywhere" in caplog.text


@pytest.mark.usefixtures("without_graph")
def test_one_crop_of_each_picture_is_an_epoch(tmp_path, picture_folder):
    run = train(picture_folder, tmp_path / "run", **TINY | {"batch": 1}, patches="picture", resize=36, epochs=1)
    areas = json.loads((run / "split.json").read_text())["areas"]
    assert RunFolder(run).rows()[-1]["step"] == sum(area["part"] == "train" for area in areas)


@pytest.mark.usefixtures("without_graph")
def test_colours_of_a_picture_are_known_from_its_legend(tmp_path):
    source = synthetic.rgb_folder(tmp_path / "rgb", count=3, size=64)
    run = train(source, tmp_path / "run", **TINY, output="picture", epochs=1)
    assert load_model(run).output.legend.names == synthetic.LEGEND.names


def sparse(path: Path, rows: int) -> Path:
    """Write masks with two classes in turn on every so many rows, and a third in a few pixels."""
    for i in range(3):
        mask = np.full((64, 64), 255, np.uint8)
        mask[:: 2 * rows], mask[rows :: 2 * rows] = 1, 2
        mask[::16, ::16] = 3
        synthetic.save(path / "images" / f"{i}.png", synthetic.seen(synthetic.landscape(i, 64)))
        synthetic.save(path / "masks" / f"{i}.png", mask[None])
    synthetic.write_legend(path / "classes.json", legend_of(["one", "two", "three"], [1, 2, 3]))
    return path


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        ({"size": 16, "adversarial": 1.0, "critic_levels": 4}, BadOption, "cannot judge patches of 16 pixels"),
        ({"network": "unet++x"}, ValueError, "There is no network"),
        ({"loss": "dice"}, ValueError, "There is no loss 'dice'"),
        ({"network": torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.InstanceNorm2d(3))}, BadOption, "its own"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, picture_folder, words, kind, told):
    with pytest.raises(kind, match=told):
        train(picture_folder, tmp_path / "run", **TINY | words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows", "told"), [(4, "of the training ground has labels"), (1, r"too little of three \(\d+ pixels\)")]
)
def test_a_critic_of_sparse_labels_or_of_a_class_of_one_pixel_is_refused(tmp_path, rows, told):
    with pytest.raises(BadOption, match=told):
        train(sparse(tmp_path / "s", rows), tmp_path / "run", **TINY, adversarial=1.0)
    assert not (tmp_path / "run").exists()


def test_pictures_of_one_band_are_refused(tmp_path):
    for i in range(3):
        ids = synthetic.landscape(i, 64)
        synthetic.save(tmp_path / "s" / "images" / f"{i}.png", synthetic.seen(ids))
        synthetic.save(tmp_path / "s" / "masks" / f"{i}.png", ids[None].astype(np.uint8))
    with pytest.raises(SourceError, match="have one band, but a picture needs 8-bit red, green and blue"):
        train(tmp_path / "s", tmp_path / "run", **TINY, output="picture")


@pytest.mark.parametrize("name", ["polygons", "picture", "scores", "confidence"])
def test_what_a_picture_cannot_have_is_refused(run, tmp_path, name):
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(3, 64))
    suffix = {"polygons": ".gpkg", "picture": ".png"}.get(name, ".tif")
    with pytest.raises(BadOption, match=f"no --{name}"):
        predict(scene, tmp_path / "map.tif", model=run, **{name: tmp_path / f"more{suffix}"})
    assert not (tmp_path / "map.tif").exists()


def test_int8_is_for_classes(run):
    from sat2map import export

    with pytest.raises(ModelError, match="int8 is for class maps"):
        export(run)
