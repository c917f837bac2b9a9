from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from safetensors.torch import load_file

import synthetic
from sat2map import load_model, train
from sat2map.errors import BadOption, OutputError, TrainingFailed, UserError
from sat2map.learning import fitting
from sat2map.learning.journal import Journal
from sat2map.learning.pacing import Pace
from sat2map.runs import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32", "lr": 0.01}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "weights.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows(run: Path) -> list[dict]:
    """Return the metrics without what the clock says."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder(run).rows()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=64)


@pytest.fixture(scope="module")
def run(tmp_path_factory, folder) -> Path:
    """A run of four epochs that was not interrupted."""
    return train(folder, tmp_path_factory.mktemp("runs") / "run", epochs=4, save_every=2, **TINY)


@pytest.fixture(scope="module")
def short(tmp_path_factory, folder) -> Path:
    """A run of two epochs without any other word."""
    return train(folder, tmp_path_factory.mktemp("runs") / "short", epochs=2, **TINY)


def test_a_run_folder_holds_everything_about_the_run(run, folder):
    names = {str(f.relative_to(run)) for f in run.rglob("*") if f.is_file() and "tensorboard" not in f.parts}
    checkpoints = {f"checkpoints/{name}.pt" for name in ("best", "last", "epoch_0002", "epoch_0004")}
    model = {f"model/{name}" for name in ("model.json", "weights.safetensors", "graph.xml", "graph.bin")}
    told = {"call.json", "environment.json", "split.json", "metrics.jsonl", "curves.png", "network.txt", "network.png"}
    told |= {"leaks.json"}
    assert names == checkpoints | model | told | {f"samples/epoch_{i:04d}.png" for i in range(1, 5)}
    assert len(list((run / "tensorboard").glob("events*"))) == 1
    assert json.loads((run / "call.json").read_text())["source"] == str(folder)
    assert "SmallUnet" in (run / "network.txt").read_text()


def test_a_row_of_metrics_for_each_epoch(run):
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3, 4]
    assert {"step", "lr", "train_loss", "val_loss", "val_accuracy", "val_mean_iou"} < rows(run)[0].keys()
    assert rows(run)[-1]["lr"] < 0.2 * TINY["lr"]


def test_the_model_is_the_best_epoch(run):
    best = max(rows(run), key=lambda row: row["val_mean_iou"])
    model = load_model(run)
    assert model.provenance["epoch"] == best["epoch"]
    assert model.provenance["val_mean_iou"] == pytest.approx(best["val_mean_iou"])
    assert model.output.legend.names == synthetic.LEGEND.names


@pytest.mark.usefixtures("without_graph")
def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path, folder, run):
    train(folder, tmp_path / "again", epochs=4, **TINY)
    train(folder, tmp_path / "other", epochs=1, seed=1, **TINY)
    assert same(run, tmp_path / "again")
    assert not same(run, tmp_path / "other")


@pytest.mark.usefixtures("without_graph")
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, folder, run, monkeypatch):
    write = Journal.write

    def stop(self: Journal, row: dict) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt
        write(self, row)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "write", stop)
        train(folder, tmp_path / "run", epochs=4, **TINY)
    assert len(rows(tmp_path / "run")) == 2
    assert not (tmp_path / "run" / "model").exists()
    train(folder, tmp_path / "run", resume=True)
    assert same(run, tmp_path / "run")
    assert rows(tmp_path / "run") == rows(run)


@pytest.mark.usefixtures("without_graph")
def test_an_epoch_that_was_told_but_not_kept_is_told_once(tmp_path, folder, run, monkeypatch):
    keep = Journal.keep

    def stop(self: Journal, name: str, state: dict) -> None:
        if name == "last" and state["progress"]["epoch"] == 2:
            raise KeyboardInterrupt
        keep(self, name, state)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "keep", stop)
        train(folder, tmp_path / "run", epochs=4, **TINY)
    assert len(rows(tmp_path / "run")) == 2
    train(folder, tmp_path / "run", resume=True)
    assert rows(tmp_path / "run") == rows(run)


@pytest.mark.usefixtures("without_graph")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill")
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, folder, run):
    words = {**TINY, "epochs": 4, "save_every": 2}
    code = f"import sat2map; sat2map.train({str(folder)!r}, {str(tmp_path / 'run')!r}, **{words!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 120
        while not (tmp_path / "run" / "checkpoints" / "epoch_0002.pt").exists():
            assert process.poll() is None or (tmp_path / "run" / "model").exists()
            assert time.monotonic() < ends
            time.sleep(0.005)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "run" / "model" / "model.json").exists()
    train(folder, tmp_path / "run", resume=True)
    assert same(run, tmp_path / "run")
    assert rows(tmp_path / "run") == rows(run)


@pytest.mark.usefixtures("without_graph")
def test_a_finished_run_can_be_prolonged(tmp_path, folder):
    train(folder, tmp_path / "run", epochs=1, **TINY)
    train(folder, tmp_path / "run", epochs=2, resume=True)
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1, 2]


@pytest.mark.usefixtures("without_graph")
def test_it_learns(tmp_path, folder):
    told = rows(train(folder, tmp_path / "run", epochs=25, val="place 2", test="place 3", **TINY | {"batch": 4}))
    assert max(row["val_mean_iou"] for row in told) > 0.6  # all land is 0.25
    assert told[-1]["train_loss"] < 0.7 * told[0]["train_loss"]


@pytest.mark.usefixtures("without_graph")
def test_minutes_end_in_time_with_the_learning_rate_at_its_end(tmp_path, folder, monkeypatch):
    ticks = itertools.count()  # in place of a clock, however busy this machine is
    monkeypatch.setattr(Pace, "elapsed", property(lambda _: 0.05 * next(ticks)))
    told = RunFolder(train(folder, tmp_path / "run", minutes=0.05, **TINY)).rows()
    assert told[-1]["seconds"] == pytest.approx(0.05 * 60, abs=0.5)
    assert told[-1]["lr"] < 0.2 * TINY["lr"]
    assert told[-1]["val_mean_iou"] is not None


@pytest.mark.usefixtures("without_graph")
def test_what_was_trained_last_is_kept_though_time_runs_out_in_between(tmp_path, folder, monkeypatch):
    clock = {"now": 1.0}
    monkeypatch.setattr(Pace, "elapsed", property(lambda _: clock["now"]))
    monkeypatch.setattr("sat2map.learning.trainer.ASIDE", -1.0)  # no time to validate before the end

    def written(journal, row):
        clock["now"] = 60.0
        write(journal, row)

    write = Journal.write
    monkeypatch.setattr(Journal, "write", written)
    told = RunFolder(train(folder, tmp_path / "run", minutes=1.0, **TINY)).rows()
    assert "val_mean_iou" not in told[0]
    assert len(told) == 2
    assert told[-1]["val_mean_iou"] is not None


@pytest.mark.usefixtures("without_graph")
def test_patience_ends_a_run_that_gains_nothing(tmp_path, folder):
    made = train(folder, tmp_path / "run", epochs=30, patience=2, **TINY | {"lr": 1e-12, "schedule": "constant"})
    assert 3 <= len(rows(made)) < 30


@pytest.mark.usefixtures("without_graph")
@pytest.mark.parametrize(
    ("words", "rates"),
    [
        ({"schedule": "constant"}, [0.0001, 0.01]),
        ({"schedule": "plateau"}, [0.01, 0.01]),
        ({"optimizer": "sgd"}, None),
        ({"class_weights": "balanced"}, None),
        ({"balance": True}, None),
        ({"patches": "grid"}, None),
        ({"augment": False}, None),
        ({"average": False}, None),
        ({"rotate": 20, "zoom": 0.2, "shift": 0.1}, None),
    ],
)
def test_every_word_has_its_effect(tmp_path, folder, short, words, rates):
    told = rows(train(folder, tmp_path / "run", epochs=2, **TINY | words))
    assert told[1]["val_loss"] != rows(short)[1]["val_loss"]
    if rates:
        assert [row["lr"] for row in told] == rates


def test_a_loss_that_leaves_the_numbers_ends_in_a_sentence(tmp_path, folder):
    with pytest.raises(TrainingFailed, match=r"no longer a number in epoch 1\. Try a smaller --lr"):
        train(folder, tmp_path / "run", epochs=2, loss=lambda scores, ids: scores.sum() * float("nan"), **TINY)


@pytest.mark.usefixtures("without_graph")
def test_a_network_and_a_loss_of_ones_own(tmp_path, folder):
    network = torch.nn.Conv2d(3, 3, 3, padding=1)
    before = network.weight.detach().clone()
    words = {k: v for k, v in TINY.items() if k not in ("network", "width")}

    def loss(scores: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(scores, ids.long(), ignore_index=255)

    made = train(folder, tmp_path / "run", epochs=2, network=network, loss=loss, **words)
    model = load_model(made)
    assert model.architecture.network == model.provenance["options"]["network"] == "custom"
    assert model.provenance["options"]["loss"] == "custom"
    assert weights(made)["weight"].shape == (3, 3, 3, 3)
    assert torch.equal(network.weight, before), "the object that was passed stays as it was"
    with pytest.raises(BadOption, match="began with a loss of your own"):
        train(folder, made, epochs=3, network=network, resume=True)
    assert len(rows(train(folder, made, epochs=3, network=network, loss=loss, resume=True))) == 3


def test_fourteen_bands_of_hdf5(tmp_path):
    source = synthetic.landslide4sense(tmp_path / "source", count=10, size=32)
    model = load_model(train(source, tmp_path / "run", epochs=1, **TINY))
    assert len(model.inputs.bands) == 14


@pytest.mark.usefixtures("without_graph")
def test_eight_bands_with_a_few_labels(tmp_path):
    for i in range(2):
        ids = synthetic.landscape(i, 96)
        place = {"transform": Affine(0.5, 0, synthetic.CORNER[0] + 48 * i, 0, -0.5, synthetic.CORNER[1])}
        synthetic.geotiff(tmp_path / f"source/images/{i}.tif", ids, bands=8, dtype="int16", **place)
        sparse = np.where(np.random.default_rng(i).random(ids.shape) < 0.02, ids + 1, 0).astype(np.uint8)
        synthetic.save(tmp_path / f"source/masks/{i}.tif", sparse[None], nodata=0)
    made = train(tmp_path / "source", tmp_path / "run", epochs=1, **TINY)
    assert len(load_model(made).inputs.bands) == 8
    assert all(np.isfinite(row["val_loss"]) for row in rows(made))


@pytest.mark.parametrize("network", ["deeplabv3+", "pan", "upernet"])
def test_one_patch_at_a_time_is_refused_where_nothing_is_left_to_normalise(tmp_path, folder, network):
    words = {"encoder": "resnet18", "size": 32, "epochs": 1, "batch": 1}
    with pytest.raises(BadOption, match=r"cannot learn from one patch at a time.*--batch of 2"):
        train(folder, tmp_path / "run", network=network, **words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (1, r"hold a batch of 8 patches of 10000000 .* a smaller --batch or"),
        (2, r"hold a batch of 16 .*, --members or"),
    ],
)
def test_patches_beyond_the_memory_are_refused(tmp_path, folder, members, told):
    with pytest.raises(BadOption, match=told):
        train(folder, tmp_path / "run", **TINY | {"size": 10_000_000, "members": members})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        ({"batch": 3, "devices": 2}, BadOption, "cannot be shared by 2 devices"),
        ({"val": 0.5, "test": 0.5}, BadOption, "leave nothing to train on"),
        ({"loss": "dise"}, ValueError, "Did you mean 'dice'"),
        ({"output": "picture", "loss": "dice"}, ValueError, "There is no loss 'dice'"),
        ({"contrast": 1}, BadOption, "from 0 to less than 1"),
    ],
)
def test_a_mistake_leaves_nothing_behind_and_an_older_run_as_it_was(tmp_path, folder, words, kind, told):
    with pytest.raises(kind, match=told):
        train(folder, tmp_path / "new", **TINY | words)
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "call.json").write_text("{}")
    with pytest.raises(kind, match=told):
        train(folder, tmp_path / "old", overwrite=True, **TINY | words)
    assert (tmp_path / "old" / "call.json").read_text() == "{}"


@pytest.mark.parametrize(
    "words",
    [
        {"network": "unett"},
        {"network": "unet", "encoder": "resnet43"},
        {"loss": "dise"},
        {"loss": "dice +"},
        {"tune": ("network=small-unet,unett",)},
        {"tune": ("loss=dice,dise",)},
    ],
)
def test_a_wrong_name_is_told_before_the_source_is_opened(tmp_path, monkeypatch, words):
    monkeypatch.setattr(fitting, "open_source", lambda *_: pytest.fail("the source was opened"))
    with pytest.raises(UserError, match=r"unet|resnet|dice"):
        train(tmp_path / "source", tmp_path / "run", **words)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_without_permission(tmp_path, folder):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        train(folder, tmp_path / "run", **TINY)
