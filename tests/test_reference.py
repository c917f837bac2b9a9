"""Reference points: drawn from a map, labelled, and turned into areas in the right unit."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import synthetic
from sat2map import area, sample
from sat2map.areas import PLACES
from sat2map.errors import BadOption, OutputError, SceneError, SourceError
from sat2map.legend import IGNORED, legend_of
from sat2map.polygons.reading import open_class_map
from sat2map.reference import allocate, row_areas
from sat2map.sinks import open_sink
from sat2map.tiling import Window

LEGEND = legend_of(["water", "forest", "town"], [1, 2, 3])
UTM = Affine(10, 0, 500_000, 0, -10, 4_500_000)


def write_map(path: Path, ids: np.ndarray, affine: Affine = UTM, crs: str | None = "EPSG:32636") -> Path:
    with open_sink(path, GeoBox(ids.shape, affine, crs), LEGEND) as sink:
        sink.write(Window(0, 0, *ids.shape), ids.astype(np.uint8))
    return path


def stripes(height: int = 60, width: int = 80) -> np.ndarray:
    """Return half water, a quarter forest, some town, and a corner without data."""
    ids = np.zeros((height, width), np.uint8)
    ids[:, width // 2 :], ids[:, -4:] = 1, 2
    ids[-10:, :10] = IGNORED
    return ids


def label(path: Path, ids: np.ndarray, wrong: float = 0.0, seed: int = 0) -> gpd.GeoDataFrame:
    """Fill in what a map says at its points, some of it wrong."""
    points, rng = gpd.read_file(path), np.random.default_rng(seed)
    cols, rows = ~UTM @ (points.geometry.x.to_numpy(), points.geometry.y.to_numpy())
    truth = ids[rows.astype(int), cols.astype(int)]
    truth = np.where(rng.random(len(truth)) < wrong, rng.integers(0, 3, len(truth)), truth)
    points["class"] = [LEGEND.names[i] for i in truth]
    points.to_file(path)
    return points


def test_a_sample_has_points_of_each_class_in_the_middle_of_pixels(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    points = gpd.read_file(sample(map, 100, tmp_path / "points.gpkg"))
    assert points.crs == "EPSG:32636" and set(points["class"].fillna("")) == {""}
    cols, rows = ~UTM @ (points.geometry.x.to_numpy(), points.geometry.y.to_numpy())
    np.testing.assert_allclose(cols % 1, 0.5)
    drawn = np.bincount(stripes()[rows.astype(int), cols.astype(int)], minlength=256)
    assert drawn[IGNORED] == 0 and drawn[:3].sum() == pytest.approx(100, abs=1)
    assert drawn[2] >= 100 / 6 and drawn[0] > drawn[1] > drawn[2]
    assert len({(x, y) for x, y in zip(cols, rows, strict=True)}) == len(points)


def test_the_same_seed_draws_the_same_points(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    drawn = [
        gpd.read_file(sample(map, 40, tmp_path / f"{i}.gpkg", seed=seed)).geometry.to_wkt().tolist()
        for i, seed in enumerate((0, 0, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_map_that_is_right_has_the_areas_it_shows(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    label(sample(map, 60, tmp_path / "points.gpkg"), stripes())
    found = area(map, reference=tmp_path / "points.gpkg")
    assert found.unit == "ha" and (found.outside, found.unlabelled) == (0, 0)
    mapped = np.bincount(stripes().ravel(), minlength=256)[:3] * 0.01  # 100 square metres
    for c, hectares in zip(found.areas.classes, mapped, strict=True):
        assert c.area.value == pytest.approx(hectares) and c.area.error == 0 and c.mapped == pytest.approx(hectares)


def test_points_in_another_crs_of_other_classes_off_the_map_and_without_a_class(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    points = label(sample(map, 80, tmp_path / "points.gpkg"), stripes(), wrong=0.2)
    points["class"] = points["class"].str.upper()
    points.loc[0, "class"], points.loc[1, "class"], points.loc[2, "class"] = "", "sand", "water"
    far = points.iloc[[3]].set_geometry(points.iloc[[3]].translate(1e6, 0))
    moved = gpd.GeoDataFrame(pd.concat([points, far]), crs=points.crs).to_crs("EPSG:4326")
    moved.to_file(tmp_path / "moved.gpkg")
    found = area(map, reference=tmp_path / "moved.gpkg")
    assert [c.name for c in found.areas.classes] == ["water", "forest", "town", "sand"]
    assert (found.used, found.outside, found.unlabelled) == (len(points) - 1, 1, 1)
    assert found.areas.classes[3].mapped == 0 and found.areas.classes[3].area.value > 0
    assert found.areas.overall.value < 1


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_map_without_a_crs_has_areas_in_pixels(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes(), Affine.identity(), None)
    points = gpd.read_file(sample(map, 30, tmp_path / "points.gpkg"))
    truth = stripes()[(-points.geometry.y).astype(int), points.geometry.x.astype(int)]
    points["class"] = [LEGEND.names[i] for i in truth]
    points.to_file(tmp_path / "points.gpkg")
    found = area(map, reference=tmp_path / "points.gpkg")
    assert found.unit == "pixels" and found.areas.classes[0].mapped == (stripes() == 0).sum()


@pytest.mark.parametrize("latitude", [0, 52, 80])
def test_pixels_in_degrees_and_in_web_mercator_are_measured_on_the_ground(tmp_path, latitude):
    """A pixel of 0.001 degrees is about 111.3 m wide at the equator, and narrower to the north."""
    degrees = write_map(tmp_path / "d.tif", stripes(), Affine(0.001, 0, 10, 0, -0.001, latitude), "EPSG:4326")
    a, e2, phi = 6378137.0, 0.00669437999, np.radians(latitude - 0.03)
    across = np.radians(0.001) * a * np.cos(phi) / np.sqrt(1 - e2 * np.sin(phi) ** 2)
    along = np.radians(0.001) * a * (1 - e2) / (1 - e2 * np.sin(phi) ** 2) ** 1.5
    assert row_areas(open_class_map(degrees))[30] == pytest.approx(across * along / 1e4, rel=1e-3)
    x, y = gpd.GeoSeries.from_xy([10], [latitude], crs="EPSG:4326").to_crs("EPSG:3857").iloc[0].coords[0]
    mercator = write_map(tmp_path / "m.tif", stripes(), Affine(10, 0, x, 0, -10, y), "EPSG:3857")
    on_ground = 0.01 * np.cos(np.radians(latitude)) ** 2
    assert row_areas(open_class_map(mercator))[0] == pytest.approx(on_ground, rel=0.012)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_map_of_a_site_that_is_not_tied_to_the_earth_has_areas_in_pixels(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes(), crs='LOCAL_CS["site",UNIT["metre",1]]')
    label(sample(map, 60, tmp_path / "points.gpkg"), stripes())
    for found in (area(map, reference=tmp_path / "points.gpkg"), area(map, report=write_places(tmp_path / "report"))):
        assert found.unit == "pixels" and found.areas.classes[0].mapped == (stripes() == 0).sum()


@given(st.dictionaries(st.integers(0, 9), st.integers(2, 10_000), min_size=1), st.integers(20, 500))
def test_points_are_shared_between_equal_and_proportional(held, count):
    shared = allocate(held, count)
    assert shared.keys() == held.keys()
    assert all(2 <= n <= held[value] for value, n in shared.items())
    assert sum(shared.values()) <= count + 3 * len(held)
    ordered = sorted(held, key=lambda v: held[v])
    assert [shared[v] for v in ordered] == sorted(shared.values())


def bad(tmp_path: Path, kind: str) -> Path:
    map = write_map(tmp_path / "map.tif", stripes())
    points = label(sample(map, 30, tmp_path / "points.gpkg"), stripes())
    if kind == "column":
        points = points.rename(columns={"class": "what"})
    elif kind == "far":
        points = points.set_geometry(points.translate(1e7, 0))
    elif kind == "polygons":
        points = points.set_geometry(points.buffer(1))
    elif kind in ("few", "none"):
        points = points[(points["class"] != "town") | (points["class"] == "town").cumsum().eq({"few": 1}.get(kind, -1))]
    elif kind == "empty":
        points["class"] = ""
    points.to_file(tmp_path / f"{kind}.gpkg")
    return tmp_path / f"{kind}.gpkg"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("column", "no column that looks like classes"),
        ("far", "lies on the map with a class"),
        ("polygons", "holds Polygon, but reference points are needed"),
        ("few", r"Too few reference points lie where the map says town \(1\)"),
        ("none", r"Too few reference points lie where the map says town \(0\). Each class of the map needs 2"),
        ("empty", "None of the 30 points of .* lies on the map with a class"),
    ],
)
def test_points_of_no_use_are_told(tmp_path, kind, told):
    with pytest.raises((SourceError, BadOption), match=told):
        area(tmp_path / "map.tif", reference=bad(tmp_path, kind))


def test_a_map_of_one_class_is_told(tmp_path):
    map = write_map(tmp_path / "map.tif", np.zeros((20, 20), np.uint8))
    points = gpd.read_file(sample(map, 10, tmp_path / "points.gpkg"))
    points["class"] = "water"
    points.to_file(tmp_path / "points.gpkg")
    with pytest.raises(SourceError, match="one class alone, water"):
        area(map, reference=tmp_path / "points.gpkg")


def test_a_sample_that_cannot_be_drawn_is_told_and_leaves_nothing(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    with pytest.raises(BadOption, match="5 points are too few for 3 classes"):
        sample(map, 5, tmp_path / "points.gpkg")
    with pytest.raises(OutputError, match="ends in"):
        sample(map, 50, tmp_path / "points.doc")
    with pytest.raises(BadOption, match="holds no class"):
        sample(write_map(tmp_path / "none.tif", np.full((9, 9), IGNORED)), 50, tmp_path / "points.gpkg")
    with pytest.raises(SceneError):
        sample(synthetic.geotiff(tmp_path / "rgb.tif", synthetic.landscape(0, 32)), 50, tmp_path / "points.gpkg")
    assert not list(tmp_path.glob("*points*"))
    sample(map, 50, tmp_path / "points.gpkg")
    with pytest.raises(OutputError, match="there already"):
        sample(map, 50, tmp_path / "points.gpkg")
    with rasterio.open(map) as file:
        assert file.count == 1


def test_a_map_without_data_holds_no_class(tmp_path):
    empty = write_map(tmp_path / "map.tif", np.full((20, 20), IGNORED, np.uint8))
    with pytest.raises(BadOption, match="holds no class, so there is nothing to draw from"):
        sample(empty, 10, tmp_path / "points.gpkg")
    with pytest.raises(BadOption, match="holds no class, so there is no area"):
        area(empty, report=write_places(tmp_path / "report"))


def test_a_column_that_is_not_there_is_told(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    label(sample(map, 30, tmp_path / "points.gpkg"), stripes())
    with pytest.raises(SourceError, match=r"has no column 'cover'. It has: id, class"):
        area(map, reference=tmp_path / "points.gpkg", column="cover")


def test_points_where_the_projection_does_not_reach_lie_off_the_map(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    points = label(sample(map, 60, tmp_path / "points.gpkg"), stripes()).to_crs("EPSG:4326")
    beyond = points.iloc[:2].set_geometry(gpd.points_from_xy([123, 33], [5, 91], crs="EPSG:4326"))
    gpd.GeoDataFrame(pd.concat([points, beyond])).to_file(tmp_path / "more.gpkg")
    found = area(map, reference=tmp_path / "more.gpkg")
    assert (found.used, found.outside) == (len(points), 2)


def places(count: int = 16, seed: int = 0) -> np.ndarray:
    """Return pixels `(places, 3, 3)`, rows the truth: where forest is mapped a fifth is town, all else is right."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((count, 3, 3), np.int64)
    counts[:, 0, 0], counts[:, 2, 2] = rng.integers(100, 200, (2, count))
    counts[:, 1, 1] = 4 * rng.integers(20, 60, count)
    counts[:, 2, 1] = counts[:, 1, 1] // 4 + rng.integers(-5, 6, count)
    counts[0, 2, 1] -= (5 * counts[:, 2, 1] - counts[:, :, 1].sum(axis=1)).sum() // 4
    return counts


