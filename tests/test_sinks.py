"""One contract for all that maps hold in every kind of file, then what is special to classes and scores."""

from __future__ import annotations

import importlib.metadata
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from map_kinds import CLASSES, KINDS, LEGEND, PLACE, SHAPE, Kind, contents, fabricated_ids, files
from sat2map.errors import OutputError
from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.scenes import warp
from sat2map.scenes.array import array_scene
from sat2map.sinks import SCORES, SINKS, Part, check_destination, open_scores, open_sink, raw, read_map_legend
from sat2map.sinks.overviews import halve
from sat2map.sinks.raw import gaps
from sat2map.tiling import grid, whole

PLACES = {
    "utm": PLACE,
    "geographic": GeoBox(SHAPE, Affine(1e-5, 0, 11.1, 0, -1e-5, 48.2), "EPSG:4326"),
    "turned": GeoBox(SHAPE, Affine(0.4, 0.3, 412_000, 0.3, -0.4, 5_340_000), "EPSG:32633"),
    "nowhere": GeoBox(SHAPE, Affine.identity(), None),
}

suffixes = pytest.mark.parametrize("suffix", SINKS)


def write(
    path: Path, ids: np.ndarray, place: GeoBox = PLACE, kind: Kind = CLASSES, seed: int | None = None, block: int = 97
) -> Path:
    windows = list(grid(whole(ids.shape), block))
    if seed is not None:
        random.Random(seed).shuffle(windows)
    pixels = kind.block(ids)
    with kind.open(path, place, tags={"MODEL": "test"}) as sink:
        for window in windows:
            sink.write(window, pixels[..., *window.slices])
    assert sink.counts.tolist() == kind.counts(kind.numbers(ids))
    return path


@files
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_map_comes_back_as_it_was_written(tmp_path, kind, suffix, place):
    ids = fabricated_ids()
    with rasterio.open(write(tmp_path / f"map{suffix}", ids, place, kind=kind)) as file:
        numbers = file.read()
        np.testing.assert_array_equal(numbers, kind.numbers(ids))
        assert (file.nodata, {*file.dtypes}) == (kind.nodata, {"uint8"})
        # A world file holds the centre of the first pixel, so the last bit of the corner may be lost.
        assert file.transform.almost_equals(place.affine, 1e-9 if suffix == ".png" else 0)
        assert (file.crs is None) == (place.crs is None)
        assert place.crs is None or file.crs == rasterio.CRS.from_user_input(str(place.crs))
        assert file.tags()["MODEL"] == "test"
        assert file.tags()["SAT2MAP_VERSION"] == importlib.metadata.version("sat2map")


@files
def test_the_order_of_blocks_does_not_show(tmp_path, kind, suffix):
    ids = fabricated_ids()
    results = []
    for seed, block in ((None, 97), (1, 97), (2, 256), (None, 1000)):
        folder = tmp_path / f"{seed}-{block}"
        write(folder / f"map{suffix}", ids, kind=kind, seed=seed, block=block)
        results.append(contents(folder))
    assert all(result == results[0] for result in results)
    other = contents(write(tmp_path / "other" / f"map{suffix}", fabricated_ids(1), kind=kind).parent)
    assert other[f"map{suffix}"] != results[0][f"map{suffix}"]


@files
def test_how_much_is_held_in_memory_does_not_show(tmp_path, kind, suffix, monkeypatch):
    written = whole(SHAPE)._replace(height=650)
    for name, strip in (("much", raw.STRIP), ("little", 5000)):
        monkeypatch.setattr(raw, "STRIP", strip)
        (tmp_path / name).mkdir()
        with kind.open(tmp_path / name / f"map{suffix}", PLACE) as sink:
            sink.write(written, kind.block(fabricated_ids())[..., *written.slices])
    assert contents(tmp_path / "much") == contents(tmp_path / "little")


@files
def test_threads_may_write_at_once(tmp_path, kind, suffix):
    ids = fabricated_ids()
    pixels = kind.block(ids)
    with kind.open(tmp_path / f"a{suffix}", PLACE) as sink, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda w: sink.write(w, pixels[..., *w.slices]), grid(whole(ids.shape), 64)))
    with rasterio.open(tmp_path / f"a{suffix}") as file:
        np.testing.assert_array_equal(file.read(), kind.numbers(ids))


