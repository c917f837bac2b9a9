"""Several processes train one model: those that are started here, and those that torchrun has started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import synthetic
from sat2map import load_model, train
from sat2map.errors import BadOption
from sat2map.learning.processes import Crew, crew_of, is_first
from sat2map.options import TrainOptions
from sat2map.runs import RunFolder

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32", "epochs": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=64)


@pytest.fixture(scope="module")
def spawned(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A run of two processes that were started here."""
    return train(folder, tmp_path_factory.mktemp("runs") / "spawned", devices=2, **TINY)


def under_torchrun(monkeypatch: pytest.MonkeyPatch, rank: int, here: int, everywhere: int) -> None:
    told = {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "LOCAL_WORLD_SIZE": here, "WORLD_SIZE": everywhere}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))


def test_a_crew_is_known_before_it_starts(monkeypatch) -> None:
    monkeypatch.setenv("RANK", "3")  # of something else
    assert crew_of(TrainOptions(devices=2)) == Crew(first=True, devices=2, machines=1, started=False)
    assert is_first()
    under_torchrun(monkeypatch, rank=3, here=2, everywhere=6)
    crew = crew_of(TrainOptions(devices=2))
    assert crew == Crew(first=False, devices=2, machines=3, started=True) and crew.size == 6
    assert not is_first()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"devices": 1}, "torchrun started 2 processes on this machine, but --devices is 1. Make them equal"),
        ({"devices": 2, "tune": ("lr",)}, "A search by --tune starts its own processes. Leave out torchrun"),
    ],
)
def test_what_torchrun_does_not_fit_is_told(monkeypatch, words: dict, told: str) -> None:
    under_torchrun(monkeypatch, rank=0, here=2, everywhere=2)
    with pytest.raises(BadOption, match=told):
        crew_of(TrainOptions(**words))


def test_two_processes_train_one_model(spawned: Path) -> None:
    assert [row["epoch"] for row in RunFolder(spawned).rows()] == [1, 2]
    assert load_model(spawned).graph.exists()


def test_torchrun_trains_the_same_model_as_processes_started_here(tmp_path: Path, folder: Path, spawned: Path) -> None:
    words = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sat2map.cli"]
    done = subprocess.run(
        [*call, "train", str(folder), str(tmp_path / "launched"), "--devices", "2", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained 2 epochs") == 1
    one, other = (load_file(run / "model" / "weights.safetensors") for run in (spawned, tmp_path / "launched"))
    assert all(torch.equal(one[name], other[name]) for name in one)
