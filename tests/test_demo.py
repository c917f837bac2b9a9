from __future__ import annotations

import shutil

import pytest
import rasterio
from affine import Affine

import synthetic
from sat2map import demo, demonstration
from sat2map.errors import BadOption, OutputError, SourceError

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32", "minutes": 0.01}


def test_own_data_become_a_model_a_map_polygons_and_a_report(tmp_path, vector_folder):
    made = demo(tmp_path / "demo", source=vector_folder, **TINY)
    for path in (made.map, made.polygons, made.picture, made.evaluation.report, tmp_path / "demo/run/model/graph.xml"):
        assert path.stat().st_size > 0
    with rasterio.open(made.map) as file:
        assert file.crs == synthetic.UTM
        assert file.shape == (96, 6 * 96)  # all tiles, as one scene
    assert made.evaluation.scores.accuracy is not None


def too_large(folder, monkeypatch):
    monkeypatch.setattr(demonstration, "LARGEST", 6 * 96 * 96 - 1)


def two_dates(folder, monkeypatch):
    for file in sorted((folder / "images").iterdir()):
        shutil.copy(file, file.with_name(f"later_{file.name}"))


def two_grids(folder, monkeypatch):
    file = folder / "images" / "tile_5.tif"
    synthetic.geotiff(file, synthetic.landscape(5, 96), transform=synthetic.PLACE * Affine.translation(480.5, 0))


@pytest.mark.parametrize("unlike", [too_large, two_dates, two_grids])
def test_images_that_are_no_tiles_of_one_scene_are_mapped_each_by_itself(tmp_path, monkeypatch, unlike):
    folder = synthetic.geotiff_with_vectors(tmp_path / "source")
    unlike(folder, monkeypatch)
    made = demo(tmp_path / "demo", source=folder, **TINY)
    with rasterio.open(made.map) as file:
        assert file.shape == (96, 96)


def test_a_second_demo_replaces_the_first_and_pictures_give_a_picture(tmp_path, rgb_folder):
    first = demo(tmp_path, source=rgb_folder, **TINY)
    assert first.map.suffix == ".png"
    drawn = first.picture.read_bytes()
    first.picture.write_bytes(b"")
    second = demo(tmp_path, source=rgb_folder, **TINY)
    assert second.map == first.map
    assert second.picture.read_bytes()[:8] == drawn[:8]


@pytest.mark.parametrize("words", [{"minutes": 0}, {"minutes": float("inf")}, {"seed": -1}, {"lr": -1}])
def test_a_mistake_is_told_before_anything_is_written(tmp_path, words):
    with pytest.raises(BadOption):
        demo(tmp_path / "demo", **words)
    assert not (tmp_path / "demo").exists()


def mine(folder):
    synthetic.write_legend(folder / "photos" / "classes.json")


def a_run(folder):
    (folder / "run").mkdir()
    (folder / "run" / "call.json").write_text("{}")


@pytest.mark.parametrize(("make", "told"), [(mine, "no demo's, .* --source"), (a_run, "no demo's")])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, rgb_folder, make, told):
    make(tmp_path)
    there = sorted(tmp_path.rglob("*"))
    for words in ({}, {"source": rgb_folder}):
        with pytest.raises(OutputError, match=told):
            demo(tmp_path, **TINY, **words)
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize("there", [True, False])
def test_a_source_that_cannot_be_learnt_from_leaves_no_folder(tmp_path, there):
    folder = tmp_path / "demo"
    if there:
        folder.mkdir()
    with pytest.raises(SourceError, match="There is no"):
        demo(folder, source=tmp_path / "nowhere", **TINY)
    assert folder.exists() == there
    assert not list(folder.rglob("*"))


def test_map_pictures_become_a_map_and_a_report(tmp_path, picture_folder, no_net):
    made = demo(tmp_path / "demo", source=picture_folder, **TINY)
    assert made.map.suffix == ".png" and made.evaluation.report.exists() and made.polygons is None
    assert {m.name for m in made.evaluation.metrics if m.value is not None} >= {"L1", "PSNR"}
    with rasterio.open(made.map) as file:
        assert file.shape == (64, 64)  # the image alone, not the map beside it


@pytest.mark.parametrize("source", ["image.tif", "stacks.h5", "stacks"])
def test_a_source_that_is_a_file_or_holds_arrays(tmp_path, source):
    path, words = tmp_path / source, {}
    if source == "image.tif":
        ids = synthetic.landscape(0, 256)
        synthetic.geotiff(path, ids)
        words = {"labels": str(synthetic.save(tmp_path / "labels.tif", ids[None]))}
    else:
        synthetic.hdf5_file(path if source == "stacks.h5" else path / "train.h5", count=8)
    made = demo(tmp_path / "demo", source=path, **TINY, **words)
    with rasterio.open(made.map) as file:
        assert (file.shape, file.crs) == (((256, 256), synthetic.UTM) if words else ((64, 64), None))
    assert made.picture.exists()