@files
def test_nothing_is_visible_before_close_and_nothing_is_left_after_it(tmp_path, kind, suffix):
    path = tmp_path / f"map{suffix}"
    sink = kind.open(path, PLACE)
    sink.write(whole(SHAPE), kind.block(fabricated_ids()))
    assert not [f for f in tmp_path.iterdir() if not f.name.startswith(".")]
    sink.close()
    sink.close()
    assert path.exists()
    assert all(f.name.split(".")[0] == "map" for f in tmp_path.iterdir())


@files
def test_an_exception_keeps_the_older_map(tmp_path, kind, suffix):
    path = write(tmp_path / f"map{suffix}", fabricated_ids(1))
    before = contents(tmp_path)
    with pytest.raises(KeyError), kind.open(path, PLACES["nowhere"]) as sink:
        sink.write(whole(SHAPE), kind.block(fabricated_ids()))
        raise KeyError
    assert contents(tmp_path) == before


@suffixes
def test_a_full_disk_is_told_and_keeps_the_older_map(tmp_path, suffix, monkeypatch):
    path = write(tmp_path / f"map{suffix}", fabricated_ids(1))
    before = contents(tmp_path)

    def full(part: Part) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Part, "publish", full)
    with pytest.raises(OutputError, match=r"map.* cannot be written: .*No space left.*room on the disk"):
        write(path, fabricated_ids())
    assert contents(tmp_path) == before


@files
def test_what_was_never_written_is_nodata(tmp_path, kind, suffix):
    with kind.open(tmp_path / f"map{suffix}", PLACE) as sink:
        sink.write(whole(SHAPE)._replace(height=50), kind.block(fabricated_ids()[:50]))
    with rasterio.open(tmp_path / f"map{suffix}") as file:
        numbers = file.read()
        valid = file.dataset_mask()
    assert (numbers[:, 50:] == kind.nothing).all()
    assert not valid[50:].any()
    np.testing.assert_array_equal(numbers[:, :50], kind.numbers(fabricated_ids()[:50]))
    assert sink.counts.tolist() == kind.counts(numbers)


@files
def test_a_new_map_replaces_the_old_one_and_what_lay_beside_it(tmp_path, kind, suffix):
    path = write(tmp_path / f"map{suffix}", fabricated_ids(1))
    for name in (f"map{suffix}.ovr", "map.pgw"):
        (tmp_path / name).write_text("of the old map")
    write(path, fabricated_ids(), PLACES["nowhere"], kind=kind)
    beside = {"map.qml", f"{path.name}.aux.xml"} if kind is CLASSES else set()
    assert {*contents(tmp_path)} - {"map.pgw"} == {path.name, *beside}
    assert (tmp_path / "map.pgw").exists() == (suffix != ".png"), "where it is of the user's map.png it stays"
    with rasterio.open(path) as file:
        assert file.crs is None
        np.testing.assert_array_equal(file.read(), kind.numbers(fabricated_ids()))


@files
@pytest.mark.parametrize("old", [False, True], ids=["first", "again"])
def test_what_the_user_has_of_files_called_alike_stays(tmp_path, kind, suffix, old):
    if old:
        write(tmp_path / f"map{suffix}", fabricated_ids(1))
    dear = {"map.qml": '<!DOCTYPE qgis>\n<qgis version="3.34.1-Prizren"/>', "map.prj": "dear"}
    if suffix != ".png":
        dear["map.pgw"] = "of map.png"
    for name, text in dear.items():
        (tmp_path / name).write_text(text)
    write(tmp_path / f"map{suffix}", fabricated_ids(), PLACES["nowhere"], kind=kind)
    assert {name: (tmp_path / name).read_text() for name in dear} == dear


@suffixes
def test_what_a_killed_run_left_is_removed(tmp_path, suffix):
    left = tmp_path / f".map{suffix}.part"
    left.mkdir()
    (left / "raw.tif").write_bytes(b"half")
    write(tmp_path / f"map{suffix}", fabricated_ids())
    assert not left.exists()


