"""The map is the same however the work was cut, lies where its scene does, and is there completely or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import synthetic
from models import INPUTS, PLAIN, colour_model, unet_model
from sat2map import prediction
from sat2map.errors import BadOption, ModelError, OutputError, SceneError
from sat2map.legend import IGNORED
from sat2map.mapmodel import Architecture, MapModel
from sat2map.options import PredictOptions
from sat2map.outputs import Classes
from sat2map.prediction import Predictor, predict
from sat2map.scenes import Scene, array_scene
from sat2map.sinks import read_map_legend
from sat2map.tiling import Tiling, grid, whole

MODEL = MapModel(PLAIN, Classes(synthetic.LEGEND), Architecture("custom"), Tiling(16, 4))
HALF = Affine(0.5, 0, 500_000.0, 0, -0.5, 40_000.0)


@dataclass(frozen=True)
class Exact:
    """The value of a pixel is its class, for certain."""

    description: str = "exact"

    def __call__(self, batch_NCHW: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.eye(3, dtype=np.float32)[batch_NCHW[:, 0].astype(int)], -1, 1)


@dataclass(frozen=True)
class Opinionated:
    """Scores that depend on the place of a pixel in its window, and on all of the window: windows disagree."""

    size: int
    description: str = "opinionated"

    def __call__(self, batch_NCHW: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).random((3, self.size, self.size), np.float32)
        weight = 1 + batch_NCHW.sum(axis=(1, 2, 3), keepdims=True) % 7
        scores: np.ndarray = noise * weight + batch_NCHW * noise[::-1]
        return scores / scores.sum(axis=1, keepdims=True)


def fabricated(shape: tuple[int, int], share: float = 1.0, seed: int = 0) -> Scene:
    rng = np.random.default_rng(seed)
    return array_scene(rng.integers(0, 3, shape).astype(np.uint8), rng.random(shape) < share)


def mapped(predictor: Predictor, scene: Scene, block: int) -> np.ndarray:
    ids = np.full(scene.shape, 77, np.uint8)
    for window in list(grid(whole(scene.shape), block))[::-1]:
        ids[window.slices], _ = predictor.block(scene, window)
    return ids


def reference(predictor: Predictor, scene: Scene) -> np.ndarray:
    """Return the map by the definition: all windows of the lattice, one by one, over the whole scene."""
    size = predictor.tiling.size
    scores = np.zeros((3, scene.shape[0] + size, scene.shape[1] + size), np.float32)
    for window in predictor.tiling.windows(scene.shape):
        shown = predictor.model.inputs.apply(scene.read(window))
        batch = np.stack([shown] * predictor.batch)
        scores[:, *window.slices] += predictor.runtime(batch)[0] * predictor.tiling.weights(scene.shape, window)
    rows, cols = whole(scene.shape).slices
    return np.where(scene.read().valid, scores[:, rows, cols].argmax(axis=0), IGNORED)


shapes = st.tuples(st.integers(1, 50), st.integers(1, 50))
cuts = {"overlap": st.integers(0, 8), "block": st.integers(1, 60), "batch": st.integers(1, 5)}


@given(shape=shapes, share=st.sampled_from([0.0, 0.02, 0.9, 1.0]), **cuts)
def test_the_map_does_not_depend_on_blocks_and_batches(shape, share, overlap, block, batch):
    scene = fabricated(shape, share)
    predictor = Predictor(MODEL, Tiling(16, overlap), Opinionated(16), batch)
    block = max(block, max(shape) // 8)
    np.testing.assert_array_equal(mapped(predictor, scene, block), reference(predictor, scene))


@given(shape=shapes, share=st.sampled_from([0.3, 1.0]), **cuts)
def test_each_valid_pixel_is_mapped_and_no_other(shape, share, overlap, block, batch):
    scene = fabricated(shape, share)
    predictor = Predictor(MODEL, Tiling(16, overlap), Exact(), batch)
    truth = scene.read()
    block = max(block, max(shape) // 8)
    np.testing.assert_array_equal(mapped(predictor, scene, block), np.where(truth.valid, truth.pixels[0], IGNORED))


def test_windows_without_data_are_not_computed():
    class Counting(Exact):
        calls = 0

        def __call__(self, batch_NCHW: np.ndarray) -> np.ndarray:
            Counting.calls += 1
            return super().__call__(batch_NCHW)

    valid = np.zeros((160, 160), bool)
    valid[:10, :10] = True
    scene = array_scene(np.ones((160, 160), np.uint8), valid)
    mapped(Predictor(MODEL, Tiling(16, 4), Counting(), 1), scene, 80)
    assert Counting.calls == 1


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return colour_model(tmp_path / "model").folder


@pytest.fixture
def ids() -> np.ndarray:
    return synthetic.landscape(1, 75)


@pytest.fixture
def scene(tmp_path: Path, ids: np.ndarray) -> Path:
    return synthetic.geotiff(tmp_path / "scene.tif", ids)


def values(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def out(tmp_path: Path) -> list[str]:
    """Return what a call left behind."""
    return sorted(f.name for f in (tmp_path / "out").glob("*"))


def test_a_map_lies_where_its_scene_does(tmp_path, model, scene, ids):
    made = predict(scene, tmp_path / "out" / "map.tif", model=model)
    with rasterio.open(made.map) as file:
        np.testing.assert_array_equal(file.read(1), ids)
        assert (file.transform, file.crs.to_string(), file.nodata) == (HALF, synthetic.UTM, IGNORED)
        assert [file.colormap(1)[c.value][:3] for c in synthetic.LEGEND.classes] == [
            c.colour for c in synthetic.LEGEND.classes
        ]
        assert file.tags()["SAT2MAP_WINDOW"] == "32, overlap 8"
    assert read_map_legend(made.map) == synthetic.LEGEND
    assert made.counts == {name: int((ids == i).sum()) for i, name in enumerate(synthetic.LEGEND.names)}
    assert (made.invalid, made.runtime.split()[0]) == (0, "OpenVINO")


def test_the_file_does_not_depend_on_blocks(tmp_path, model, scene):
    files = [
        predict(scene, tmp_path / f"{block}.tif", model=model, block=block, batch=batch).map.read_bytes()
        for block, batch in ((2048, 4), (31, 4), (50, 1))
    ]
    assert files[1] == files[0] == files[2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 2)])
def test_small_scenes_are_mapped(tmp_path, model, shape):
    ids = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    made = predict(synthetic.geotiff(tmp_path / "scene.tif", ids), tmp_path / "map.tif", model=model)
    np.testing.assert_array_equal(values(made.map), ids)


def test_nodata_stays_nodata(tmp_path, model, ids):
    pixels = synthetic.seen(ids)
    pixels[:, 10:70, :30] = 0
    path = synthetic.save(tmp_path / "scene.tif", pixels, crs=synthetic.UTM, transform=HALF, nodata=0)
    made = predict(path, tmp_path / "map.tif", model=model, block=40)
    expected = ids.copy()
    expected[10:70, :30] = IGNORED
    np.testing.assert_array_equal(values(made.map), expected)
    assert made.invalid == 60 * 30
    assert sum(made.counts.values()) == ids.size - made.invalid


def test_a_scene_without_data_is_a_map_without_data(tmp_path, model):
    path = synthetic.save(tmp_path / "scene.tif", np.zeros((3, 40, 40), np.uint8), nodata=0, transform=HALF)
    made = predict(path, tmp_path / "map.tif", model=model, picture=tmp_path / "map.png")
    assert (values(made.map) == IGNORED).all()
    assert (made.invalid, set(made.counts.values())) == (1600, {0})


def test_what_is_transparent_has_no_class(tmp_path, model, ids):
    alpha = np.full((1, *ids.shape), 255, np.uint8)
    alpha[:, :20] = 0
    path = synthetic.save(tmp_path / "scene.png", np.concatenate([synthetic.seen(ids), alpha]))
    expected = np.where(alpha[0] > 0, ids, IGNORED)
    np.testing.assert_array_equal(values(predict(path, tmp_path / "map.tif", model=model).map), expected)


def test_scenes_of_other_types_are_shown_as_their_training_was(tmp_path, ids):
    scale = 4095 / 255
    shown = {"mean": tuple(v * scale for v in INPUTS.mean), "std": tuple(v * scale for v in INPUTS.std)}
    model = colour_model(tmp_path / "model", inputs=replace(INPUTS, dtype="uint16", **shown)).folder
    path = synthetic.geotiff(tmp_path / "scene.tif", ids, dtype="uint16")
    np.testing.assert_array_equal(values(predict(path, tmp_path / "map.tif", model=model).map), ids)


def test_bands_are_found_by_name(tmp_path, model, ids):
    pixels = synthetic.seen(ids, bands=4)[[3, 2, 1, 0]]
    path = synthetic.save(tmp_path / "scene.tif", pixels, transform=HALF, photometric="minisblack")
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("nir", "blue", "green", "red")
    np.testing.assert_array_equal(values(predict(path, tmp_path / "map.tif", model=model).map), ids)


def test_a_picture_gives_a_picture(tmp_path, model, ids):
    path = synthetic.save(tmp_path / "scene.png", synthetic.seen(ids))
    made = predict(path, tmp_path / "out" / "map.png", model=model)
    with Image.open(made.map) as picture:
        np.testing.assert_array_equal(np.asarray(picture), ids)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), synthetic.LEGEND.colourise(ids))
    assert "map.pgw" not in out(tmp_path)


def test_a_world_file_goes_with_the_picture(tmp_path, model, ids):
    synthetic.save(tmp_path / "scene.png", synthetic.seen(ids))
    lines = "0.5\n0.0\n0.0\n-0.5\n500000.25\n39999.75\n"
    (tmp_path / "scene.pgw").write_text(lines)
    predict(tmp_path / "scene.png", tmp_path / "out" / "map.png", model=model)
    assert (tmp_path / "out" / "map.pgw").read_text() == lines
    predict(tmp_path / "scene.png", tmp_path / "out" / "map.tif", model=model)
    with rasterio.open(tmp_path / "out" / "map.tif") as file:
        assert file.transform == HALF


def test_a_model_of_a_resolution_maps_at_it(tmp_path, ids):
    model = colour_model(tmp_path / "model", inputs=replace(INPUTS, resolution=1.5)).folder
    made = predict(synthetic.geotiff(tmp_path / "scene.tif", ids), tmp_path / "map.tif", model=model, block=10)
    with rasterio.open(made.map) as file:
        assert (file.shape, file.transform.a) == ((25, 25), 1.5)
        assert (file.read(1) == ids[1::3, 1::3]).mean() > 0.9
    again = predict(tmp_path / "scene.tif", tmp_path / "again.tif", model=model)
    np.testing.assert_array_equal(values(again.map), values(made.map))


def test_polygons_and_a_picture_are_made_too(tmp_path, model, scene, ids):
    more = {"polygons": tmp_path / "out" / "map.geojson", "picture": tmp_path / "out" / "picture.png"}
    predict(scene, tmp_path / "out" / "map.tif", model=model, **more)
    frame = gpd.read_file(more["polygons"]).to_crs(synthetic.UTM)
    assert frame.area.sum() == pytest.approx(ids.size / 4, rel=1e-3)
    with Image.open(more["picture"]) as picture:
        assert picture.size[0] > 300


def test_an_image_with_other_bands_leaves_nothing(tmp_path, model, ids):
    path = synthetic.geotiff(tmp_path / "scene.tif", ids, bands=2)
    with pytest.raises(ModelError, match=r"The model reads 3 bands \(red, green, blue\), but .*scene.tif has 2"):
        predict(path, tmp_path / "out" / "map.tif", model=model)
    assert out(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"map": "there.tif"}, "is there already. Choose another name, or replace it with --overwrite"),
        ({"map": "map.jpg"}, "ends in '.jpg'. What can be written ends in: .tif"),
        ({"map": "."}, "is a folder. Name a file in it"),
        ({"map": "there.tif/map.tif"}, "cannot be written to"),
        ({"polygons": "map.doc"}, "ends in '.doc'"),
        ({"polygons": "there.geojson"}, "is there already"),
        ({"picture": "map.tif"}, "ends in '.tif'"),
        ({"picture": "there.png"}, "is there already"),
        ({"map": "map.png", "picture": "map.png"}, "is named twice"),
    ],
)
def test_destinations_are_checked_first(tmp_path, words, told):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("there.tif", "there.geojson", "there.png"):
        (folder / name).write_text("dear")
    paths = {name: folder / path for name, path in {"map": "map.tif", **words}.items()}
    with pytest.raises(OutputError, match=told):
        predict("no scene", model="no model", **paths)
    assert {f.read_text() for f in folder.iterdir()} == {"dear"}
    assert out(tmp_path) == ["there.geojson", "there.png", "there.tif"]


@pytest.mark.parametrize("name", ["map", "picture"])
def test_a_scene_is_never_replaced_by_its_map(tmp_path, model, ids, name):
    scene = synthetic.save(tmp_path / "scene.png", synthetic.seen(ids))
    before = scene.read_bytes()
    with pytest.raises(OutputError, match=r"is the scene itself. Choose another name"):
        predict(scene, **{"map": tmp_path / "map.tif", name: scene}, model=model, overwrite=True)
    assert scene.read_bytes() == before


def test_a_map_is_replaced_when_asked(tmp_path, model, scene, ids):
    path = tmp_path / "out" / "map.tif"
    path.parent.mkdir()
    path.write_text("old")
    predict(scene, path, model=model, overwrite=True)
    np.testing.assert_array_equal(values(path), ids)


def test_a_failure_half_way_leaves_nothing(tmp_path, model, scene, monkeypatch):
    compute, done = Predictor.block, []

    def fail(self, scene, block):
        done.append(block)
        if len(done) == 3:
            raise SceneError("the disk is gone")
        return compute(self, scene, block)

    monkeypatch.setattr(Predictor, "block", fail)
    with pytest.raises(SceneError, match="the disk is gone"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, block=32, polygons=tmp_path / "out" / "map.gpkg")
    assert len(done) == 3
    assert out(tmp_path) == []


def test_windows_that_cannot_be_are_refused(tmp_path, model, scene):
    with pytest.raises(BadOption, match="cannot overlap by 40"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, overlap=40)
    with pytest.raises(BadOption, match="--batch is 0; it must be above 0"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, batch=0)
    assert out(tmp_path) == []


def test_the_overlap_grows_with_the_window(tmp_path, scene, ids):
    model = unet_model(tmp_path / "model").folder
    made = predict(scene, tmp_path / "map.tif", model=model, window=64, runtime="torch")
    with rasterio.open(made.map) as file:
        assert file.tags()["SAT2MAP_WINDOW"] == "64, overlap 16"
        assert (file.read(1) != IGNORED).all()
    with pytest.raises(ModelError, match=r"made for windows of 32 pixels, not of 64. Leave out --window"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, window=64, runtime="openvino")
    assert out(tmp_path) == []


def test_a_large_scene_is_drawn_small(tmp_path, model, scene, monkeypatch):
    monkeypatch.setattr(prediction, "PICTURED", 20)
    predict(scene, tmp_path / "map.tif", model=model, picture=tmp_path / "picture.png")
    assert (tmp_path / "picture.png").exists()


def test_blocks_too_small_to_end_are_refused() -> None:
    with pytest.raises(BadOption, match="--block is 1;"):
        PredictOptions(block=1)
