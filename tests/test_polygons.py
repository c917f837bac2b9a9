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
from rasterio.features import rasterize, shapes

import sat2map.polygons
from sat2map.errors import BadOption, OutputError, SceneError, UnknownName
from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.polygons import WRITERS, polygonize
from sat2map.polygons.squaring import MIN_IOU
from sat2map.polygons.tracing import trace
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


def write_band(path: Path, pixels: np.ndarray, like: Path) -> Path:
    """Write one band on the grid of another raster."""
    with rasterio.open(like) as file:
        place = {"crs": file.crs, "transform": file.transform}
    height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype=pixels.dtype, **place
    ) as file:
        file.write(pixels, 1)
    return path


def traced(values: np.ndarray, rows: int, weights: np.ndarray | None = None) -> list[tuple]:
    """Return all that is told of the polygons traced in strips, in an order of their own."""
    strips = (
        (values[i : i + rows], None if weights is None else weights[i : i + rows]) for i in range(0, len(values), rows)
    )
    found = []
    for outlines in trace(strips, -1):
        if len(outlines.values):
            polygons = outlines.shapes(slice(0, len(outlines.values)))
            found += zip(polygons, outlines.values, outlines.pixels, outlines.weights, strict=True)
    return sorted((p.wkb, *(int(number) for number in numbers)) for p, *numbers in found)


@settings(max_examples=150)
@given(npst.arrays(np.int16, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(-1, 2)))
def test_strips_of_any_height_give_the_polygons_of_the_whole_raster(values):
    weights = np.arange(values.size).reshape(values.shape) % 256
    whole_raster = traced(values, len(values), weights)
    for rows in (1, 2, 3, 5):
        assert traced(values, rows, weights) == whole_raster
    polygons = shapely.from_wkb([wkb for wkb, *_ in whole_raster])
    expected = [shapely.normalize(shapely.geometry.shape(rings)) for rings, value in shapes(values) if value >= 0]
    assert {p.wkb for p in shapely.normalize(polygons)} == {p.wkb for p in expected}
    assert shapely.is_valid(polygons).all()
    corners = shapely.get_num_coordinates(polygons)
    np.testing.assert_array_equal(corners, shapely.get_num_coordinates(shapely.simplify(polygons, 0)))
    for value in (0, 1, 2):
        mine = [(shapely.from_wkb(wkb).area, pixels) for wkb, v, pixels, _ in whole_raster if v == value]
        assert all(area == pixels for area, pixels in mine)
        assert sum(pixels for _, pixels in mine) == (values == value).sum()
    assert sum(weight for *_, weight in whole_raster) == weights[values >= 0].sum()


def test_a_hole_that_touches_the_outline_in_a_point_is_a_hole():
    values = np.int16([[-1, 1, 1], [1, 0, 1], [1, 1, 1]])
    ring, hole = (shapely.from_wkb(wkb) for wkb, *_ in sorted(traced(values, 1), key=lambda row: -row[1]))
    assert ring.is_valid
    assert ring.area == 7
    assert [shapely.Polygon(r).area for r in ring.interiors] == [hole.area] == [1]


def test_a_winding_polygon_is_one():
    values = np.zeros((41, 40), np.int16)
    values[::2] = 1
    values[1::4, 0], values[3::4, -1] = 1, 1
    rows = traced(values, 4)
    assert [value for _, value, *_ in rows].count(1) == 1
    assert [value for _, value, *_ in rows].count(0) == 20


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_files_do_not_depend_on_the_strips(tmp_path, monkeypatch, suffix):
    path = save(tmp_path / "map.tif", patches())
    sure = write_band(tmp_path / "sure.tif", np.arange(3600, dtype=np.uint8).reshape(60, 60), path)
    told = []
    for pixels in (1, 60 * 7, 60 * 60):
        monkeypatch.setattr(sat2map.polygons, "STRIP_PIXELS", pixels)
        frame = read(polygonize(path, tmp_path / f"out{pixels}{suffix}", min_area=1, confidence=sure))
        columns = [frame[name] for name in ("class", "value", "area", "confidence")]
        told.append(sorted(zip(*columns, frame.geometry.to_wkb(), strict=True)))
    assert told[0] == told[1] == told[2]
    assert len(told[0]) > 10


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


