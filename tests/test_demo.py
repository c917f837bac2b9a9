from __future__ import annotations

import pytest
import rasterio

import synthetic
from sat2map import demo
from sat2map.errors import BadOption, OutputError

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32", "minutes": 0.01}


def test_own_data_become_a_model_a_map_polygons_and_a_report(tmp_path, vector_folder):
    made = demo(tmp_path / "demo", source=vector_folder, **TINY)
    for path in (made.map, made.polygons, made.picture, made.evaluation.report, tmp_path / "demo/run/model/graph.xml"):
        assert path.stat().st_size > 0
    with rasterio.open(made.map) as file:
        assert file.crs == synthetic.UTM
        assert file.shape == (96, 96)
    assert made.evaluation.scores.accuracy is not None


def test_a_second_demo_replaces_the_first_and_pictures_give_a_picture(tmp_path, rgb_folder):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "call.json").write_text("{}")
    made = demo(tmp_path, source=rgb_folder, **TINY)
    assert made.map.suffix == ".png"
    assert "rgb" in (tmp_path / "run" / "call.json").read_text()


@pytest.mark.parametrize("words", [{"minutes": 0}, {"minutes": float("inf")}, {"seed": -1}, {"lr": -1}])
def test_a_mistake_is_told_before_anything_is_written(tmp_path, words):
    with pytest.raises(BadOption):
        demo(tmp_path / "demo", **words)
    assert not (tmp_path / "demo").exists()


def test_the_folder_of_someone_else_is_not_replaced(tmp_path):
    synthetic.write_legend(tmp_path / "run" / "classes.json")
    with pytest.raises(OutputError, match="no run"):
        demo(tmp_path)
    assert sorted(f.name for f in tmp_path.rglob("*")) == ["classes.json", "run"]


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