@suffixes
def test_class_names_survive_in_the_file_and_beside_it(tmp_path, suffix):
    path = write(tmp_path / f"map{suffix}", fabricated_ids())
    with rasterio.open(path) as file:
        table = file.colormap(1)
        assert all(table[c.value] == (*c.colour, 255) for c in LEGEND.classes)
        assert table[IGNORED][3] == 0
    beside = tmp_path / f"map{suffix}.aux.xml"
    names = beside.read_text(encoding="utf-8")
    beside.unlink()
    assert read_map_legend(path) == LEGEND
    foreign = tmp_path / "foreign.tif"
    with rasterio.open(foreign, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8") as file:
        file.write_colormap(1, {10: (9, 8, 7, 255)})
    assert read_map_legend(foreign) is None
    (tmp_path / "foreign.tif.aux.xml").write_text(names, encoding="utf-8")
    legend = read_map_legend(foreign)
    assert {c.value: c.name for c in legend.classes} == {c.value: c.name for c in LEGEND.classes}
    assert {c.name: c.colour for c in legend.classes}["Land"] == (9, 8, 7)


@files
@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.randoms())
def test_any_shape_and_blocks_round_trip(tmp_path_factory, kind, suffix, height, width, block, chance):
    ids = np.random.default_rng(height * width).choice([0, 1, 2, IGNORED], (height, width)).astype(np.uint8)
    place = GeoBox(ids.shape, PLACE.affine, "EPSG:32633")
    path = tmp_path_factory.mktemp("any") / f"map{suffix}"
    with rasterio.open(write(path, ids, place, kind=kind, block=block, seed=chance.randrange(1 << 30))) as file:
        np.testing.assert_array_equal(file.read(), kind.numbers(ids))


@suffixes
@pytest.mark.parametrize("value", [255, 300, -1])
def test_a_number_that_does_not_fit_is_told(tmp_path, suffix, value):
    legend = Legend((MapClass("Sea", (0, 0, 0), value),))
    with pytest.raises(OutputError, match=f"class Sea has the number {value}, but a map holds 0 to 254"):
        open_sink(tmp_path / f"map{suffix}", PLACE, legend)


@files
def test_blocks_must_fit_the_map(tmp_path, kind, suffix):
    block = kind.block(fabricated_ids())
    with kind.open(tmp_path / f"map{suffix}", PLACE) as sink:
        for window in (whole(SHAPE)._replace(row=-1), whole(SHAPE)._replace(row=1)):
            with pytest.raises(ValueError, match="does not fit"):
                sink.write(window, block)
        for other in (block[..., :3, :3], np.stack([block, block])):
            with pytest.raises(ValueError, match="does not fit"):
                sink.write(whole(SHAPE), other)


@pytest.mark.parametrize("name", ["scores", "picture"])
def test_numbers_are_bytes(tmp_path, name):
    block = KINDS[name].block(fabricated_ids())
    with KINDS[name].open(tmp_path / "map.tif", PLACE) as sink:
        for other in (block.astype(np.float32), block[:1], block[0]):
            with pytest.raises(ValueError, match="does not fit"):
                sink.write(whole(SHAPE), other)


def test_geotiff_is_cloud_optimised_with_overviews_of_classes(tmp_path):
    place = GeoBox((1100, 900), PLACE.affine, "EPSG:32633")
    ids = np.tile(np.uint8([[0, 1], [1, 1]]), (550, 450))
    path = write(tmp_path / "map.tif", ids, place, block=512)
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.compression == rasterio.enums.Compression.deflate
        assert file.overviews(1) == [2, 4]
    with rasterio.open(path, overview_level=0) as file:
        assert set(np.unique(file.read(1))) == {LEGEND.classes[1].value}
        assert file.colormap(1)[LEGEND.classes[1].value] == (*LEGEND.classes[1].colour, 255)
    assert b"LAYOUT=IFDS_BEFORE_DATA" in path.read_bytes()[:200]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_geotiff_passes_the_check_of_rio_cogeo(tmp_path, kind):
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    ids = np.kron(fabricated_ids(), np.ones((3, 3), np.uint8))
    path = write(tmp_path / "map.tif", ids, GeoBox(ids.shape, PLACE.affine, "EPSG:32633"), kind=kind, block=700)
    assert cogeo.cog_validate(path, strict=True) == (True, [], [])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1 << 30))