@pytest.mark.parametrize("shaped", [{}, {"simplify": 30.0}, {"square": ("Land",)}])
def test_areas_in_web_mercator_are_those_on_the_ground(tmp_path, shaped):
    """At 52 degrees north it shows them 2.6 times as large."""
    ids = patches()
    ids[10:20, 10:20], ids[13:16, 13:16] = 1, 2
    path = save(tmp_path / "map.tif", ids, Affine(10, 0, 1_669_500, 0, -10, 6_800_400), "EPSG:3857")
    frame = read(polygonize(path, tmp_path / "out.gpkg", **shaped))
    assert frame.interiors.str.len().max() >= 1
    np.testing.assert_allclose(frame["area"], frame.to_crs("EPSG:32633").area, rtol=2e-3)
    large = read(polygonize(path, tmp_path / "large.gpkg", min_area=1000, **shaped))
    assert sorted(large["area"]) == sorted(frame["area"][frame["area"] >= 1000])
    assert len(large) < (frame.area >= 1000).sum()


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


def test_confidence_is_the_mean_over_the_polygon(tmp_path):
    ids = np.uint8([[0, 0, 1], [0, IGNORED, 1]])
    path = save(tmp_path / "map.tif", ids)
    sure = write_band(tmp_path / "sure.tif", np.uint8([[254, 254, 0], [0, 9, 51]]), path)
    frame = read(polygonize(path, tmp_path / "out.gpkg", confidence=sure)).set_index("class")
    assert frame["confidence"].to_dict() == pytest.approx({"Land": 2 / 3, "Bäche & Seen": 25.5 / 254})
    assert "confidence" not in read(polygonize(path, tmp_path / "without.gpkg"))
    far = save(tmp_path / "far.tif", ids, HALF @ Affine.translation(1, 0))
    for wrong, text in (
        (tmp_path / "gone.tif", "gone.tif cannot be read as confidences"),
        (write_band(tmp_path / "float.tif", np.float32([[1]]), path), "holds 1 band of float32"),
        (write_band(tmp_path / "small.tif", np.uint8([[1]]), path), "small.tif does not lie on the grid of"),
        (far, "far.tif does not lie on the grid of"),
    ):
        with pytest.raises(SceneError, match=text):
            polygonize(path, tmp_path / "none.gpkg", confidence=wrong)
    assert not (tmp_path / "none.gpkg").exists()


def house(angle: float) -> shapely.Polygon:
    """Return the outline of a house with a wing, 42 m long, turned about the origin by degrees."""
    plan = shapely.difference(shapely.box(-21, -14, 21, 14), shapely.box(3, -1, 22, 15))
    turn = np.exp(1j * np.radians(angle))
    return shapely.transform(plan, lambda xy: (xy @ (1, 1j) * turn)[:, None].view(float))


def right_angles(polygon: shapely.Polygon) -> bool:
    walls = np.diff(shapely.get_coordinates(polygon), axis=0)
    walls /= np.linalg.norm(walls, axis=1, keepdims=True)
    return np.allclose((walls * np.roll(walls, 1, axis=0)).sum(axis=1), 0, atol=1e-4)


