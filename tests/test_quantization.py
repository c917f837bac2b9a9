"""A graph in int8 is kept where it draws the same map, and predicts without torch like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import rasterio

import sat2map
import synthetic
from sat2map.errors import ModelError
from sat2map.learning import quantization
from sat2map.learning.packing import export_graph
from sat2map.learning.quantization import ATTEMPTS, LAST
from sat2map.mapmodel import Architecture, load_model
from sat2map.outputs import Classes
from sat2map.runtimes.torch import build


@pytest.fixture(scope="module")
def run(tmp_path_factory, rgb_folder):
    """A small network that has learnt something, in a run folder."""
    folder = tmp_path_factory.mktemp("int8") / "run"
    words = {"network": "small-unet", "width": 4, "size": 32, "batch": 4, "lr": 1e-2, "precision": "fp32"}
    return sat2map.train(rgb_folder, folder, epochs=6, **words)


def test_int8_is_kept_and_maps_nearly_alike(tmp_path, run):
    made = sat2map.export(run)
    model = load_model(run)
    assert made.kept and made.agreement == model.int8_agreement >= 0.995
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(5, 200))
    maps = []
    for precision in ("fp32", "int8"):
        one = sat2map.predict(scene, tmp_path / f"{precision}.tif", model=run, precision=precision)
        assert precision in one.runtime
        with rasterio.open(one.map) as file:
            maps.append(file.read(1))
    assert np.mean(maps[0] == maps[1]) > 0.99
    graph = (model.folder / "graph_int8.xml").read_text()
    assert "FakeQuantize" in graph


def left_over(run: Path, agreement: float | None) -> list[Path]:
    """Write the files of a graph in int8 of an earlier time, and return them."""
    model = replace(load_model(run), int8_agreement=agreement)
    files = [model.int8_graph, model.int8_graph.with_suffix(".bin")]
    for file in files:
        file.write_text("older")
    model.save()
    return files


def test_what_draws_another_map_is_not_kept(tmp_path, run, monkeypatch):
    """Nor is a graph of an export before."""
    older = left_over(run, 0.999)
    monkeypatch.setattr(quantization, "LEAST_AGREEMENT", 1.01)
    made = sat2map.export(run)
    assert not made.kept and made.agreement <= 1
    assert load_model(run).int8_agreement is None and not any(file.exists() for file in older)
    before = (run / "model" / "model.json").read_bytes()
    sat2map.export(run)
    assert (run / "model" / "model.json").read_bytes() == before


def test_a_graph_that_was_never_judged_is_not_taken(tmp_path, run):
    left_over(run, None)
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(5, 64))
    with pytest.raises(ModelError, match="has no int8 graph"):
        sat2map.predict(scene, tmp_path / "map.tif", model=run, precision="int8")


def test_a_run_that_goes_on_has_no_int8_graph_of_its_older_weights(run, rgb_folder):
    older = left_over(run, 0.999)
    sat2map.train(rgb_folder, run, epochs=7, resume=True)
    assert load_model(run).int8_agreement is None and not any(file.exists() for file in older)


def test_a_model_without_its_run_cannot_be_calibrated(run):
    with pytest.raises(ModelError, match=r"is a model without its run. Name the run's folder"):
        sat2map.export(run / "model")


def test_the_ends_of_each_network_stay_in_float(tmp_path):
    """Of two that decide together: the first filters and the last ones of both."""
    pair = build(Architecture("small-unet", width=4, members=2), bands=3, channels=4).eval()
    export_graph(pair, Classes(synthetic.LEGEND), tmp_path / "graph.xml", bands=3, size=64)
    graph = openvino.Core().read_model(tmp_path / "graph.xml")
    kinds = {op.get_friendly_name(): op.get_type_name() for op in graph.get_ordered_ops()}
    kept = [kinds[name] for name in ATTEMPTS["the first and the last convolutions of each network in float"](graph)]
    assert kept == ["Convolution"] * 2 * (1 + LAST)
    assert len(kept) < list(kinds.values()).count("Convolution")