def write_places(report: Path, counts: np.ndarray | None = None, names: tuple[str, ...] = LEGEND.names) -> Path:
    report.mkdir(exist_ok=True)
    np.savez_compressed(report / PLACES, counts=places() if counts is None else counts, classes=np.array(names))
    return report


def test_a_map_as_wrong_as_the_test_ground(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes())
    report = write_places(tmp_path / "report", names=("Water", "FOREST", "town"))
    found = area(map, report=report)
    water, forest, town = np.bincount(stripes().ravel(), minlength=256)[:3] * 0.01
    sizes = [c.area.value for c in found.areas.classes]
    assert sizes == pytest.approx([water, 0.8 * forest, town + 0.2 * forest], rel=0.01)
    assert [c.mapped for c in found.areas.classes] == pytest.approx([water, forest, town])
    assert found.areas.classes[0].area.error < 1e-9 < 0.1 < found.areas.classes[1].area.error
    assert (found.source, found.unit, found.used, found.outside, found.unlabelled) == ("report", "ha", 16, 0, 0)
    assert "As wrong on this map as on the test ground, of which there are 16 places" in found.basis
    assert found.to_json()["basis"] == found.basis and found.to_json()["source"] == "report"
    assert area(map, report=report / "report.html") == found


def test_a_small_map_is_less_sure_than_a_large_one(tmp_path):
    ids = stripes()
    report = write_places(tmp_path / "report")
    small = area(write_map(tmp_path / "small.tif", ids), report=report).areas
    large = area(write_map(tmp_path / "large.tif", np.tile(ids, (8, 8))), report=report).areas
    tested = places().sum()
    wider = np.sqrt((1 + tested / (ids != IGNORED).sum()) / (1 + tested / (64 * (ids != IGNORED).sum())))
    for a, b in zip(small.classes[1:], large.classes[1:], strict=True):
        assert b.area.value == pytest.approx(64 * a.area.value)
        assert 64 * a.area.error / b.area.error == pytest.approx(wider)


