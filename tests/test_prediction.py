"""A map lies where its scene does, is the same however the work was cut, and is there completely or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from shapely import box

import synthetic
from models import INPUTS, colour_model, unet_model
from sat2map import prediction
from sat2map.errors import BadOption, ModelError, OutputError, SceneError
from sat2map.jobs import RUNNING, Job
from sat2map.legend import IGNORED
from sat2map.mapmodel import load_model
from sat2map.options import PredictOptions, bytes_of
from sat2map.prediction import predict
from sat2map.scenes import open_scene
from sat2map.sinks import Sink, read_map_legend

HALF = Affine(0.5, 0, 500_000.0, 0, -0.5, 40_000.0)


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


def test_a_loaded_model_makes_the_same_map_as_its_path(tmp_path, model, scene):
    files = [
        predict(scene, tmp_path / name, model=how).map.read_bytes()
        for name, how in (("path.tif", model), ("loaded.tif", load_model(model)))
    ]
    assert files[0] == files[1]


def test_an_open_scene_is_no_path_of_one(tmp_path, model, scene):
    with pytest.raises(TypeError, match=r"os\.PathLike object, not GdalScene"):
        predict(open_scene(scene), tmp_path / "map.tif", model=model)


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


def test_probabilities_are_written_too(tmp_path, model, scene, ids):
    predict(scene, tmp_path / "map.tif", model=model, scores=tmp_path / "scores.tif")
    with rasterio.open(tmp_path / "scores.tif") as file:
        assert file.descriptions == synthetic.LEGEND.names
        np.testing.assert_array_equal(file.read().argmax(axis=0), ids)
        np.testing.assert_allclose(file.read().astype(float).sum(axis=0), 254, atol=2)


def test_only_the_area_of_interest_is_mapped(tmp_path, model, scene, ids):
    x, y = 500_000.0, 40_000.0
    square = gpd.GeoDataFrame(geometry=[box(x + 5, y - 20, x + 15, y - 10)], crs=synthetic.UTM)
    square.to_crs("EPSG:4326").to_file(tmp_path / "aoi.geojson")
    made = predict(scene, tmp_path / "map.tif", model=model, aoi=str(tmp_path / "aoi.geojson"))
    mapped = values(made.map)
    np.testing.assert_array_equal(mapped[21:39, 11:29], ids[21:39, 11:29])
    assert (mapped != IGNORED).sum() == pytest.approx(400, abs=40)


def test_a_scene_comes_to_the_resolution_of_the_model_and_back(tmp_path, ids):
    model = colour_model(tmp_path / "model", inputs=replace(INPUTS, ground=1.0)).folder
    scene = synthetic.geotiff(tmp_path / "scene.tif", np.kron(ids, np.ones((4, 4), np.uint8)))
    coarse = predict(scene, tmp_path / "coarse.tif", model=model, resample="model").map
    back = predict(scene, tmp_path / "back.tif", model=model, resample="scene").map
    with rasterio.open(coarse) as file:
        assert (file.shape, file.transform.a) == ((150, 150), 1.0)
    with rasterio.open(back) as file, rasterio.open(scene) as original:
        assert (file.shape, file.transform) == (original.shape, original.transform)
        assert (file.read(1) == np.kron(ids, np.ones((4, 4), np.uint8))).mean() > 0.95


@pytest.mark.parametrize(
    "pixel", [Affine.rotation(90) * Affine.scale(0.5), Affine.rotation(30) * Affine.scale(0.5), Affine.scale(0.25, -1)]
)
def test_pixels_of_any_shape_come_to_the_resolution_of_the_model(tmp_path, ids, pixel):
    model = colour_model(tmp_path / "model", inputs=replace(INPUTS, ground=0.25)).folder
    scene = synthetic.geotiff(tmp_path / "scene.tif", ids[:74, :60], transform=Affine.translation(5e5, 4e4) * pixel)
    assert Job(str(scene), str(model), PredictOptions(resample="model")).scene.shape == (148, 120)


def test_a_scene_without_crs_has_no_resolution(tmp_path, ids):
    model = colour_model(tmp_path / "model", inputs=replace(INPUTS, ground=1.0)).folder
    scene = synthetic.geotiff(tmp_path / "scene.tif", ids, crs=None)
    with pytest.raises(SceneError, match=r"scene.tif has no CRS, .* which --resample needs. Give the image its place"):
        predict(scene, tmp_path / "map.tif", model=model, resample="model")


def test_another_resolution_is_told(tmp_path, scene, caplog):
    model = colour_model(tmp_path / "model", inputs=replace(INPUTS, ground=2.0)).folder
    predict(scene, tmp_path / "map.tif", model=model)
    assert "resolution 0.5 m, trained on 2 m: --resample model brings them together" in caplog.text


def test_a_part_that_cannot_be_read_is_passed_over(tmp_path, model, caplog, monkeypatch):
    ids = synthetic.landscape(1, 1100)
    path = synthetic.save(
        tmp_path / "scene.tif", synthetic.seen(ids), crs=synthetic.UTM, transform=HALF,
        tiled=True, blockxsize=256, blockysize=256, compress="deflate",
    )  # fmt: skip
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_2_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(
        SceneError, match=r"cannot be read: .*The same command with --keep-going makes such parts nodata"
    ):
        predict(path, tmp_path / "map.tif", model=model)
    write = Sink.write

    def interrupted(self, window, block):
        if window.row > 900:  # below what cannot be read
            raise KeyboardInterrupt
        write(self, window, block)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Sink, "write", interrupted)
        predict(path, tmp_path / "map.tif", model=model, keep_going=True)
    made = predict(path, tmp_path / "map.tif", model=model, keep_going=True)
    assert made.unreadable and "cannot be read and are nodata: rows" in caplog.text
    lost = sum(w.height * w.width for w in made.unreadable)
    assert made.invalid == lost < ids.size / 2
    mapped = values(made.map)
    np.testing.assert_array_equal(mapped[mapped != IGNORED], ids[mapped != IGNORED])


def test_bands_are_taken_by_number(tmp_path, model, ids):
    path = synthetic.save(
        tmp_path / "scene.tif", synthetic.seen(ids, bands=4)[[3, 2, 1, 0]], transform=HALF, photometric="minisblack"
    )
    made = predict(path, tmp_path / "map.tif", model=model, bands=("4", "3", "2"))
    np.testing.assert_array_equal(values(made.map), ids)
    with pytest.raises(BadOption, match=r"--bands names 2 bands, but the model reads 3: red, green, blue"):
        predict(path, tmp_path / "other.tif", model=model, bands=("4", "3"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"memory": "much"}, "--memory is 'much'; it must be an amount such as 512MB or 2GB"),
        ({"memory": "0GB"}, "--memory is '0GB'"),
        ({"block": 1}, "--block is 1;"),
        ({"workers": 0}, "--workers is 0; it must be above 0"),
    ],
)
def test_options_that_cannot_be_are_refused(words, told):
    with pytest.raises(BadOption, match=told):
        PredictOptions(**words)


@pytest.mark.parametrize(("text", "amount"), [("2GB", 2e9), ("512 MiB", 512 * 2**20), ("1.5g", 1.5e9), ("800", 800)])
def test_amounts_of_memory(text, amount):
    assert bytes_of(text) == amount


def test_a_wide_scene_is_cut_to_the_memory(tmp_path, model, ids):
    scene = synthetic.geotiff(tmp_path / "scene.tif", np.tile(ids, (1, 4)))
    job = Job(str(scene), str(model), PredictOptions(memory="1GB"))
    assert {b.height for b in job.blocks()} == {75} and len(job.blocks()) == 3
    assert len(Job(str(scene), str(model), PredictOptions()).blocks()) == 1


def test_blocks_that_a_worker_holds_are_cut_to_its_memory(tmp_path, model, ids):
    scene = synthetic.geotiff(tmp_path / "scene.tif", np.tile(ids, (1, 4)))
    memory = str(RUNNING + 130_000)  # enough for a row of windows, not for eight
    assert len(Job(str(scene), str(model), PredictOptions(memory=memory)).blocks()) == 1
    assert len(Job(str(scene), str(model), PredictOptions(memory=memory, engine="ray")).blocks()) > 1


def test_windows_that_cannot_be_are_refused(tmp_path, model, scene):
    with pytest.raises(BadOption, match="cannot overlap by 40"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, overlap=40)
    with pytest.raises(BadOption, match="--batch is 0; it must be above 0"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, batch=0)
    assert out(tmp_path) == []


def test_windows_of_another_size(tmp_path, scene):
    model = unet_model(tmp_path / "model").folder
    maps = [
        predict(scene, tmp_path / f"{runtime}.tif", model=model, window=64, runtime=runtime, precision="fp32").map
        for runtime in ("torch", "openvino")
    ]
    with rasterio.open(maps[0]) as file:
        assert file.tags()["SAT2MAP_WINDOW"] == "64, overlap 8"
        assert (file.read(1) != IGNORED).all()
    assert (values(maps[0]) == values(maps[1])).mean() > 0.999
    with pytest.raises(ModelError, match=r"windows that are multiples of 32 pixels, not of 50. Give another --window"):
        predict(scene, tmp_path / "out" / "map.tif", model=model, window=50, runtime="openvino")
    assert out(tmp_path) == []


def test_a_large_scene_is_drawn_small(tmp_path, model, scene, monkeypatch):
    monkeypatch.setattr(prediction, "PICTURED", 20)
    predict(scene, tmp_path / "map.tif", model=model, picture=tmp_path / "picture.png")
    assert (tmp_path / "picture.png").exists()
