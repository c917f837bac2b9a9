"""Polygons cover exactly the pixels of their classes, whatever the map and the kind of file."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from sat2map.errors import BadOption, OutputError, SceneError, UnknownName
from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.polygons import WRITERS, polygonize
from sat2map.sinks import Part, open_sink
from sat2map.tiling import whole

LEGEND = Legend(
    (MapClass("Land", (210, 180, 140), 10), MapClass("Bäche & Seen", (0, 90, 200), 3), MapClass("Wood", (1, 90, 3), 0))
)
HALF = Affine(0.5, 0, 412_000, 0, -0.5, 5_340_000)

small_maps = npst.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, IGNORED])
)


def save(path: Path, ids: np.ndarray, affine: Affine = HALF, crs: str | None = "EPSG:32633") -> Path:
    with open_sink(path, GeoBox(ids.shape, affine, crs), LEGEND) as sink:
        sink.write(whole(ids.shape), ids)
    return path


def read(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(path) if "parquet" in path.suffix else gpd.read_file(path)


def patches(seed: int = 0, size: int = 12, cell: int = 5) -> np.ndarray:
    coarse = np.random.default_rng(seed).choice([0, 1, 2, IGNORED], (size, size)).astype(np.uint8)
    return np.kron(coarse, np.ones((cell, cell), np.uint8))


def burnt(frame: gpd.GeoDataFrame, shape: tuple[int, int], affine: Affine) -> np.ndarray:
    if frame.empty:
        return np.full(shape, IGNORED, np.uint8)
    rows = zip(frame.geometry, frame["value"], strict=True)
    return rasterize(rows, out_shape=shape, fill=IGNORED, transform=affine, dtype="uint8")


@settings(max_examples=40)
@given(small_maps)
def test_polygons_are_the_pixels(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("any")
    out = polygonize(save(folder / "map.tif", ids), folder / "map.gpkg")
    frame = read(out)
    assert frame.is_valid.all()
    assert set(frame.geom_type) <= {"Polygon"}
    np.testing.assert_allclose(frame["area"], frame.area)
    for i, c in enumerate(LEGEND.classes):
        mine = frame[frame["class"] == c.name]
        assert (mine["value"] == c.value).all()
        assert mine["area"].sum() == pytest.approx(0.25 * (ids == i).sum())
    assert shapely.union_all(frame.geometry).area == pytest.approx(0.25 * (ids != IGNORED).sum())  # no overlaps
    np.testing.assert_array_equal(burnt(frame, ids.shape, HALF), LEGEND.values(ids))


@settings(max_examples=40)
@given(small_maps, st.floats(0.1, 3))
def test_simplified_neighbours_neither_overlap_nor_part(tmp_path_factory, ids, tolerance):
    folder = tmp_path_factory.mktemp("any")
    path = save(folder / "map.tif", ids)
    exact = read(polygonize(path, folder / "exact.parquet"))
    frame = read(polygonize(path, folder / "map.parquet", simplify=tolerance))
    assert frame.is_valid.all()
    assert len(frame) == len(exact)
    assert shapely.coverage_is_valid(frame.geometry.values)
    union = shapely.union_all(frame.geometry)
    assert frame["area"].sum() == pytest.approx(union.area)
    if (ids != IGNORED).all():  # nothing but the frame of the map is left of the outline
        assert sum(len(p.interiors) for p in getattr(union, "geoms", [union])) == 0


def test_simplify_smooths_steps(tmp_path):
    ids = (np.add.outer(np.arange(40), np.arange(40)) > 40).astype(np.uint8)
    path = save(tmp_path / "map.tif", ids)
    stepped = read(polygonize(path, tmp_path / "stepped.gpkg"))
    smooth = read(polygonize(path, tmp_path / "smooth.gpkg", simplify=1.5))
    assert shapely.get_num_coordinates(stepped.geometry.values).sum() > 150
    assert shapely.get_num_coordinates(smooth.geometry.values).sum() < 20
    assert smooth["area"].sum() == pytest.approx(400)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("picture", [".tif", ".png"])
def test_every_kind_of_file_holds_the_same(tmp_path, suffix, picture):
    ids = patches()
    out = polygonize(save(tmp_path / f"map{picture}", ids), tmp_path / "new" / f"out{suffix}")
    frame = read(out)
    assert {"class", "value", "area"} <= set(frame.columns)
    assert set(frame["class"]) == set(LEGEND.names)
    assert frame["area"].sum() == pytest.approx(0.25 * (ids != IGNORED).sum())
    assert frame.crs.to_epsg() == (4326 if suffix == ".geojson" else 32633)
    place = frame.to_crs(32633).total_bounds
    np.testing.assert_allclose(place, (412_000, 5_339_970, 412_030, 5_340_000), atol=0.02)
    assert all(f.stem == "out" for f in out.parent.iterdir())


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_map_without_classes_gives_a_file_without_polygons(tmp_path, suffix):
    empty = save(tmp_path / "map.tif", np.full((6, 5), IGNORED, np.uint8))
    frame = read(polygonize(empty, tmp_path / f"out{suffix}"))
    assert len(frame) == 0
    assert suffix == ".geojson" or {"class", "value", "area"} <= set(frame.columns)  # GeoJSON has columns by row only


@pytest.mark.parametrize("suffix", WRITERS)
def test_pictures_without_georeference_have_rows_downwards(tmp_path, suffix):
    ids = patches()
    ids[0, 0] = 0
    path = save(tmp_path / "map.png", ids, Affine.identity(), None)
    frame = read(polygonize(path, tmp_path / f"out{suffix}"))
    assert frame["area"].sum() == (ids != IGNORED).sum()
    np.testing.assert_array_equal(burnt(frame, ids.shape, Affine.scale(1, -1)), LEGEND.values(ids))


def test_areas_are_square_metres_in_any_crs(tmp_path):
    ids = np.zeros((10, 10), np.uint8)
    degrees = save(tmp_path / "degrees.tif", ids, Affine(0.001, 0, 11, 0, -0.001, 0.005), "EPSG:4326")
    feet = save(tmp_path / "feet.tif", ids, Affine(10, 0, 6e5, 0, -10, 2e5), "EPSG:2263")
    nowhere = save(tmp_path / "nowhere.tif", ids, Affine(10, 0, 7, 0, -10, 3), None)
    area = {p.stem: read(polygonize(p, p.with_suffix(".gpkg")))["area"].sum() for p in (degrees, feet, nowhere)}
    assert area["degrees"] == pytest.approx(1113.195 * 1105.743, rel=1e-4)  # 0.01 degree at the equator
    assert area["feet"] == pytest.approx((100 * 0.3048006096) ** 2)
    assert area["nowhere"] == pytest.approx(100)


def test_turned_maps_keep_their_place(tmp_path):
    turned = Affine(0.4, 0.3, 412_000, 0.3, -0.4, 5_340_000)
    ids = patches()
    frame = read(polygonize(save(tmp_path / "map.tif", ids, turned), tmp_path / "out.gpkg"))
    np.testing.assert_array_equal(burnt(frame, ids.shape, turned), LEGEND.values(ids))


def test_only_some_classes_and_only_large_ones(tmp_path):
    ids = patches()
    ids[0, 0], ids[0, 1], ids[1, :2] = 2, 0, 0
    path = save(tmp_path / "map.tif", ids)
    every = read(polygonize(path, tmp_path / "every.gpkg"))
    some = read(polygonize(path, tmp_path / "some.gpkg", classes=["land", "Wood"], min_area=1.0))
    expected = every[every["class"].isin(["Land", "Wood"]) & (every["area"] >= 1.0)]
    assert 0 < len(some) < len(every)
    assert sorted(some["area"]) == sorted(expected["area"])
    assert set(some["class"]) == {"Land", "Wood"}


def test_names_of_foreign_rasters_are_their_numbers(tmp_path):
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", width=2, height=1, count=1, dtype="int16", nodata=-1
    ) as file:
        file.write(np.int16([[[300, -1]]]))
    frame = read(polygonize(tmp_path / "map.tif", tmp_path / "out.gpkg", classes=["300"]))
    assert frame[["class", "value", "area"]].to_numpy().tolist() == [["300", 300, 1.0]]


def test_mistakes_are_told(tmp_path):
    path = save(tmp_path / "map.tif", patches())
    (tmp_path / "text.tif").write_text("no image")
    for name, count, dtype in (("rgb.tif", 3, "uint8"), ("float.tif", 1, "float32")):
        with rasterio.open(tmp_path / name, "w", driver="GTiff", width=2, height=2, count=count, dtype=dtype):
            pass
    out = tmp_path / "out.gpkg"
    for error, text, call in (
        (UnknownName, "no class 'Lnd'. Did you mean 'Land'", lambda: polygonize(path, out, classes=["Lnd"])),
        (BadOption, "--min-area is 0; it must be above 0", lambda: polygonize(path, out, min_area=0)),
        (BadOption, "--simplify is -1; it must be above 0", lambda: polygonize(path, out, simplify=-1)),
        (SceneError, "gone.tif cannot be read as a class map", lambda: polygonize(tmp_path / "gone.tif", out)),
        (SceneError, "text.tif cannot be read as a class map", lambda: polygonize(tmp_path / "text.tif", out)),
        (SceneError, "rgb.tif has 3 bands", lambda: polygonize(tmp_path / "rgb.tif", out)),
        (SceneError, "float.tif holds float32", lambda: polygonize(tmp_path / "float.tif", out)),
        (OutputError, r"ends in '.kml'. .*\.gpkg", lambda: polygonize(path, tmp_path / "out.kml")),
    ):
        with pytest.raises(error, match=text):
            call()
    assert not out.exists()


def test_an_older_file_stays_unless_it_may_be_replaced(tmp_path, monkeypatch):
    path, out = save(tmp_path / "map.tif", patches()), tmp_path / "out.shp"
    polygonize(path, out)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(OutputError, match=r"is there already.*--overwrite"):
        polygonize(path, out)

    def full(part: Part) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Part, "publish", full)
        with pytest.raises(OutputError, match="No space left"):
            polygonize(path, out, classes=["Land"], overwrite=True)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    polygonize(path, out, classes=["Land"], overwrite=True)
    assert set(read(out)["class"]) == {"Land"}
