"""Many scenes in one call: each has its map, finished ones are passed over, a broken one stops only itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

import synthetic
from map_kinds import CLASSES
from models import INPUTS, colour_model
from sat2map.errors import ModelError, OutputError, SceneError
from sat2map.prediction import predict_all


@pytest.fixture
def ids() -> np.ndarray:
    return synthetic.landscape(1, 75)


@pytest.fixture
def model(tmp_path):
    return colour_model(tmp_path / "model").folder


def test_each_of_many_scenes_gets_its_map(tmp_path, model, ids, caplog):
    caplog.set_level(logging.INFO)
    for i in range(3):
        synthetic.geotiff(tmp_path / f"scene{i}.tif", ids)
    made = predict_all(str(tmp_path / "scene*.tif"), tmp_path / "maps", model=model)
    assert [one.map.name for one in made] == ["scene0.tif", "scene1.tif", "scene2.tif"]
    (tmp_path / "maps" / "scene1.tif").unlink()
    again = predict_all(str(tmp_path / "scene*.tif"), tmp_path / "maps", model=model)
    assert [one.map.name for one in again] == ["scene1.tif"]
    assert "2 maps are finished and passed over." in caplog.messages


def test_maps_of_another_model_are_not_taken_for_finished(tmp_path, model, ids):
    synthetic.geotiff(tmp_path / "scene.tif", ids)
    there = tmp_path / "maps" / "scene.tif"
    first = predict_all(str(tmp_path / "scene.tif"), tmp_path / "maps", model=model)[0].map.read_bytes()
    other = colour_model(tmp_path / "other", never=(1,), provenance={"epoch": 2}).folder
    call = partial(predict_all, str(tmp_path / "scene.tif"), tmp_path / "maps", model=other)
    foreign = tmp_path / "foreign.tif"
    with CLASSES.open(foreign, GeoBox((9, 9), synthetic.PLACE, synthetic.UTM)):
        pass
    for held in (first, foreign.read_bytes(), b"no image"):
        there.write_bytes(held)
        with pytest.raises(OutputError, match=r"maps.scene.tif is there .*not made by this model.*--overwrite"):
            call()
        assert there.read_bytes() == held
    assert len(call(overwrite=True)) == 1 and call() == []


def test_maps_among_the_scenes_are_no_scenes(tmp_path, model, ids, caplog):
    caplog.set_level(logging.INFO)
    scenes = tmp_path / "scenes"
    synthetic.geotiff(scenes / "one.tif", ids)
    call = partial(predict_all, str(scenes), scenes / "maps", model=model)
    assert len(call()) == 1 and call() == []
    synthetic.geotiff(scenes / "maps" / "corrected.tif", ids)  # without the mark of what was made here
    assert call() == []
    assert "1 images in " in caplog.text and "are taken for maps, not for scenes" in caplog.text
    assert len(predict_all(str(scenes / "*.tif"), tmp_path, model=model)) == 1, "scenes may lie below their maps"


@pytest.mark.parametrize("named", ["", "*.tif", "one.tif"])
def test_maps_do_not_go_where_the_scenes_are(tmp_path, model, ids, named):
    scene = synthetic.geotiff(tmp_path / "scenes" / "one.tif", ids)
    before = scene.read_bytes()
    with pytest.raises(OutputError, match=r"where the maps would be. Name another folder for the maps"):
        predict_all(str(scene.parent / named), scene.parent, model=model, overwrite=True)
    assert scene.read_bytes() == before


def test_of_many_scenes_those_that_cannot_be_mapped_are_left_out_if_asked(tmp_path, model, ids, caplog):
    for name in ("one", "two"):
        synthetic.geotiff(tmp_path / f"scene_{name}.tif", ids)
    (tmp_path / "scene_broken.tif").write_bytes(b"no image")
    synthetic.geotiff(tmp_path / "scene_odd.tif", ids, bands=1)
    call = partial(predict_all, str(tmp_path / "scene_*.tif"), tmp_path / "maps", model=model)
    with pytest.raises((SceneError, ModelError)):
        call()
    made = call(keep_going=True, overwrite=True)
    assert [one.map.name for one in made] == ["scene_one.tif", "scene_two.tif"]
    told = "\n".join(caplog.messages)
    assert "scene_broken.tif is left out" in told and "scene_odd.tif is left out" in told
    assert "2 of 4 scenes are left out; the same call tries them again" in told
    assert not (tmp_path / "maps" / "scene_odd.tif").exists()


@pytest.mark.parametrize(
    ("inputs", "words", "told"),
    [
        (replace(INPUTS, resolution=1.5), {}, "has no georeference"),
        (replace(INPUTS, ground=1.0), {"resample": "model"}, "has no CRS"),
    ],
)
def test_scenes_without_a_place_are_left_out_where_it_is_needed(tmp_path, ids, caplog, inputs, words, told):
    model = colour_model(tmp_path / "model", inputs=inputs).folder
    synthetic.geotiff(tmp_path / "scenes" / "one.tif", ids)
    synthetic.save(tmp_path / "scenes" / "nowhere.png", synthetic.seen(ids))
    made = predict_all(str(tmp_path / "scenes"), tmp_path / "maps", model=model, keep_going=True, **words)
    assert [one.map.name for one in made] == ["one.tif"]
    assert "nowhere.png is left out: " in caplog.text and told in caplog.text
