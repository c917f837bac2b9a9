"""Patches are shown at half their size first: images are averaged, labels never; an interruption changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

import synthetic
from sat2map import train
from sat2map.errors import BadOption
from sat2map.learning.coarse import halved
from sat2map.learning.journal import Journal
from sat2map.learning.objectives import Supervised
from sat2map.learning.recipe import HURRIED, choose_recipe
from sat2map.legend import IGNORED
from sat2map.options import TrainOptions

pytestmark = pytest.mark.usefixtures("without_graph")

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=64)


@given(height=st.integers(2, 9), width=st.integers(2, 9), seed=st.integers(0, 99))
def test_images_are_averaged_and_labels_are_never_mixed(height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    x_NCHW = torch.randn(2, 3, height, width)
    ids_NHW = torch.tensor([0, 7, IGNORED], dtype=torch.uint8)[torch.randint(3, (2, height, width))]
    coarse_NCHW, kept_NHW = halved(x_NCHW, ids_NHW)
    assert coarse_NCHW.shape == (2, 3, height // 2, width // 2) and kept_NHW.shape == (2, height // 2, width // 2)
    for row in range(height // 2):
        for col in range(width // 2):
            of = slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2)
            torch.testing.assert_close(coarse_NCHW[..., row, col], x_NCHW[..., *of].mean(dim=(2, 3)))
            assert (ids_NHW[:, *of] == kept_NHW[:, row, col, None, None]).any(dim=(1, 2)).all()


def test_pictures_are_halved_too() -> None:
    truth = torch.arange(4 * 6 * 6, dtype=torch.uint8).reshape(1, 4, 6, 6)
    assert torch.equal(halved(torch.zeros(1, 3, 6, 6), truth)[1], truth[..., ::2, ::2])


@pytest.mark.parametrize(
    ("words", "kind", "share"),
    [
        ({"minutes": 1}, "classes", HURRIED),
        ({"minutes": 1, "coarse_first": 0.2}, "classes", 0.2),
        ({"minutes": 1, "coarse_first": 0}, "classes", 0),
        ({"epochs": 1}, "classes", 0),
        ({"epochs": 1, "coarse_first": 0.2}, "classes", 0.2),
        ({"minutes": 1, "patience": 3}, "classes", 0),
        ({"minutes": 1, "schedule": "plateau"}, "classes", 0),
        ({"minutes": 1, "adversarial": 0.1}, "classes", 0),
        ({"minutes": 1}, "picture", 0),
    ],
)
def test_it_is_the_rule_only_in_a_race_against_the_clock(words: dict, kind: str, share: float) -> None:
    assert choose_recipe(TrainOptions(**words), kind).coarse_first == share


def test_steps_are_coarse_first_and_fine_afterwards_whatever_interrupts_them(tmp_path, folder, monkeypatch) -> None:
    sides, step, write = [], Supervised.step, Journal.write

    def watched(self, x_NCHW, truth):
        assert truth.shape[1:] == x_NCHW.shape[2:]
        sides.append(x_NCHW.shape[-1])
        return step(self, x_NCHW, truth)

    def stop(self, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        write(self, row)

    monkeypatch.setattr(Supervised, "step", watched)
    words = {**TINY, "epochs": 4, "coarse_first": 0.6}
    train(folder, tmp_path / "whole", **words)
    coarse = sides.count(16)
    assert sides == [16] * coarse + [32] * (len(sides) - coarse)
    assert coarse == pytest.approx(0.6 * len(sides), abs=1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "write", stop)
        train(folder, tmp_path / "cut", **words)
    train(folder, tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_network_that_takes_no_smaller_patches_is_told(tmp_path, folder) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 17), nn.Upsample((32, 32)), nn.Conv2d(8, 3, 1))
    with pytest.raises(BadOption, match=r"cannot take the patches of 16 pixels .*coarse-first 0"):
        train(folder, tmp_path / "run", network=network, size=32, epochs=1, coarse_first=0.5)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("share", [-0.1, 1, 2])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(BadOption, match=f"--coarse-first is {share}; it must be from 0 to less than 1"):
        TrainOptions(coarse_first=share)
