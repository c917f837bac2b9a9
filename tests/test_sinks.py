"""One contract for every kind of map file, then what is special to each."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sat2map.errors import OutputError
from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.sinks import SINKS, Part, check_destination, open_sink, png, read_map_legend
from sat2map.tiling import grid, whole

LEGEND = Legend(
    (MapClass("Land", (210, 180, 140), 10), MapClass("Bäche & Seen", (0, 90, 200), 3), MapClass("<none>", (1, 2, 3), 0))
)
SHAPE = (700, 530)
PLACES = {
    "utm": GeoBox(SHAPE, Affine(0.5, 0, 412_000.25, 0, -0.5, 5_340_000.75), "EPSG:32633"),
    "geographic": GeoBox(SHAPE, Affine(1e-5, 0, 11.1, 0, -1e-5, 48.2), "EPSG:4326"),
    "turned": GeoBox(SHAPE, Affine(0.4, 0.3, 412_000, 0.3, -0.4, 5_340_000), "EPSG:32633"),
    "nowhere": GeoBox(SHAPE, Affine.identity(), None),
}

suffixes = pytest.mark.parametrize("suffix", SINKS)


def fabricated_ids(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).choice([0, 1, 2, IGNORED], (70, 53)).astype(np.uint8)
    return np.kron(coarse, np.ones((10, 10), np.uint8))


def write(path: Path, ids: np.ndarray, place: GeoBox = PLACES["utm"], seed: int | None = None, block: int = 97) -> Path:
    windows = list(grid(whole(ids.shape), block))
    if seed is not None:
        random.Random(seed).shuffle(windows)
    with open_sink(path, place, LEGEND, tags={"MODEL": "test"}) as sink:
        for window in windows:
            sink.write(window, ids[window.slices])
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


@suffixes
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_map_comes_back_as_it_was_written(tmp_path, suffix, place):
    ids = fabricated_ids()
    with rasterio.open(write(tmp_path / f"map{suffix}", ids, place)) as file:
        np.testing.assert_array_equal(file.read(1), LEGEND.values(ids))
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), IGNORED)
        # A world file holds the centre of the first pixel, so the last bit of the corner may be lost.
        assert file.transform.almost_equals(place.affine, 1e-9 if suffix == ".png" else 0)
        assert (file.crs is None) == (place.crs is None)
        assert place.crs is None or file.crs == rasterio.CRS.from_user_input(str(place.crs))
        table = file.colormap(1)
        assert all(table[c.value] == (*c.colour, 255) for c in LEGEND.classes)
        assert table[IGNORED][3] == 0
        assert file.tags()["MODEL"] == "test"
    assert read_map_legend(tmp_path / f"map{suffix}") == LEGEND


@suffixes
def test_the_order_of_blocks_does_not_show(tmp_path, suffix):
    ids = fabricated_ids()
    results = []
    for seed, block in ((None, 97), (1, 97), (2, 97), (3, 256), (None, 1000)):
        folder = tmp_path / f"{seed}-{block}"
        write(folder / f"map{suffix}", ids, seed=seed, block=block)
        results.append(contents(folder))
    assert all(result == results[0] for result in results)
    other = contents(write(tmp_path / "other" / f"map{suffix}", fabricated_ids(1)).parent)
    assert other[f"map{suffix}"] != results[0][f"map{suffix}"]


@suffixes
def test_threads_may_write_at_once(tmp_path, suffix):
    ids = fabricated_ids()
    with open_sink(tmp_path / f"a{suffix}", PLACES["utm"], LEGEND) as sink, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda w: sink.write(w, ids[w.slices]), grid(whole(ids.shape), 64)))
    with rasterio.open(tmp_path / f"a{suffix}") as file:
        np.testing.assert_array_equal(file.read(1), LEGEND.values(ids))


@suffixes
def test_nothing_is_visible_before_close_and_nothing_is_left_after_it(tmp_path, suffix):
    path = tmp_path / f"map{suffix}"
    sink = open_sink(path, PLACES["utm"], LEGEND)
    sink.write(whole(SHAPE), fabricated_ids())
    assert not [f for f in tmp_path.iterdir() if not f.name.startswith(".")]
    sink.close()
    sink.close()
    assert path.exists()
    assert all(f.name.split(".")[0] == "map" for f in tmp_path.iterdir())


@suffixes
def test_an_exception_keeps_the_older_map(tmp_path, suffix):
    path = write(tmp_path / f"map{suffix}", fabricated_ids(1))
    before = contents(tmp_path)
    with pytest.raises(KeyError), open_sink(path, PLACES["nowhere"], LEGEND) as sink:
        sink.write(whole(SHAPE), fabricated_ids())
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


@suffixes
def test_what_was_never_written_is_nodata(tmp_path, suffix):
    with open_sink(tmp_path / f"map{suffix}", PLACES["utm"], LEGEND) as sink:
        sink.write(whole(SHAPE)._replace(height=50), fabricated_ids()[:50])
    with rasterio.open(tmp_path / f"map{suffix}") as file:
        assert (file.read(1)[50:] == IGNORED).all()
        np.testing.assert_array_equal(file.read(1)[:50], LEGEND.values(fabricated_ids()[:50]))


@suffixes
def test_a_new_map_replaces_the_old_one_and_what_lay_beside_it(tmp_path, suffix):
    path = write(tmp_path / f"map{suffix}", fabricated_ids(1))
    for name in (f"map{suffix}.ovr", "map.pgw"):
        (tmp_path / name).write_text("of the old map")
    write(path, fabricated_ids(), PLACES["nowhere"])
    assert sorted(contents(tmp_path)) == [path.name, f"{path.name}.aux.xml"]
    with rasterio.open(path) as file:
        assert file.crs is None
        np.testing.assert_array_equal(file.read(1), LEGEND.values(fabricated_ids()))


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


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.sampled_from([*SINKS]), st.randoms())
def test_any_shape_and_blocks_round_trip(tmp_path_factory, height, width, block, suffix, chance):
    ids = np.random.default_rng(height * width).choice([0, 1, 2, IGNORED], (height, width)).astype(np.uint8)
    place = GeoBox(ids.shape, PLACES["utm"].affine, "EPSG:32633")
    path = tmp_path_factory.mktemp("any") / f"map{suffix}"
    windows = list(grid(whole(ids.shape), block))
    chance.shuffle(windows)
    with open_sink(path, place, LEGEND) as sink:
        for window in windows:
            sink.write(window, ids[window.slices])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), LEGEND.values(ids))


@suffixes
@pytest.mark.parametrize("value", [255, 300, -1])
def test_a_number_that_does_not_fit_is_told(tmp_path, suffix, value):
    legend = Legend((MapClass("Sea", (0, 0, 0), value),))
    with pytest.raises(OutputError, match=f"class Sea has the number {value}, but a map holds 0 to 254"):
        open_sink(tmp_path / f"map{suffix}", PLACES["utm"], legend)


@suffixes
def test_blocks_must_fit_the_map(tmp_path, suffix):
    with open_sink(tmp_path / f"map{suffix}", PLACES["utm"], LEGEND) as sink:
        for window in (whole(SHAPE)._replace(row=-1), whole(SHAPE)._replace(height=SHAPE[0] + 1)):
            with pytest.raises(ValueError, match="does not fit"):
                sink.write(window, np.zeros(window.shape, np.uint8))
        with pytest.raises(ValueError, match="does not fit"):
            sink.write(whole(SHAPE), np.zeros((3, 3), np.uint8))


def test_geotiff_is_cloud_optimised_with_overviews_of_classes(tmp_path):
    place = GeoBox((1100, 900), PLACES["utm"].affine, "EPSG:32633")
    ids = np.tile(np.uint8([[0, 1], [1, 1]]), (550, 450))
    path = write(tmp_path / "map.tif", ids, place, block=512)
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.compression == rasterio.enums.Compression.deflate
        assert file.overviews(1) == [2, 4]
    with rasterio.open(path, overview_level=0) as file:
        assert set(np.unique(file.read(1))) == {LEGEND.classes[1].value}


def test_png_has_a_world_file_of_pixel_centres(tmp_path):
    write(tmp_path / "map.png", fabricated_ids())
    lines = [float(line) for line in (tmp_path / "map.pgw").read_text().split()]
    assert lines == [0.5, 0, 0, -0.5, 412_000.5, 5_340_000.5]


def test_a_large_png_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(png, "MOST_PIXELS", 1000)
    with pytest.raises(OutputError, match=r"530 x 700 pixels is too large for a PNG, .* 1,000 pixels.*\.tif"):
        open_sink(tmp_path / "map.png", PLACES["utm"], LEGEND)
    assert not list(tmp_path.iterdir())


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
    assert check_destination(tmp_path / "new" / "deep" / "MAP.TIF", SINKS).parent.is_dir()
    assert not list((tmp_path / "new" / "deep").iterdir())