def test_half_a_map_has_the_most_frequent_classes(height, width, seed):
    values = np.random.default_rng(seed).choice([0, 1, 254, IGNORED], (height, width)).astype(np.uint8)
    half = halve(values)
    assert half.shape == (-(-height // 2), -(-width // 2))
    for row, col in np.ndindex(half.shape):
        four = values[2 * row : 2 * row + 2, 2 * col : 2 * col + 2].ravel()
        valid = four[four != IGNORED].tolist()
        if not valid:
            assert half[row, col] == IGNORED
        else:
            assert valid.count(half[row, col]) == max(map(valid.count, valid))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.integers(0, 1 << 30))
def test_gaps_are_what_windows_leave_open(height, width, count, seed):
    rng = np.random.default_rng(seed)
    windows = {whole((int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1)))) for _ in range(count)}
    windows = {
        w._replace(row=int(rng.integers(height - w.height + 1)), col=int(rng.integers(width - w.width + 1)))
        for w in windows
    }
    written, filled = np.zeros((2, height, width), int)
    for w in windows:
        written[w.slices] = 1
    for w in gaps(windows, (height, width)):
        assert not w.empty
        filled[w.slices] += 1
    np.testing.assert_array_equal(filled, 1 - written)


@suffixes
def test_gdal_finds_an_attribute_table(tmp_path, suffix):
    ids = fabricated_ids()
    path = write(tmp_path / f"map{suffix}", ids)
    # rasterio does not tell of the table, but GDAL hands it on to a copy.
    rasterio.shutil.copy(str(path), str(tmp_path / "copy.bmp"), driver="BMP")
    root = Xml.parse(tmp_path / "copy.bmp.aux.xml").getroot()
    table = root.find("PAMRasterBand/GDALRasterAttributeTable")
    columns = [column.findtext("Name") for column in table.findall("FieldDefn")]
    assert columns == ["Value", "Class name", "Red", "Green", "Blue", "Alpha", "PixelCount"]
    rows = {row[1]: row for row in ([cell.text for cell in row] for row in table.findall("Row"))}
    assert {*rows} == {*LEGEND.names}
    for i, c in enumerate(LEGEND.classes):
        assert rows[c.name] == [str(n) for n in (c.value, c.name, *c.colour, 255, (ids == i).sum())]


@suffixes
def test_qgis_finds_a_style(tmp_path, suffix):
    write(tmp_path / f"map{suffix}", fabricated_ids())
    renderer = Xml.parse(tmp_path / "map.qml").getroot().find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = {e.get("label"): (int(e.get("value")), e.get("color")) for e in renderer.iter("paletteEntry")}
    assert entries == {c.name: (c.value, c.hex.lower()) for c in LEGEND.classes}


GRIDS = {
    "coarser": GeoBox((300, 211), PLACE.affine * Affine.translation(-3, 5.3) * Affine.scale(2.7, 2.4), "EPSG:32633"),
    "turned": GeoBox((400, 300), PLACE.affine * Affine.rotation(20), "EPSG:32633"),
    "elsewhere": PLACE.pad(9).to_crs("EPSG:4326"),
}


@files
@pytest.mark.parametrize("grid_", GRIDS.values(), ids=GRIDS)
def test_a_map_is_brought_to_another_grid(tmp_path, kind, suffix, grid_):
    ids = fabricated_ids()
    pixels = kind.block(ids)
    with kind.open(tmp_path / f"map{suffix}", PLACE, grid=grid_) as sink:
        for window in grid(whole(SHAPE), 97):
            sink.write(window, pixels[..., *window.slices])
    expected = warp(array_scene(kind.numbers(ids), geobox=PLACE), grid_, nearest=True).read()
    with rasterio.open(tmp_path / f"map{suffix}") as file:
        numbers = file.read()
        assert file.transform.almost_equals(grid_.affine, 1e-9)
        assert file.crs == rasterio.CRS.from_user_input(str(grid_.crs))
    assert 0.1 < expected.valid.mean() < 1
    np.testing.assert_array_equal(numbers, np.where(expected.valid, expected.pixels, kind.nothing))
    assert sink.counts.tolist() == kind.counts(numbers)


