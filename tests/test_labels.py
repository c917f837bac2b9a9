from unittest import mock

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import LineString, Point, Polygon, box

import synthetic
from sat2map.errors import SourceError
from sat2map.labels import disagreements, has_colours, mask_labels, read_shapes, vector_labels
from sat2map.legend import IGNORED, legend_of
from sat2map.scenes import array_scene
from sat2map.tiling import Window

GRID = GeoBox((60, 80), Affine(0.5, 0, 500_000, 0, -0.5, 40_000), synthetic.UTM)


def at(col, row, width, height):
    """Return a rectangle of whole pixels of `GRID` as a shape."""
    (left, top), (right, bottom) = GRID.affine * (col, row), GRID.affine * (col + width, row + height)
    return box(left, bottom, right, top)


def save(path, shapes, crs=synthetic.UTM, **columns):
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=crs)
    return synthetic.write_vectors(path, frame)


def burnt(path, legend=None, *, width=2.0, rest=0, column=None, geobox=GRID):
    shapes = read_shapes(path, column)
    legend = legend or legend_of(["background", *shapes.names])
    return vector_labels(shapes, geobox, legend, width=width, rest=rest)


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "shp", "parquet", "fgb"])
@pytest.mark.parametrize("crs", [synthetic.UTM, "EPSG:4326"])
def test_every_kind_of_file_burns_the_same(tmp_path, suffix, crs):
    frame = gpd.GeoDataFrame(geometry=[at(10, 20, 30, 15)], crs=synthetic.UTM).to_crs(crs)
    ids = burnt(synthetic.write_vectors(tmp_path / f"a.{suffix}", frame)).read().pixels[0]
    expected = np.zeros((60, 80))
    expected[20:35, 10:40] = 1
    assert (ids == expected).all()


@given(row=st.integers(-10, 70), col=st.integers(-10, 90))
def test_shapes_burn_alike_in_any_window(tmp_path_factory, row, col):
    path = tmp_path_factory.getbasetemp() / "shapes.gpkg"
    if not path.exists():
        save(path, [at(3, 3, 50, 20), Point(GRID.affine * (50, 40)).buffer(9)])
    labels = burnt(path)
    part, every = labels.read(Window(row, col, 20, 20)), np.pad(labels.read().pixels[0], 40, constant_values=IGNORED)
    assert (part.pixels[0] == every[row + 40 : row + 60, col + 40 : col + 60]).all()


def test_later_shapes_lie_on_top_and_unknown_classes_are_ignored(tmp_path):
    path = save(tmp_path / "a.gpkg", [at(0, 0, 20, 20), at(10, 0, 20, 20), at(40, 0, 5, 5)], kind=["x", "y", "z"])
    ids = burnt(path, legend_of(["x", "y"]), rest=IGNORED, column="kind").read().pixels[0]
    assert (ids[0, [5, 15, 25, 35, 42]] == [0, 1, 1, IGNORED, IGNORED]).all()


@pytest.mark.parametrize("crs", [synthetic.UTM, "EPSG:4326"])
def test_lines_and_points_are_widened_in_metres(tmp_path, crs):
    line = LineString([GRID.affine * (0, 20), GRID.affine * (80, 20)])
    frame = gpd.GeoDataFrame(geometry=[line, Point(GRID.affine * (40, 45))], crs=synthetic.UTM).to_crs(crs)
    ids = burnt(synthetic.write_vectors(tmp_path / "a.geojson", frame.to_crs(4326)), width=4).read().pixels[0]
    assert ids[:35].sum(axis=0)[40] == 8
    assert ids[35:].sum() == pytest.approx(np.pi * 4**2, rel=0.1)


def test_invalid_shapes_are_repaired(tmp_path):
    bow = Polygon([GRID.affine * p for p in ((10, 10), (30, 30), (30, 10), (10, 30))])
    shapes = read_shapes(save(tmp_path / "a.gpkg", [bow, at(50, 50, 4, 4)]))
    assert shapes.repaired == 1 and shapes.frame.geometry.is_valid.all()
    ids = vector_labels(shapes, GRID, legend_of(["no", *shapes.names]), width=1, rest=0).read().pixels[0]
    assert ids[20, 12] == 1 and ids[20, 28] == 1 and ids[11, 20] == 0


def test_the_class_column_is_found_whatever_its_case(tmp_path):
    columns = {"note": ["a", "b"], "Class": [1.0, 2.0]}
    shapes = read_shapes(save(tmp_path / "a.gpkg", [at(0, 0, 5, 5), at(9, 9, 5, 5)], **columns))
    assert shapes.column == "Class" and shapes.names == ("1", "2")
    assert read_shapes(tmp_path / "a.gpkg", "note").names == ("a", "b")
    with pytest.raises(SourceError, match="It has: note, Class"):
        read_shapes(tmp_path / "a.gpkg", "kind")


def test_names_and_numbers_that_disagree(tmp_path):
    names = ["water"] * 5 + ["land"] * 6
    numbers = [1] * 5 + [2] * 5 + [1]
    shapes = read_shapes(save(tmp_path / "a.gpkg", [at(i, 0, 1, 1) for i in range(11)], label=names, code=numbers))
    assert disagreements(shapes) == ["row 10: label 'land', but code 1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("no vectors", "cannot be read as vectors"), ('{"type": "FeatureCollection", "features": []}', "shapes")],
)
def test_files_without_shapes(tmp_path, content, message):
    (tmp_path / "a.geojson").write_text(content)
    with pytest.raises(SourceError, match=message):
        read_shapes(tmp_path / "a.geojson")


def test_rows_without_class_or_shape_are_left_out(tmp_path):
    path = save(tmp_path / "a.gpkg", [at(0, 0, 5, 5), None, at(9, 9, 5, 5)], label=["a", "b", None])
    assert read_shapes(path).names == ("a",)
    save(tmp_path / "b.gpkg", [at(0, 0, 5, 5)], label=np.array([None], object))
    with pytest.raises(SourceError, match="names no class"):
        read_shapes(tmp_path / "b.gpkg")


def test_mask_pixels_without_data_have_no_label():
    ids = synthetic.landscape(1, 30)
    valid = ids != 2
    for mask in (array_scene(ids, valid), array_scene(synthetic.colour_mask(ids), valid)):
        labels = mask_labels(mask, synthetic.LEGEND).read()
        assert (labels.pixels[0] == np.where(valid, ids, IGNORED)).all()
    assert not has_colours(array_scene(ids))


def test_a_file_without_a_layer_of_shapes_is_told(monkeypatch):
    fault = pyogrio.errors.DataLayerError("Layer could not be opened")
    monkeypatch.setattr(gpd, "read_file", mock.Mock(side_effect=fault))
    with pytest.raises(SourceError, match=r"a.gpkg cannot be read as vectors: Layer could not be opened\.$"):
        read_shapes("a.gpkg")
