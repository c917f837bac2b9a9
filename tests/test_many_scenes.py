"""Many scenes in one call: each has its map, finished ones are passed over, a broken one stops only itself."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import synthetic
from models import colour_model
from sat2map.errors import ModelError, SceneError
from sat2map.prediction import predict_all


@pytest.fixture
def ids() -> np.ndarray:
    return synthetic.landscape(1, 75)


@pytest.fixture
def model(tmp_path):
    return colour_model(tmp_path / "model").folder


def test_each_of_many_scenes_gets_its_map(tmp_path, model, ids):
    for i in range(3):
        synthetic.geotiff(tmp_path / f"scene{i}.tif", ids)
    made = predict_all(str(tmp_path / "scene*.tif"), tmp_path / "maps", model=model)
    assert [one.map.name for one in made] == ["scene0.tif", "scene1.tif", "scene2.tif"]
    (tmp_path / "maps" / "scene1.tif").unlink()
    again = predict_all(str(tmp_path / "scene*.tif"), tmp_path / "maps", model=model)
    assert [one.map.name for one in again] == ["scene1.tif"]


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