@files
def test_a_grid_without_crs_stays_without(tmp_path, kind, suffix):
    ids = fabricated_ids()
    double = GeoBox((1400, 1060), Affine.scale(0.5), None)
    with kind.open(tmp_path / f"map{suffix}", PLACES["nowhere"], grid=double) as sink:
        sink.write(whole(SHAPE), kind.block(ids))
    with rasterio.open(tmp_path / f"map{suffix}") as file:
        assert file.crs is None
        np.testing.assert_array_equal(file.read(), kind.numbers(ids).repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("suffix", SCORES)
@pytest.mark.parametrize("names", [("confidence",), ("a", "b", "Bäche & Seen", "d"), ("a", "b", "c", "d", "e")])
def test_scores_have_names_and_are_no_colours(tmp_path, suffix, names):
    path = tmp_path / f"scores{suffix}"
    scores = np.random.default_rng(0).integers(0, 256, (len(names), *SHAPE)).astype(np.uint8)
    with open_scores(path, PLACE, names) as sink:
        sink.write(whole(SHAPE), scores)
    assert [*tmp_path.iterdir()] == [path]
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), scores)
        assert file.descriptions == names
        assert set(file.nodatavals) == {IGNORED}
        assert not {"alpha", "red"} & {c.name for c in file.colorinterp}
        assert "0 to 254" in file.tags()["SAT2MAP_SCORES"]
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2]


def test_overviews_of_scores_are_averages_of_what_there_is(tmp_path):
    scores = np.full((2, 600, 600), IGNORED, np.uint8)
    scores[:, ::2, ::2], scores[1, 1::2, ::2] = 100, 50
    place = GeoBox((600, 600), PLACE.affine, "EPSG:32633")
    with open_scores(tmp_path / "scores.tif", place, "ab") as sink:
        sink.write(whole((600, 600)), scores)
    with rasterio.open(tmp_path / "scores.tif", overview_level=0) as file:
        assert [set(np.unique(band)) for band in file.read()] == [{100}, {75}]


def test_scores_are_no_png(tmp_path):
    with pytest.raises(OutputError, match=r"ends in '\.png'\. .*\.tif"):
        open_scores(tmp_path / "scores.png", PLACE, LEGEND.names)


def test_png_has_a_world_file_of_pixel_centres(tmp_path):
    write(tmp_path / "map.png", fabricated_ids())
    lines = [float(line) for line in (tmp_path / "map.pgw").read_text().split()]
    assert lines == [0.5, 0, 0, -0.5, 412_000.5, 5_340_000.5]


@pytest.mark.parametrize(("kind", "most"), [("classes", "1,000"), ("picture", "250")])
def test_a_large_png_is_refused_before_the_work(tmp_path, monkeypatch, kind, most):
    monkeypatch.setitem(SINKS, ".png", SINKS[".png"]._replace(most_bytes=1000))
    with pytest.raises(OutputError, match=rf"530 x 700 pixels is too large for a PNG, .* {most} pixels.*\.tif"):
        KINDS[kind].open(tmp_path / "map.png", PLACE)
    assert not list(tmp_path.iterdir())
    KINDS[kind].open(tmp_path / "map.png", PLACE[:10, :25]).discard()


def test_destinations_are_checked_before_the_work(tmp_path):
    (tmp_path / "there.tif").touch()
    (tmp_path / "folder.tif").mkdir()
    for name, text in {
        "map.jpg": r"ends in '\.jpg'\. What can be written ends in: \.tif, \.tiff, \.png",
        "map": "ends in nothing",
        "folder.tif": r"is a folder\. Name a file in it",
        "there.tif": r"is there already\. .*--overwrite",
        "there.tif/map.tif": r"cannot be written to: .*Choose another folder",
    }.items():
        with pytest.raises(OutputError, match=text):
            check_destination(tmp_path / name, SINKS)
    assert check_destination(tmp_path / "there.tif", SINKS, overwrite=True) == tmp_path / "there.tif"
    deep = tmp_path / "new" / "deep" / "MAP.TIF"
    assert check_destination(deep, SINKS) == deep
    assert not (tmp_path / "new").exists()  # what is checked next may be wrong


@pytest.mark.parametrize("kind", KINDS)
def test_folders_that_are_missing_are_made_with_the_map(tmp_path, kind):
    path = tmp_path / "new" / "deep" / "map.tif"
    KINDS[kind].open(path, PLACE[:10, :25]).discard()
    assert not list(path.parent.iterdir())