def iou(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return one.intersection(other).area / one.union(other).area


@pytest.mark.parametrize("angle", [0, 17, 45, 80])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_squared_outlines_have_the_corners_of_the_house(tmp_path, angle, crs):
    east, north = (1, 1) if crs == "EPSG:32633" else (2 / 111_320, 1 / 111_320)  # at a latitude of 60 degrees
    to_map = Affine.translation(15, 60) @ Affine.scale(east, north)
    grid = to_map @ Affine(0.5, 0, -30, 0, -0.5, 30)
    plan = house(angle)
    on_map = shapely.transform(plan, lambda xy: np.column_stack(to_map @ tuple(xy.T)))
    ids = rasterize([(on_map, 2)], out_shape=(120, 120), transform=grid, dtype="uint8")
    path = save(tmp_path / "map.tif", ids, grid, crs)
    stepped = read(polygonize(path, tmp_path / "stepped.parquet")).set_index("class")
    frame = read(polygonize(path, tmp_path / "out.parquet", square=["wood"])).set_index("class")
    made = shapely.transform(frame.geometry["Wood"], lambda xy: np.column_stack(~to_map @ tuple(xy.T)))
    assert made.is_valid
    assert len(made.exterior.coords) == 7
    assert right_angles(made)
    assert iou(made, plan) > 0.97
    assert frame["area"]["Wood"] == pytest.approx(stepped["area"]["Wood"], rel=1e-5)
    assert frame.geometry["Land"].equals(stepped.geometry["Land"])


def test_what_right_angles_do_not_fit_stays(tmp_path):
    triangle = shapely.Polygon([(5, 5), (55, 20), (12, 50)])
    yard = shapely.difference(shapely.box(70, 5, 110, 45), shapely.box(80, 15, 100, 35))
    ids = rasterize([(triangle, 2), (yard, 2), (shapely.box(70, 60, 71, 61), 2)], out_shape=(80, 120), dtype="uint8")
    path = save(tmp_path / "map.tif", ids, Affine.identity(), None)
    stepped = read(polygonize(path, tmp_path / "stepped.gpkg", classes=["Wood"]))
    frame = read(polygonize(path, tmp_path / "out.gpkg", classes=["Wood"], square=["Wood"]))
    assert frame.is_valid.all()
    same = [one.equals_exact(other, 1e-9) for one, other in zip(frame.geometry, stepped.geometry, strict=True)]
    assert frame["area"][0] == stepped["area"][0] == (ids[:, :60] == 2).sum()
    assert same[0]
    assert frame.geometry[1].equals(shapely.transform(yard, lambda xy: xy * (1, -1)))
    assert [iou(a, b) >= MIN_IOU for a, b in zip(frame.geometry, stepped.geometry, strict=True)] == [True] * 3


def test_smoothed_neighbours_of_squared_outlines(tmp_path):
    to_map = Affine(1, 0, -30, 0, -1, 30)
    ids = rasterize([(house(30), 2)], out_shape=(60, 60), transform=to_map, dtype="uint8")
    path = save(tmp_path / "map.tif", ids, to_map)
    frame = read(polygonize(path, tmp_path / "out.parquet", square=["Wood"], simplify=1.5)).set_index("class")
    squared = read(polygonize(path, tmp_path / "squared.parquet", square=["Wood"])).set_index("class")
    assert frame.geometry["Wood"].equals(squared.geometry["Wood"])
    assert len(frame.geometry["Land"].interiors[0].coords) < len(squared.geometry["Land"].interiors[0].coords)


def test_a_mask_inside_the_file_is_nodata_too(tmp_path):
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "map.tif", "w", driver="GTiff", width=3, height=1, count=1, dtype="uint8") as file,
    ):
        file.write(np.uint8([[[4, 4, 4]]]))
        file.write_mask(np.array([[True, True, False]]))
    frame = read(polygonize(tmp_path / "map.tif", tmp_path / "out.gpkg"))
    assert frame[["class", "area"]].to_numpy().tolist() == [["4", 2.0]]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".parquet"])
def test_a_map_that_ends_too_early_leaves_no_polygons(tmp_path, monkeypatch, suffix):
    ids = np.random.default_rng(0).integers(0, 3, (600, 600)).astype(np.uint8)
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", width=600, height=600, count=1, dtype="uint8", blockysize=8
    ) as file:
        file.write(ids, 1)
    path = tmp_path / "map.tif"
    path.write_bytes(path.read_bytes()[:200_000])
    monkeypatch.setattr(sat2map.polygons, "STRIP_PIXELS", 600 * 50)
    with pytest.raises(SceneError, match=r"map.tif cannot be read: .*Is the file complete"):
        polygonize(path, tmp_path / f"out{suffix}")
    assert [f.name for f in tmp_path.iterdir()] == ["map.tif"]


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
        (UnknownName, "no class 'Wod'. Did you mean 'Wood'", lambda: polygonize(path, out, square=["Wod"])),
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
