"""A model on disk is data alone, comes back as it was, and says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from models import colour_model, unet_model
from sat2map.errors import ModelError
from sat2map.mapmodel import FORMAT, MapModel, load_model
from sat2map.options import TrainOptions
from sat2map.runs import begin_run


@pytest.fixture
def model(tmp_path: Path) -> MapModel:
    return colour_model(tmp_path / "run" / "model", provenance={"epoch": 3, "options": {"loss": "dice"}})


def change(model: MapModel, **facts: object) -> None:
    path = model.folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_a_model_comes_back_as_it_was(model):
    assert load_model(model.folder) == model
    assert load_model(str(model.folder.parent)) == model
    assert load_model(model.folder).provenance == model.provenance


def test_a_model_may_be_moved(model, tmp_path):
    model.folder.rename(tmp_path / "copied")
    moved = load_model(tmp_path / "copied")
    assert moved.graph == tmp_path / "copied" / "graph.xml"
    assert moved.graph.exists()


def test_nothing_in_a_model_is_code(tmp_path):
    model = unet_model(tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["graph.bin", "graph.xml", "model.json", "weights.safetensors"]
    with safe_open(model.weights, "numpy") as weights:
        assert "head.weight" in " ".join(weights.keys())
    json.loads((tmp_path / "model.json").read_text())
    assert model.graph.read_text().startswith("<?xml")


def test_a_model_of_the_future_is_refused(model):
    change(model, format=FORMAT + 1)
    with pytest.raises(ModelError, match=r"newer sat2map. Update with"):
        load_model(model.folder)


@pytest.mark.parametrize(
    "facts",
    [
        {"format": "one"},
        {"inputs": None},
        {"inputs": {"bands": ["red"]}},
        {"inputs": []},
        {"output": {"kind": "classes"}},
        {"output": {"kind": "classes", "legend": {"classes": [{"name": "a", "colour": "reddish", "value": 0}]}}},
        {"output": None},
        {"architecture": {"layers": 3}},
        {"architecture": None},
        {"tiling": {"size": 4, "overlap": 3}},
        {"tiling": 512},
    ],
    ids=repr,
)
def test_damaged_facts_are_told(model, facts):
    change(model, **facts)
    with pytest.raises(ModelError, match=r"model.json is damaged .* Train again, or copy the model anew."):
        load_model(model.folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe\x00"])
def test_a_damaged_file_is_told(model, content):
    (model.folder / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"model.json is damaged"):
        load_model(model.folder)


def test_an_unfinished_run_is_told(tmp_path):
    run = begin_run(tmp_path / "run", "city", TrainOptions())
    run.last.parent.mkdir()
    with pytest.raises(ModelError, match=r"is not finished. Go on with .* --resume"):
        load_model(run.path)


def test_a_folder_that_is_no_model_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"no such folder. Name a run"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"no model.json. Name a run"):
        load_model(tmp_path)
