"""Change between two class maps: aligned, counted, mapped, drawn, and told with its errors or without."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.warp import Resampling, reproject, transform_bounds
from rich.table import Table

import synthetic
from sat2map import area, sample
from sat2map.changes import change
from sat2map.changes import ground as ground_module
from sat2map.changes.classes import OTHER, known_colours, transitions_of
from sat2map.changes.drawing import Thumbnails
from sat2map.changes.ground import Counts, count_changes, open_both
from sat2map.changes.telling import shown
from sat2map.errors import BadOption, OutputError, SceneError, SourceError, UserError
from sat2map.legend import IGNORED, legend_of
from sat2map.polygons.reading import open_class_map
from sat2map.reference import row_areas
from sat2map.sinks import open_sink, read_map_legend
from sat2map.tiling import Window, grid, whole

NAMES = ("Water", "Forest", "Town")
UTM = Affine(10, 0, 500_000, 0, -10, 4_500_000)
CRS = "EPSG:32636"


def write_map(
    path: Path, ids: np.ndarray, names=NAMES, affine: Affine = UTM, crs: str | None = CRS, values=None
) -> Path:
    with open_sink(path, GeoBox(ids.shape, affine, crs), legend_of(names, values)) as sink:
        sink.write(Window(0, 0, *ids.shape), ids.astype(np.uint8))
    return path


def two_dates(folder: Path, affine: Affine = UTM, crs: str | None = CRS) -> tuple[Path, Path]:
    """Write half water and half forest, of which a block becomes town and a strip water; a corner has no data."""
    before = np.zeros((60, 80), np.uint8)
    before[:, 40:] = 1
    after = before.copy()
    after[5:25, 50:70], after[:, 40:43] = 2, 0
    after[-10:, :10] = IGNORED
    return (
        write_map(folder / "before.tif", before, affine=affine, crs=crs),
        write_map(folder / "after.tif", after, affine=affine, crs=crs),
    )


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def by_hand(before: np.ndarray, after: np.ndarray, count: int) -> np.ndarray:
    matrix = np.zeros((count, count), np.int64)
    for one, other in zip(before.ravel().tolist(), after.ravel().tolist(), strict=True):
        if one != IGNORED and other != IGNORED:
            matrix[one, other] += 1
    return matrix


IDS = arrays(np.uint8, st.tuples(st.integers(9, 14), st.just(11)), elements=st.sampled_from([0, 0, 1, 1, 2, IGNORED]))


@settings(max_examples=15)
@given(IDS, st.randoms(use_true_random=False), st.permutations(range(3)))
def test_the_matrix_is_what_counting_by_hand_gives(tmp_path_factory, before, random, order):
    """Also where the later map lists the same classes in another order and another case, with other numbers."""
    folder = tmp_path_factory.mktemp("maps")
    after = np.array([random.choice([0, 1, 2, IGNORED, v]) for v in before.ravel().tolist()]).reshape(before.shape)
    renumbered = np.append(np.argsort(order), np.full(253, IGNORED))[after]
    one = write_map(folder / "a.tif", before)
    other = write_map(folder / "b.tif", renumbered, [NAMES[i].upper() for i in order], values=[7, 100, 31])
    expected = by_hand(before, after, 3)
    occurring = expected.any(axis=0) | expected.any(axis=1)
    both = open_both(one, other)
    if occurring.sum() < 2:
        with pytest.raises(SourceError, match=r"no ground in common|one class alone"):
            count_changes(both)
        return
    counts = count_changes(both)
    assert counts.names == tuple(np.array(NAMES)[occurring])
    np.testing.assert_array_equal(counts.pixels, expected[occurring][:, occurring])
    np.testing.assert_allclose(counts.areas, counts.pixels * 0.01)
    alone = (before != IGNORED) & (after == IGNORED)
    assert counts.left_out == pytest.approx(alone.sum() * 0.01)
    common = before[(before != IGNORED) & (after != IGNORED)]
    np.testing.assert_array_equal(counts.pixels.sum(axis=1), np.bincount(common, minlength=3)[occurring])


@settings(max_examples=12)
@given(
    st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 359), st.sampled_from([0.5, 1, 3]),
    st.sampled_from([33, 1024]),
)  # fmt: skip
def test_shifted_turned_and_finer_maps_are_aligned_as_gdal_does(tmp_path_factory, east, north, angle, size, block):
    folder = tmp_path_factory.mktemp("maps")
    before, after = synthetic.landscape(1, 40), synthetic.landscape(2, 50)
    after[:7] = IGNORED
    place = Affine.translation(east + 0.123, north + 0.234) @ UTM @ Affine.rotation(angle) @ Affine.scale(size)
    one, other = write_map(folder / "a.tif", before), write_map(folder / "b.tif", after, affine=place)
    brought = np.full(before.shape, IGNORED, np.uint8)
    reproject(
        after, brought, src_transform=place, dst_transform=UTM, src_crs=CRS, dst_crs=CRS, src_nodata=IGNORED,
        dst_nodata=IGNORED, resampling=Resampling.nearest, tolerance=0,
    )  # fmt: skip
    expected = by_hand(before, brought, 3)
    occurring = expected.any(axis=0) | expected.any(axis=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ground_module, "BLOCK", block)
        if occurring.sum() < 2:
            with pytest.raises(SourceError, match=r"no ground in common|one class alone"):
                count_changes(open_both(one, other))
            return
        np.testing.assert_array_equal(count_changes(open_both(one, other)).pixels, expected[occurring][:, occurring])


@pytest.mark.parametrize(("crs", "size"), [("EPSG:4326", 0.0001), ("EPSG:3857", 13), ("EPSG:3035", 4)])
def test_maps_in_another_crs_are_aligned_as_gdal_does(tmp_path, crs, size):
    one, _ = two_dates(tmp_path)
    left, bottom, right, top = transform_bounds(CRS, crs, 500_100, 4_499_500, 501_000, 4_500_100)
    place = Affine(size, 0, left, 0, -size, top)
    shape = (int((top - bottom) / size / 5), int((right - left) / size / 5))
    after = np.random.default_rng(0).integers(0, 3, shape, np.uint8).repeat(5, 0).repeat(5, 1)
    other = write_map(tmp_path / "other.tif", after, affine=place, crs=crs)
    brought = np.full((60, 80), IGNORED, np.uint8)
    reproject(
        after, brought, src_transform=place, dst_transform=UTM, src_crs=crs, dst_crs=CRS, dst_nodata=IGNORED,
        resampling=Resampling.nearest, tolerance=0, init_dest_nodata=True,
    )  # fmt: skip
    assert 2000 < (brought != IGNORED).sum() < 4800
    counts = count_changes(open_both(one, other))
    np.testing.assert_array_equal(counts.pixels, by_hand(pixels_of(one), brought, 3))


def test_a_small_map_is_found_on_one_of_the_whole_earth_and_the_reverse(tmp_path):
    world = np.zeros((180, 360), np.uint8)
    world[:90] = 1
    earth = write_map(tmp_path / "earth.tif", world, affine=Affine(1, 0, -180, 0, -1, 90), crs="EPSG:4326")
    place = Affine(20_000, 0, 300_000, 0, -20_000, 4_500_000)
    local = write_map(tmp_path / "local.tif", np.full((20, 20), 2, np.uint8), affine=place)
    counts = count_changes(open_both(local, earth))
    assert counts.names == ("Forest", "Town") and counts.pixels[1, 0] == 400 and counts.left_out == 0
    back = count_changes(open_both(earth, local))
    assert back.names == ("Forest", "Town") and 10 <= back.pixels[0, 1] <= 25
    assert back.areas[0, 1] == pytest.approx(back.pixels[0, 1] * 111.2 * 85 * 100, rel=0.15)
    polar = Affine(50_000, 0, -1_000_000, 0, -50_000, 1_000_000)
    pole = write_map(tmp_path / "pole.tif", np.zeros((40, 40), np.uint8), affine=polar, crs="EPSG:3413")
    assert count_changes(open_both(earth, pole)).pixels.sum() > 360 * 8


def test_a_coarse_map_is_compared_with_a_fine_one_in_small_parts(tmp_path):
    coarse = write_map(tmp_path / "coarse.tif", np.array([[0, 1], [2, 0]]), affine=UTM @ Affine.scale(100))
    fine = write_map(tmp_path / "fine.tif", np.ones((200, 200), np.uint8))
    both = open_both(coarse, fine)
    assert both.side == 10
    np.testing.assert_array_equal(count_changes(both).pixels, [[0, 2, 0], [0, 1, 0], [0, 1, 0]])


def test_all_files_say_the_same(tmp_path):
    one, other = two_dates(tmp_path)
    found = change(one, other, tmp_path / "out", min_area=20_000)
    assert found.names == NAMES and found.unit == "ha"
    np.testing.assert_array_equal(found.pixels, [[2300, 0, 0], [180, 1820, 400], [0, 0, 0]])
    assert found.changed == pytest.approx(5.8) and found.left_out == pytest.approx(1.0)
    forest = found.classes[1]
    assert (forest.gain, forest.loss) == pytest.approx((0, 5.8)) and forest.net == pytest.approx(-5.8)
    assert forest.persistent == pytest.approx(18.2)
    told = json.loads((tmp_path / "out" / "change.json").read_text())
    assert told["pixels"] == found.pixels.tolist() and told["classes"][1]["loss"] == pytest.approx(5.8)
    assert [t["name"] for t in told["transitions"]] == ["Water", "Forest", "Forest to Town", "Forest to Water"]
    assert told["transitions"][2]["estimate"] is None and told["reference"] is None
    legend = read_map_legend(tmp_path / "out" / "transitions.tif")
    before, after, ids = (pixels_of(p) for p in (one, other, tmp_path / "out" / "transitions.tif"))
    names = np.array([*legend.names, *[""] * (256 - len(legend))])[ids]
    assert (names[5:25, 50:70] == "Forest to Town").all() and (names[after == IGNORED] == "").all()
    assert (names[(before == after)] == np.array(NAMES)[before[before == after]]).all()
    polygons = gpd.read_file(tmp_path / "out" / "changes.gpkg")
    assert polygons["class"].tolist() == ["Forest to Town"] and polygons.area.tolist() == [40_000]
    with Image.open(tmp_path / "out" / "change.png") as picture:
        assert picture.width > 1000
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_unchanged_ground_is_pale_and_changes_are_strong(tmp_path):
    change(*two_dates(tmp_path), tmp_path / "out")
    colours = {c.name: np.array(c.colour) for c in read_map_legend(tmp_path / "out" / "transitions.tif").classes}
    assert all(colours[name].min() > 160 for name in ("Water", "Forest"))
    assert all(np.ptp(colours[name]) > 120 for name in ("Forest to Town", "Forest to Water"))
    assert np.abs(colours["Forest to Town"] - colours["Forest to Water"]).max() > 100
    assert (colours["Water"] != colours["Forest"]).any()


def test_maps_that_agree_have_no_polygons_and_an_older_file_goes(tmp_path):
    one, other = two_dates(tmp_path)
    change(one, other, tmp_path / "out")
    assert (tmp_path / "out" / "changes.gpkg").exists()
    copy = write_map(tmp_path / "copy.tif", pixels_of(one))
    found = change(one, copy, tmp_path / "out", overwrite=True)
    assert found.changed == 0 and not (tmp_path / "out" / "changes.gpkg").exists()
    assert (tmp_path / "out" / "transitions.tif").exists()


def test_areas_in_degrees_are_those_on_the_ellipsoid_and_without_a_crs_they_are_pixels(tmp_path):
    degrees = tmp_path / "degrees"
    degrees.mkdir()
    one, other = two_dates(degrees, Affine(0.001, 0, 10, 0, -0.001, 60), "EPSG:4326")
    found = count_changes(open_both(one, other))
    of_row = row_areas(open_class_map(one))
    assert found.areas[1, 2] == pytest.approx(20 * of_row[5:25].sum()) and found.unit == "ha"
    counted = count_changes(open_both(*two_dates(tmp_path, Affine.identity(), None)))
    assert counted.unit == "pixels" and counted.areas[1, 2] == 400


def test_classes_that_one_map_lacks_and_numbers_without_names_are_kept(tmp_path):
    one = synthetic.save(tmp_path / "a.tif", np.array([[[1, 1, 2, -5]]], np.int16), crs=CRS, transform=UTM)
    other = write_map(tmp_path / "b.tif", np.array([[0, 1, 1, 0]]), ["1", "Sand"])
    counts = count_changes(open_both(one, other))
    assert counts.names == ("1", "Sand", "-5", "2")
    np.testing.assert_array_equal(counts.pixels, [[1, 1, 0, 0], [0] * 4, [1, 0, 0, 0], [0, 1, 0, 0]])


def counts_of(pixels: np.ndarray) -> Counts:
    names = tuple(f"c{i}" for i in range(len(pixels)))
    return Counts(names, pixels, pixels * 1.0, "pixels", 0.0, np.arange(0), np.zeros((2, 0), int))


def test_rare_changes_share_a_class_but_the_table_keeps_them():
    counts = counts_of(np.array([[900, 50, 1], [40, 800, 3], [2, 0, 1]]))
    made = transitions_of(counts, {}, rare=0.01)
    assert [t.mapped_as for t in made.listed] == ["c0", "c1", "c2", "c0 to c1", "c1 to c0", OTHER, OTHER, OTHER]
    assert made.changed == ("c0 to c1", "c1 to c0", OTHER) and len(made.legend) == 6
    assert made.table[2, 1] == IGNORED and made.table[0, 2] == made.legend.names.index(OTHER)
    alone = transitions_of(counts, {}, rare=0)  # a single pixel cannot be sampled: it goes with the next
    assert [t.name for t in alone.listed if t.mapped_as == OTHER] == ["c2 to c0", "c0 to c2"]


def test_too_many_transitions_are_told_and_can_be_put_together():
    many = counts_of(np.full((17, 17), 10) + np.eye(17, dtype=int) * 1000)
    with pytest.raises(SourceError, match=r"289 transitions occur, but a map holds 255 classes.*--rare"):
        transitions_of(many, {}, rare=0)
    assert len(transitions_of(many, {}, rare=0.01).legend) == 18


def label(points: Path, one: Path, other: Path, *, wrong: float = 0.0, columns: bool = False) -> Path:
    """Fill in what two maps say at points, some of it wrong."""
    frame, rng = gpd.read_file(points), np.random.default_rng(0)
    cols, rows = ~UTM @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    dates = [pixels_of(path)[rows.astype(int), cols.astype(int)] for path in (one, other)]
    dates[1] = np.where(rng.random(len(frame)) < wrong, dates[0], dates[1])
    before, after = (np.array(NAMES)[ids] for ids in dates)
    if columns:
        frame["Before"], frame["after"] = before, np.char.lower(after)
    else:
        frame["class"] = [a if a == b else f"{a} to {b}" for a, b in zip(before, after, strict=True)]
    path = points.with_name(f"labelled{columns}.gpkg")
    frame.to_file(path)
    return path


def test_a_sample_of_the_transitions_gives_areas_with_errors(tmp_path):
    one, other = two_dates(tmp_path)
    found = change(one, other, tmp_path / "out")
    points = sample(tmp_path / "out" / "transitions.tif", 200, tmp_path / "points.gpkg")
    exact = area(tmp_path / "out" / "transitions.tif", reference=label(points, one, other))
    assert {c.name: c.area.value for c in exact.areas.classes} == pytest.approx(
        {t.name: t.area for t in found.transitions}
    )
    told = area(tmp_path / "out" / "transitions.tif", reference=label(points, one, other, wrong=0.3))
    town = next(c for c in told.areas.classes if c.name == "Forest to Town")
    assert 0 < town.area.value < town.mapped and town.area.error > 0
    for columns in (False, True):  # one column of transitions, or one for each date
        reference = label(points, one, other, wrong=0.3, columns=columns)
        at_once = change(one, other, tmp_path / "out", reference=reference, overwrite=True)
        assert at_once.reference == told
        assert at_once.estimate(at_once.transitions[2]) == town.area
    written = json.loads((tmp_path / "out" / "change.json").read_text())
    assert written["transitions"][2]["estimate"]["interval"] == pytest.approx(list(town.area.interval))


def test_numbers_of_both_dates_are_read_alike(tmp_path):
    """A column of numbers with gaps is one of floats: its 2.0 is the class 2."""
    paths = two_dates(tmp_path)
    one, other = (write_map(tmp_path / f"numbers_{p.name}", pixels_of(p), ("1", "2", "3")) for p in paths)
    change(one, other, tmp_path / "out")
    points = sample(tmp_path / "out" / "transitions.tif", 100, tmp_path / "points.gpkg")
    frame = gpd.read_file(label(points, one, other, columns=True))
    for column in ("Before", "after"):
        frame[column] = frame[column].str.lower().map({name.lower(): i for i, name in enumerate(NAMES, 1)})
    frame.loc[3, "after"] = np.nan
    frame.to_file(tmp_path / "numbers.gpkg")
    found = change(one, other, tmp_path / "out", reference=tmp_path / "numbers.gpkg", overwrite=True).reference
    assert {c.name for c in found.areas.classes} == {"1", "2", "2 to 1", "2 to 3"}
    assert (found.unlabelled, found.areas.overall.value) == (1, 1)


SITE = 'LOCAL_CS["site",UNIT["metre",1]]'


def test_maps_of_a_site_that_is_not_tied_to_the_earth_are_compared_in_pixels(tmp_path):
    found = change(*two_dates(tmp_path, crs=SITE), tmp_path / "out")
    assert found.unit == "pixels" and found.areas.tolist() == found.pixels.tolist()


def text_of(found) -> str:
    parts = list(shown(found))
    cells = (str(cell) for part in parts if isinstance(part, Table) for column in part.columns for cell in column.cells)
    return "\n".join([*(part for part in parts if isinstance(part, str)), *cells])


def test_without_a_reference_it_is_said_that_errors_are_not_known(tmp_path):
    one, other = two_dates(tmp_path)
    told = text_of(change(one, other, tmp_path / "my out"))
    assert "how wrong they are is not known" in told and "errors of both maps add up" in told
    assert f"sat2map sample '{tmp_path / 'my out' / 'transitions.tif'}' 300" in told and "sat2map area '" in told
    assert "Changed: 5.8 of 47.0 ha" in told and "Not compared: 1.0 ha of the earlier map (2.1%)" in told
    points = sample(tmp_path / "my out" / "transitions.tif", 100, tmp_path / "points.gpkg")
    reference = label(points, one, other, wrong=0.2)
    told = text_of(change(one, other, tmp_path / "my out", reference=reference, overwrite=True))
    assert "not known" not in told and "100 reference points" in told and " to " in told


def test_maps_without_a_crs_are_told_to_be_in_pixels(tmp_path):
    told = text_of(change(*two_dates(tmp_path, Affine.identity(), None), tmp_path / "out"))
    assert "The maps have no CRS, so areas are in pixels" in told


@pytest.mark.parametrize("side", [999, 1000, 1001, 2300])
def test_thumbnails_show_every_so_many_pixels_whatever_the_blocks(side):
    rng = np.random.default_rng(side)
    colours, valid = rng.integers(0, 255, (3, 40, side, 3), np.uint8), rng.random((40, side)) < 0.7
    seen = Thumbnails.blank((40, side))
    for window in grid(whole((40, side)), 137):
        rows, cols = window.slices
        here = valid[rows, cols]
        seen.add(window, [each[rows, cols][here] for each in colours], here)
    step = -(-side // 1000)
    alpha = valid[::step, ::step]
    np.testing.assert_array_equal(seen.pictures[0, 3] > 0, alpha)
    for picture, each in zip(seen.pictures, colours, strict=True):
        np.testing.assert_array_equal(np.moveaxis(picture[:3], 0, -1)[alpha], each[::step, ::step][alpha])


def test_a_legend_of_a_map_gives_the_colours_of_both(tmp_path):
    one = write_map(tmp_path / "a.tif", np.zeros((3, 3)), ["Water", "Sand"])
    other = write_map(tmp_path / "b.tif", np.zeros((3, 3)), ["Snow", "WATER"])
    assert known_colours(one, other).keys() == {"water", "sand", "snow"}
    assert known_colours(one, other)["water"] == read_map_legend(one).classes[0].colour


def bad_call(folder: Path, kind: str) -> dict:
    """Return the words of a call that cannot work."""
    one, other = two_dates(folder)
    ids = pixels_of(one)
    words = {"before": one, "after": other, "out": folder / "out"}
    if kind == "same":
        words["after"] = folder / "sub" / ".." / "before.tif"
        (folder / "sub").mkdir()
    elif kind == "far":
        words["after"] = write_map(folder / "far.tif", ids, affine=Affine.translation(1e5, 0) @ UTM)
    elif kind == "disjoint":
        words["after"] = write_map(folder / "none.tif", np.full(ids.shape, IGNORED))
    elif kind == "no crs":
        words["after"] = write_map(folder / "plain.tif", ids, affine=Affine.identity(), crs=None)
    elif kind == "sizes":
        words["before"] = write_map(folder / "a.tif", ids, affine=Affine.identity(), crs=None)
        words["after"] = write_map(folder / "b.tif", ids[:-1], affine=Affine.identity(), crs=None)
    elif kind == "one class":
        words["before"], words["after"] = (write_map(folder / f"{i}.tif", np.zeros((9, 9))) for i in "ab")
    elif kind == "unreadable":
        words["after"] = folder / "broken.tif"
        words["after"].write_bytes(b"II*\0nothing")
    elif kind == "photograph":
        words["after"] = synthetic.geotiff(folder / "rgb.tif", synthetic.landscape(0, 32))
    elif kind == "numbers":
        rng = np.random.default_rng(0)
        words["before"], words["after"] = (
            synthetic.save(folder / f"{i}.tif", rng.integers(0, 9999, (1, 200, 200), np.int16), crs=CRS, transform=UTM)
            for i in "ab"
        )
    elif kind == "reference":
        words["reference"] = folder / "points.gpkg"
    elif kind == "rare":
        words["rare"] = 1.5
    elif kind == "min area":
        words["min_area"] = 0
    elif kind.endswith("out"):
        words["out"].mkdir()
        (words["out"] / ("changes.gpkg" if kind == "yours out" else "change.json")).touch()
    elif kind == "file":
        words["out"].touch()
    return words


@pytest.mark.parametrize(
    ("kind", "error", "told"),
    [
        ("same", SourceError, "are the same file"),
        ("far", SourceError, "no ground in common"),
        ("disjoint", SourceError, "no ground in common"),
        ("no crs", SourceError, "plain.tif has no CRS, but the other map has one"),
        ("sizes", SourceError, "80 x 60 pixels and .* has 80 x 59 pixels, and they have no CRS"),
        ("one class", SourceError, "one class alone, Water"),
        ("unreadable", SceneError, "broken.tif cannot be read as a class map"),
        ("photograph", SceneError, "has 3 bands"),
        ("numbers", SourceError, "More than 10,000 pairs of numbers"),
        ("reference", SourceError, "points.gpkg cannot be read"),
        ("rare", BadOption, "--rare is 1.5"),
        ("min area", BadOption, "--min-area is 0"),
        ("out", OutputError, r"holds change\.json already, which a change would replace"),
        ("yours out", OutputError, r"holds changes\.gpkg already, which a change would replace"),
        ("file", OutputError, "is a file"),
    ],
)
def test_what_cannot_be_compared_is_told_and_leaves_nothing(tmp_path, kind, error, told):
    words = bad_call(tmp_path, kind)
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=told) as raised:
        change(**words)
    assert isinstance(raised.value, UserError) and raised.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == there