def test_a_map_without_a_crs_and_test_ground(tmp_path):
    map = write_map(tmp_path / "map.tif", stripes(), Affine.identity(), None)
    found = area(map, report=write_places(tmp_path / "report"))
    assert found.unit == "pixels" and found.areas.classes[0].mapped == (stripes() == 0).sum()


def broken_report(tmp_path: Path, kind: str) -> Path:
    report, counts = tmp_path / "report", places()
    if kind == "few":
        return write_places(report, counts[:6])
    if kind == "unmapped":
        counts[:, :, 2] = 0
    if kind == "one":
        return write_places(report, counts[:, :1, :1], ("water",))
    if kind == "other":
        return write_places(report, counts, ("water", "forest", "wheat"))
    if kind == "shape":
        return write_places(report, counts, ("water", "town"))
    write_places(report, counts)
    if kind == "absent":
        (report / PLACES).unlink()
    if kind == "damaged":
        (report / PLACES).write_bytes((report / PLACES).read_bytes()[:90])
    if kind == "text":
        (report / PLACES).write_text("counts")
    if kind == "lacking":
        np.savez(report / PLACES, counts=counts)
    return report


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("few", "The test ground has 6 places, too few to know how much the map's errors vary: 10 are needed"),
        ("unmapped", "The map holds town, but on fewer than 2 places of the test ground was that mapped"),
        ("other", "The map holds town, but the model of .* maps water, forest, wheat. Name the report of the model"),
        ("shape", r"holds counts \(16, 3, 3\) of 2 classes"),
        ("absent", "There is no .*places.npz. .* evaluate the model again"),
        ("damaged", "places.npz cannot be read: .* Evaluate the model again"),
        ("text", "places.npz cannot be read: .* Evaluate the model again"),
        ("lacking", "places.npz cannot be read: .* Evaluate the model again"),
    ],
)
def test_reports_of_no_use_are_told(tmp_path, kind, told):
    map = write_map(tmp_path / "map.tif", stripes())
    with pytest.raises((SourceError, BadOption), match=told):
        area(map, report=broken_report(tmp_path, kind))


def test_test_ground_of_one_class_is_told(tmp_path):
    map = write_map(tmp_path / "map.tif", np.zeros((20, 20), np.uint8))
    with pytest.raises(SourceError, match="maps one class alone, water"):
        area(map, report=broken_report(tmp_path, "one"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({}, "Neither --reference nor --report came. Name one"),
        ({"reference": "points.gpkg", "report": "report"}, "Both --reference and --report came. Name one"),
        ({"report": "report", "column": "cover"}, "--column cover is a column of reference points"),
    ],
)
def test_words_that_do_not_go_together(tmp_path, words, told):
    with pytest.raises(BadOption, match=told):
        area(write_map(tmp_path / "map.tif", stripes()), **words)
