"""A call that was interrupted: the same one goes on without computing anything twice, another one is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely import box

import synthetic
from models import colour_model
from sat2map import prediction
from sat2map.engines.local import LocalEngine
from sat2map.errors import OutputError
from sat2map.jobs import Job
from sat2map.options import PredictOptions
from sat2map.prediction import predict
from sat2map.sinks import Sink

BESIDE = {"polygons": "p.gpkg", "picture": "p.png", "confidence": "sure.tif"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return colour_model(tmp_path / "model").folder


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(1, 75))


def out(tmp_path: Path) -> list[str]:
    """Return what a call left behind."""
    return sorted(f.name for f in (tmp_path / "out").glob("*"))


def failing_at(monkeypatch: pytest.MonkeyPatch, number: int, name: str = "write", owner: object = Sink) -> None:
    """Let the disk be gone in call `number` of a function: at first that which writes a strip."""
    function, called = getattr(owner, name), []

    def fail(*words: object, **more: object) -> object:
        called.append(words)
        if len(called) == number:
            raise OutputError("the disk is gone")
        return function(*words, **more)

    monkeypatch.setattr(owner, name, fail)


def interrupt(target: Path, number: int = 2, name: str = "write", owner: object = Sink, **words: object) -> None:
    """Begin a map, and fail."""
    with pytest.MonkeyPatch.context() as broken, pytest.raises(OutputError, match="the disk is gone"):
        failing_at(broken, number, name, owner)
        predict(map=target, **words)


def test_a_failure_at_the_start_leaves_nothing(tmp_path, model, scene):
    interrupt(tmp_path / "out" / "map.tif", 1, scene=scene, model=model, polygons=tmp_path / "out" / "map.gpkg")
    assert out(tmp_path) == []


@pytest.mark.parametrize("block", [None, 32])
def test_the_same_call_goes_on_after_a_failure(tmp_path, model, scene, monkeypatch, block):
    whole = predict(scene, tmp_path / "whole.tif", model=model).map
    target = tmp_path / "out" / "map.tif"
    interrupt(target, 3, scene=scene, model=model, block=block)
    assert out(tmp_path) == [".map.tif.part"]
    written = strips_written(monkeypatch)
    made = predict(scene, target, model=model, block=block)
    assert target.read_bytes() == whole.read_bytes()
    assert min(w.row for w in written if w.col == 0) > 0
    assert made.invalid == 0
    assert ".map.tif.part" not in out(tmp_path)


def strips_written(monkeypatch: pytest.MonkeyPatch) -> list:
    """Return a list to which each strip's window comes when it is written."""
    written, write = [], Sink.write
    monkeypatch.setattr(Sink, "write", lambda self, window, block: (written.append(window), write(self, window, block)))
    return written


