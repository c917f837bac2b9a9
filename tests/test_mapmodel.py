"""A model on disk is data alone, comes back as it was, and says what is wrong with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from models import colour_model, unet_model
from packed import tapped_model
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


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> MapModel:
    return tapped_model(tmp_path_factory.mktemp("packed"))


@pytest.fixture
def tapped(packed, tmp_path) -> MapModel:
    return replace(packed, folder=Path(shutil.copytree(packed.folder, tmp_path / "model")))


def test_a_domain_comes_back_with_its_model(tapped):
    loaded = load_model(tapped.folder)
    assert loaded == tapped
    inner = np.random.default_rng(0).random((3, 64), np.float32)
    np.testing.assert_array_equal(loaded.domain.strangeness(inner), tapped.domain.strangeness(inner))


def test_a_model_of_before_has_no_domain(tapped):
    facts = json.loads((tapped.folder / "model.json").read_text())
    del facts["domain"]
    (tapped.folder / "model.json").write_text(json.dumps(facts))
    assert load_model(tapped.folder).domain is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantiles", [[0.0] * 101]),
        ("quantiles", 7),
        ("quantiles", [None] * 3),
        ("crs", ["the moon"]),
        ("crs", [[]]),
        ("looks", ["a"] * 7),
        ("looks", [1e999] * 7),
        ("spread", [-1.0] * 7),
        ("tap", ["network"]),
        ("familiar", "yes"),
    ],
    ids=repr,
)
def test_a_damaged_domain_is_told(tapped, name, value):
    domain = json.loads((tapped.folder / "model.json").read_text())["domain"]
    change(tapped, domain={**domain, name: value})
    with pytest.raises(ModelError, match=r"model.json is damaged"):
        load_model(tapped.folder)


@pytest.mark.parametrize("value", [3, [], "all", {}, {"quantiles": []}], ids=repr)
def test_what_is_no_domain_is_told(tapped, value):
    change(tapped, domain=value)
    with pytest.raises(ModelError, match=r"model.json is damaged"):
        load_model(tapped.folder)


@pytest.mark.parametrize("damage", [b"", b"no arrays", None])
def test_damaged_inner_features_are_told(tapped, damage):
    tapped.inner.unlink() if damage is None else tapped.inner.write_bytes(damage)
    with pytest.raises(ModelError, match=r"damaged .*domain.safetensors"):
        load_model(tapped.folder)


def test_changed_inner_features_are_told(tapped):
    data = bytearray(tapped.inner.read_bytes())
    data[-9] ^= 1
    tapped.inner.write_bytes(data)
    with pytest.raises(ModelError, match=r"domain.safetensors was changed or damaged"):
        load_model(tapped.folder).check()
