"""What goes wrong in the midst of a training, or cannot be learnt from, ends in a sentence; what need not, goes on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch.nn.functional import cross_entropy

import synthetic
from sat2map import train
from sat2map.errors import BadOption, SourceError, TrainingFailed
from sat2map.learning.checking import check_plan
from sat2map.learning.fitting import plan_run
from sat2map.learning.indicators import indicators
from sat2map.learning.judges import PictureJudge
from sat2map.learning.plan import Plan
from sat2map.learning.recipe import choose_recipe
from sat2map.learning.trainer import _mean
from sat2map.learning.validation import Validator
from sat2map.options import TrainOptions
from sat2map.runs import RunFolder, resume_run

pytestmark = pytest.mark.usefixtures("without_graph")

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=64)


def plan_of(source: Path, path: Path, **words: object) -> Plan:
    return plan_run(source, RunFolder(path), TrainOptions(**TINY | words))


# --- sources ----------------------------------------------------------------------------------------------------------


def test_one_class_is_not_trained_on(tmp_path: Path) -> None:
    for i in range(3):
        truth = (synthetic.landscape(i, 64) == 2).astype(np.uint8)
        synthetic.save(tmp_path / "s" / "images" / f"{i}.tif", synthetic.seen(truth))
        synthetic.save(tmp_path / "s" / "masks" / f"{i}.tif", truth[None], nodata=0)
    with pytest.raises(SourceError, match=r"hold class 1 only, so there is nothing to tell apart"):
        train(tmp_path / "s", tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


# --- losses -----------------------------------------------------------------------------------------------------------


def test_a_validation_loss_that_is_no_number_ends_in_a_sentence(tmp_path: Path, folder: Path) -> None:
    def loss(scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return scores.mean() if scores.requires_grad else scores.mean() * math.nan

    with pytest.raises(TrainingFailed, match=r"no longer a number in epoch 1\. Try a smaller --lr"):
        train(folder, tmp_path / "run", epochs=1, loss=loss, **TINY)
    assert not RunFolder(tmp_path / "run").best.exists()


def test_validation_ground_without_a_label_has_no_loss(tmp_path: Path) -> None:
    source = synthetic.rgb_folder(tmp_path / "s", count=9, size=64, masks="numbers")
    synthetic.save(source / "place 2" / "masks" / "part_005.png", np.full((1, 64, 64), 255, np.uint8))

    def loss(scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return cross_entropy(scores, truth.long(), ignore_index=255)  # NaN where there is no label

    run = train(source, tmp_path / "run", epochs=1, loss=loss, val="place 2", test="place 3", **TINY)
    assert math.isfinite(RunFolder(run).rows()[0]["val_loss"])


# --- figures of pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["pan", "deeplabv3+"])
def test_networks_that_pool_to_one_pixel_have_indicators(tmp_path: Path, picture_folder: Path, network: str) -> None:
    plan = plan_of(picture_folder, tmp_path / "run", network=network, encoder="resnet18", width=None)
    built = plan.build_network().train()
    figures = indicators(built, plan)
    assert built.training and all(0 <= figure < 255 for figure in figures.values())
    assert indicators(built.eval(), plan)["tile_mismatch"] == figures["tile_mismatch"]


# --- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "there"), [("cuda", 1), ("mps", 1)])
def test_more_devices_than_there_are_are_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, there: int
) -> None:
    plan = plan_of(folder, tmp_path / "run")
    monkeypatch.setattr(f"torch.{'cuda' if kind == 'cuda' else 'backends.mps'}.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    with pytest.raises(BadOption, match=f"--devices is 2, but this machine has {there} of the kind {kind}"):
        check_plan(replace(plan, options=replace(plan.options, device=kind, devices=2)))


class WithoutDouble(torch.Tensor):
    """A tensor on a device without float64."""

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    def double(self) -> torch.Tensor:
        raise TypeError("float64 is not known here")


def on_device(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_subclass(WithoutDouble)


def test_figures_are_summed_where_there_is_float64(tmp_path: Path, folder: Path) -> None:
    plan = plan_of(folder, tmp_path / "run")
    validator = Validator(Fabric(accelerator="cpu"), plan.samples, plan.validation, size=64, batch=2)
    network = plan.build_network().eval()
    expected = validator(network, plan.build_loss()).row
    there = validator(lambda x_NCHW: on_device(network(x_NCHW)), plan.build_loss()).row
    assert there == expected
    assert _mean([on_device(torch.tensor(1.0)), on_device(torch.tensor(2.0))]) == 1.5
    drawn_NKHW, truth = torch.zeros(1, 3, 2, 2), torch.full((1, 4, 2, 2), 255, dtype=torch.uint8)
    assert torch.equal(
        PictureJudge().sums(on_device(drawn_NKHW), on_device(truth)), PictureJudge().sums(drawn_NKHW, truth)
    )


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_by_another_clock_has_the_recipe_it_began_with(tmp_path: Path, folder: Path) -> None:
    train(folder, tmp_path / "run", epochs=1, **TINY)
    assert json.loads((tmp_path / "run" / "call.json").read_text())["options"]["coarse_first"] == 0
    _, options = resume_run(tmp_path / "run", str(folder), TrainOptions(resume=True, minutes=1))
    assert choose_recipe(options, "classes").coarse_first == 0