@pytest.mark.parametrize(
    ("number", "name", "owner"),
    [
        (1, "finish", Sink),
        (2, "finish", Sink),
        (1, "polygonize", prediction),
        (1, "_draw", prediction),
        (1, "publish", Sink),
        (2, "publish", Sink),
    ],
)
def test_no_strip_is_computed_again_when_the_end_failed(tmp_path, model, scene, monkeypatch, number, name, owner):
    for folder in ("whole", "out"):
        (tmp_path / folder).mkdir()
    paths = {what: tmp_path / "out" / file for what, file in BESIDE.items()}
    predict(scene, tmp_path / "whole" / "map.tif", model=model, confidence=tmp_path / "whole" / "sure.tif")
    interrupt(tmp_path / "out" / "map.tif", number, name, owner, scene=scene, model=model, **paths)
    assert {".map.tif.part", ".sure.tif.part"} <= {*out(tmp_path)} and "map.tif" not in out(tmp_path)
    written = strips_written(monkeypatch)
    predict(scene, tmp_path / "out" / "map.tif", model=model, **paths)
    assert written == []
    assert {"map.tif", *BESIDE.values()} <= {*out(tmp_path)}
    assert not [file for file in out(tmp_path) if file.startswith(".")]
    for file in ("map.tif", "sure.tif"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert gpd.read_file(paths["polygons"])["confidence"].between(0, 1).all()


def test_another_file_beside_is_another_call(tmp_path, model, scene):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dear.gpkg").write_text("dear")
    interrupt(tmp_path / "out" / "map.tif", scene=scene, model=model)
    for name, told in (("new.gpkg", r"other files .*--overwrite"), ("dear.gpkg", "dear.gpkg is there already")):
        with pytest.raises(OutputError, match=told):
            predict(scene, tmp_path / "out" / "map.tif", model=model, polygons=tmp_path / "out" / name)
    assert (tmp_path / "out" / "dear.gpkg").read_text() == "dear"


def test_a_call_that_was_killed_before_its_first_strip_gives_no_right_to_replace(tmp_path, model, scene):
    part, dear = tmp_path / "out" / ".map.tif.part", tmp_path / "out" / "dear.gpkg"
    part.mkdir(parents=True)
    (part / "job.json").write_text(json.dumps({"other files": [str(dear)]}))
    (part / "done.jsonl").touch()
    dear.write_text("dear")
    with pytest.raises(OutputError, match=r"dear.gpkg is there already"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, polygons=dear)
    assert dear.read_text() == "dear"


@pytest.mark.parametrize(
    ("words", "told"),
    [({"tta": "flips"}, "tta"), ({"overlap": 4}, "overlap"), ({"bands": ("blue", "green", "red")}, "bands")],
)
def test_an_unfinished_map_of_another_call_is_refused(tmp_path, model, scene, words, told):
    target = tmp_path / "out" / "map.tif"
    interrupt(target, scene=scene, model=model)
    with pytest.raises(OutputError, match=rf"(?s){told}.*--overwrite"):
        predict(scene, target, model=model, **words)
    assert out(tmp_path) == [".map.tif.part"]
    predict(scene, target, model=model, overwrite=True, **words)
    assert target.exists()


def test_a_changed_scene_is_noticed(tmp_path, model, scene):
    target = tmp_path / "out" / "map.tif"
    interrupt(target, scene=scene, model=model)
    synthetic.geotiff(scene, synthetic.landscape(2, 75))
    with pytest.raises(OutputError, match=r"scene changed.*--overwrite"):
        predict(scene, target, model=model)


def item(folder: Path) -> Path:
    """Write a STAC item of the tile in a folder."""
    path = folder / "item.json"
    path.write_text(json.dumps({"assets": {"visual": {"href": "tile.tif"}}}))
    return path


@pytest.mark.parametrize(
    "named",
    [
        lambda folder: folder / "tile.tif",
        lambda folder: folder,
        lambda folder: folder / "*.tif",
        item,
        lambda folder: f"{item(folder)}#visual",
    ],
    ids=["file", "folder", "pattern", "item", "asset"],
)
def test_however_a_scene_is_named_its_change_is_noticed(tmp_path, model, named: Callable[[Path], Path | str]):
    tile = synthetic.geotiff(tmp_path / "tiles" / "tile.tif", synthetic.landscape(1, 40))
    path = str(named(tile.parent))
    assert Job(path, str(model), PredictOptions()).scene.shape == (40, 40)
    before = Job(path, str(model), PredictOptions()).facts()
    assert Job(path, str(model), PredictOptions()).facts() == before
    os.utime(tile, ns=(0, tile.stat().st_mtime_ns + 1))
    after = Job(path, str(model), PredictOptions()).facts()
    assert {name for name in after if after[name] != before[name]} == {"scene changed"}


def test_a_changed_area_is_noticed(tmp_path, model, scene):
    area, target = tmp_path / "area.gpkg", tmp_path / "out" / "map.tif"
    for side in (35, 20):
        square = box(500_000, 40_000 - side, 500_000 + side, 40_000)
        gpd.GeoDataFrame(geometry=[square], crs=synthetic.UTM).to_file(area)
        if side == 35:
            interrupt(target, scene=scene, model=model, aoi=str(area))
    with pytest.raises(OutputError, match=r"aoi changed.*--overwrite"):
        predict(scene, target, model=model, aoi=str(area))


def test_a_map_does_not_go_on_in_another_precision(tmp_path, model, scene, monkeypatch):
    target = tmp_path / "out" / "map.tif"
    interrupt(target, scene=scene, model=model)
    monkeypatch.setattr(LocalEngine, "description", lambda self, job: "PyTorch on cuda in bf16")
    with pytest.raises(OutputError, match=r'computed by was "OpenVINO .*" and is "PyTorch on cuda.*--overwrite'):
        predict(scene, target, model=model)


def test_a_call_that_overwrites_goes_on_too(tmp_path, model, scene, monkeypatch):
    target = predict(scene, tmp_path / "out" / "map.tif", model=model).map
    with rasterio.open(target) as file:
        before = file.read()
    interrupt(target, 3, scene=scene, model=model, overwrite=True)
    written = strips_written(monkeypatch)
    predict(scene, target, model=model, overwrite=True)
    assert min(window.row for window in written) > 0
    with rasterio.open(target) as file:
        np.testing.assert_array_equal(file.read(), before)
