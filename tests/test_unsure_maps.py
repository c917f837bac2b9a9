"""What a map says of itself: how sure it is of each pixel, which it leaves open, and what it never saw the like of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

import synthetic
from models import PLAIN, unet_model
from sat2map import predict
from sat2map.calibration import Calibration
from sat2map.errors import BadOption
from sat2map.jobs import Job
from sat2map.legend import IGNORED, UNSURE, Legend, MapClass
from sat2map.mapmodel import Architecture, MapModel, load_model
from sat2map.options import PredictOptions
from sat2map.outputs import Picture
from sat2map.prediction import predict_all
from sat2map.sinks import read_map_legend
from sat2map.tiling import Tiling

SIZE = 90


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> MapModel:
    """A network that was not trained, so that it is unsure everywhere, with a temperature of a half."""
    made = unet_model(tmp_path_factory.mktemp("models") / "model")
    replace(made, calibration=Calibration.of_temperature(0.5, 3)).save()
    return load_model(made.folder)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scenes") / "scene.tif"
    return synthetic.geotiff(path, synthetic.landscape(1, SIZE))


def bands(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with rasterio.open(path) as file:
        return file.read(), file.descriptions


def test_uncertainties_are_bands_of_the_confidence(tmp_path, model, scene):
    """They follow from the calibrated probabilities, which are those of the file of scores."""
    predict(
        scene,
        tmp_path / "map.tif",
        model=model.folder,
        scores=tmp_path / "scores.tif",
        confidence=tmp_path / "sure.tif",
        polygons=tmp_path / "map.gpkg",
        uncertainty=("entropy", "margin", "novelty"),
        precision="fp32",
    )
    (confidence, entropy, margin, novelty), names = bands(tmp_path / "sure.tif")
    assert names == ("confidence", "entropy", "margin", "novelty")
    scores = bands(tmp_path / "scores.tif")[0] / 254
    first, second = np.sort(scores, axis=0)[:-3:-1]
    np.testing.assert_allclose(confidence / 254, first, atol=0.005)
    np.testing.assert_allclose(margin / 254, 1 - (first - second), atol=0.01)
    np.testing.assert_allclose(entropy / 254, -(scores * np.log(scores + 1e-9)).sum(axis=0) / np.log(3), atol=0.02)
    assert not novelty.any(), "a model that does not know its domain finds nothing strange"
    assert gpd.read_file(tmp_path / "map.gpkg")["confidence"].between(0.3, 1).all()


def test_calibration_changes_confidence_and_not_the_map(tmp_path, model, scene):
    raw = tmp_path / "raw"
    raw.mkdir()
    for file in model.folder.iterdir():
        (raw / file.name).write_bytes(file.read_bytes())
    replace(model, calibration=None, folder=raw).save()
    sure = {}
    for name, folder in (("raw", raw), ("calibrated", model.folder)):
        made = predict(scene, tmp_path / f"{name}.tif", model=folder, confidence=tmp_path / f"{name} sure.tif")
        sure[name] = bands(tmp_path / f"{name} sure.tif")[0].mean()
        assert made.counts.keys() == set(synthetic.LEGEND.names)
    np.testing.assert_array_equal(bands(tmp_path / "raw.tif")[0], bands(tmp_path / "calibrated.tif")[0])
    assert sure["calibrated"] > 1.1 * sure["raw"]


def test_pixels_that_are_left_open_are_a_class_of_the_map(tmp_path, model, scene):
    predict(scene, tmp_path / "plain.tif", model=model.folder, confidence=tmp_path / "sure.tif", precision="fp32")
    sure = bands(tmp_path / "sure.tif")[0][0] / 254
    limit = float(np.median(sure))
    made = predict(scene, tmp_path / "map.tif", model=model.folder, abstain=limit, precision="fp32")
    (found,), (plain,) = bands(tmp_path / "map.tif")[0], bands(tmp_path / "plain.tif")[0]
    unsure = found == 254
    np.testing.assert_array_equal(found[~unsure], plain[~unsure])
    assert sure[unsure].max() <= limit + 0.005 and sure[~unsure].min() >= limit - 0.005
    assert 0.1 < unsure.mean() < 0.7
    assert made.counts[UNSURE] == unsure.sum()
    assert read_map_legend(tmp_path / "map.tif").classes[-1] == MapClass(UNSURE, (186, 186, 186), 254)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"abstain": 1.5}, r"--abstain is 1.5; it must be a probability above 0 and up to 1"),
        ({"abstain": 0}, r"--abstain is 0; it must be a probability"),
        ({"uncertainty": ("margin",)}, r"--uncertainty margin is a band of the file of --confidence. Name that file"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, model, scene, words, told):
    with pytest.raises(BadOption, match=told):
        predict(scene, tmp_path / "out" / "map.tif", model=model.folder, **words)
    assert not (tmp_path / "out").exists()


def test_pictures_have_no_classes_to_be_unsure_of(tmp_path, scene):
    made = MapModel(PLAIN, Picture(), Architecture("custom"), Tiling(32, 8), {}, tmp_path)
    made.save()
    with pytest.raises(BadOption, match="draws a map picture, which has no --abstain"):
        predict(scene, tmp_path / "map.tif", model=tmp_path, abstain=0.5)


def test_many_scenes_have_no_file_for_uncertainty(tmp_path, model, scene):
    with pytest.raises(BadOption, match="Name that file"):
        predict_all(str(scene), tmp_path / "maps", model=model.folder, uncertainty=("entropy",))


def test_a_legend_makes_room_for_what_is_unsure():
    full = Legend(tuple(MapClass(str(v), (v, v, v), v) for v in range(IGNORED)))
    with pytest.raises(BadOption, match="has no number left"):
        full.with_unsure()
    named = Legend((MapClass("Unsure", (0, 0, 0), 3),))
    with pytest.raises(BadOption, match="has such a class already"):
        named.with_unsure()
    assert Legend((MapClass("a", (0, 0, 0), 254),)).with_unsure().classes[1].value == 253


def test_strange_ground_is_told(tmp_path, model, scene, monkeypatch, caplog):
    """Half of the windows are taken for strange."""
    calls = iter(range(1000))
    monkeypatch.setattr("sat2map.predictor.Predictor._novelties", lambda *_: [0.9 if next(calls) % 2 else 0.1])
    made = predict(scene, tmp_path / "map.tif", model=model.folder, confidence=tmp_path / "sure.tif", window=32)
    assert "looks unlike anything the model has learnt from" in caplog.text
    share = sum(w.height * w.width for w in made.strange) / SIZE**2
    assert 0.3 < share < 0.7
    assert f"{100 * share:.0f} % of" in caplog.text


@pytest.mark.parametrize("words", [{"abstain": 0.5}, {"uncertainty": ("margin",)}, {"match_histogram": True}])
def test_a_map_of_other_words_is_another_map(model, scene, words):
    plain, other = (Job(str(scene), str(model.folder), PredictOptions(**w)).facts() for w in ({}, words))
    assert plain != other
