from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sat2map.errors import BadOption, SourceError, UnknownName
from sat2map.legend import IGNORED, legend_of
from sat2map.options import SplitOptions
from sat2map.raster import window_geobox
from sat2map.scenes import array_scene
from sat2map.scenes.array import ArrayScene
from sat2map.sources import Pair, Source, open_source
from sat2map.sources.opening import class_counts
from sat2map.splits import PARTS, Area, Split, check_split, describe, make_split, read_split
from sat2map.tiling import Window, whole

UTM = "EPSG:32636"
NAMES = ("land", "water", "road")


def pair(name: str, shape: tuple[int, int], *, geobox: GeoBox | None = None, ids: np.ndarray | None = None) -> Pair:
    """Return a pair of noise (or of `ids`) in the group that its name says."""
    rng = np.random.default_rng(sum(map(ord, name)))
    ids = rng.integers(0, len(NAMES), shape, np.uint8) if ids is None else ids
    group = name.rpartition("/")[0]
    return Pair(name, group, array_scene(ids, geobox=geobox), array_scene(ids, geobox=geobox))


def source_of(pairs: Sequence[Pair]) -> Source:
    counts = np.array([class_counts(p.target, len(NAMES)) for p in pairs])
    return Source("here", "folders", "classes", tuple(pairs), legend_of(NAMES), counts)


def flat(shape: tuple[int, int] = (96, 96), **groups: int) -> Source:
    """Return pictures without georeference: so many in each group."""
    return source_of([pair(f"{group}/{i}.png", shape) for group, n in groups.items() for i in range(n)])


def geobox(shape: tuple[int, int], x: float = 0, y: float = 0, size: float = 1, crs: str = UTM) -> GeoBox:
    return GeoBox(shape, Affine(size, 0, 500_000 + x, 0, -size, 40_000 - y), crs)


def mosaic(count: int = 4, size: int = 64) -> Source:
    """Return georeferenced pictures side by side."""
    shape = (size, size)
    return source_of([pair(f"{i}.tif", shape, geobox=geobox(shape, x=i * size)) for i in range(count)])


def split_of(source: Source, seed: int = 0, patch: int = 32, **options: object) -> Split:
    return make_split(source, SplitOptions(**options), seed=seed, patch=patch)[0]  # type: ignore[arg-type]


def groups_of(split: Split, part: str) -> set[str]:
    return {a.pair.rpartition("/")[0] for a in split.part(part)}


# --- ground -----------------------------------------------------------------------------------------------------------


@st.composite
def placed_sources(draw: st.DrawFn) -> Source:
    """Draw pictures that overlap: at other resolutions, off the grid, mirrored, turned, in other CRSs."""
    pairs = []
    for i in range(draw(st.integers(1, 4))):
        shape = draw(st.integers(50, 120)), draw(st.integers(50, 120))
        size = draw(st.sampled_from([0.5, 1.0, 0.7, 2.0]))
        x, y = draw(st.floats(-60, 60)), draw(st.floats(-60, 60))
        crs = draw(st.sampled_from([UTM, UTM, "EPSG:32635", "EPSG:3857"]))
        centre = geobox((1, 1), x, y).extent.to_crs(crs).centroid.coords[0]
        mirrored = draw(st.sampled_from([-1, 1]))
        turned = Affine.rotation(draw(st.sampled_from([0, 0, 7, 45, 90])))
        affine = Affine.translation(*centre) * turned * Affine.scale(size, mirrored * size)
        pairs.append(pair(f"{i}.tif", shape, geobox=GeoBox(shape, affine, crs)))
    return source_of(pairs)


def ground(source: Source, area: Area, pad: int = 0) -> object:
    """Return the area's outline in the CRS of the first picture."""
    box = next(p.image.geobox for p in source.pairs if p.name == area.pair)
    return window_geobox(box, area.window.pad(pad)).extent.to_crs(source.pairs[0].image.geobox.crs).geom


@given(placed_sources(), st.integers(0, 8), st.sampled_from([None, 20, 33]), st.integers(0, 3))
def test_ground_of_different_parts_is_a_buffer_apart(source: Source, buffer: int, block: int | None, seed: int) -> None:
    try:
        split = split_of(source, seed, split="blocks", block=block, buffer=buffer)
    except SourceError:  # too little ground
        assume(False)
    shapes = {p.name: p.image.shape for p in source.pairs}
    pixel = abs(source.pairs[0].image.geobox.affine.determinant) ** 0.5
    for area in split.areas:
        assert not area.window.empty
        assert area.window.intersect(whole(shapes[area.pair])) == area.window
    for i, part in enumerate(PARTS):
        others = [a for other in PARTS[i + 1 :] for a in split.part(other)]
        far = [(ground(source, b), ground(source, b, b.context)) for b in others]
        for area in split.part(part):
            own, seen = ground(source, area), ground(source, area, area.context)
            for other, other_seen in far:
                assert own.distance(other) >= buffer * pixel - 1e-3
                assert own.intersection(other).area < 1e-3
                assert seen.intersection(other_seen).area < 1e-3


@given(st.integers(81, 200), st.integers(81, 200), st.integers(16, 40), st.integers(0, 5))
def test_without_buffer_every_pixel_is_in_one_area(height: int, width: int, block: int, seed: int) -> None:
    source = source_of([pair("a.png", (height, width)), pair("b.png", (width, height))])
    split = split_of(source, seed, split="blocks", block=block, buffer=0)
    for p in source.pairs:
        times = np.zeros(p.image.shape, int)
        for area in split.areas:
            times[area.window.slices] += area.pair == p.name
        assert (times == 1).all()


@given(st.integers(1, 12), st.integers(0, 5))
def test_windows_in_one_picture_keep_the_buffer_also_across_corners(buffer: int, seed: int) -> None:
    split = split_of(source_of([pair("a.png", (160, 160))]), seed, split="blocks", block=32, buffer=buffer)
    for a in split.areas:
        for b in split.areas:
            if a.part != b.part:
                near = a.window.pad(buffer)
                assert near.intersect(b.window).empty


def test_the_same_ground_at_three_resolutions_goes_to_one_part() -> None:
    sizes = {"z1": 1.0, "z2": 0.5, "z3": 0.25}
    boxes = {z: geobox((int(128 / s), int(128 / s)), size=s) for z, s in sizes.items()}
    source = source_of([pair(f"{z}/a.tif", tuple(b.shape), geobox=b) for z, b in boxes.items()])
    split = split_of(source, block=32, buffer=0)
    assert split.how == "blocks"
    maps = []
    for z, size in sizes.items():
        part = np.full((128, 128), -1)
        for a in split.areas:
            if a.pair.startswith(z):
                rows, cols = (slice(int(s.start * size), int(s.stop * size)) for s in a.window.slices)
                part[rows, cols] = PARTS.index(a.part)
        maps.append(part)
    assert set(np.unique(maps[0])) == {0, 1, 2}
    assert (maps[0] == maps[1]).all() and (maps[0] == maps[2]).all()


def test_there_are_about_forty_blocks_of_equal_size() -> None:
    split = split_of(source_of([pair("a.png", (600, 800))]), buffer=0)
    assert 25 <= len(split.areas) <= 50
    assert np.ptp([a.window.height for a in split.areas]) <= 1


def test_small_ground_is_cut_below_half_a_patch() -> None:
    split = split_of(source_of([pair("a.png", (60, 60))]), patch=256)
    assert len(split.areas) == 9


def test_ground_without_labels_belongs_to_nobody() -> None:
    ids = np.random.default_rng(0).integers(0, 3, (128, 128), np.uint8)
    ids[:64] = IGNORED
    split = split_of(source_of([pair("a.png", ids.shape, ids=ids)]), block=16)
    assert min(a.window.row for a in split.areas) >= 64


def test_pictures_to_translate_are_split_by_their_size() -> None:
    ids = np.zeros((120, 120), np.uint8)
    pairs = tuple(pair(f"{i}.png", ids.shape, ids=ids) for i in range(3))
    split = split_of(Source("here", "side-by-side", "picture", pairs, legend_of([]), np.zeros((3, 0), np.int64)))
    pixels = {part: sum(a.window.height * a.window.width for a in split.part(part)) for part in PARTS}
    assert pixels["train"] > pixels["test"] > 0 < pixels["val"]


def test_each_target_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source, read = mosaic(), []
    plain = ArrayScene._read

    def counting(self: ArrayScene, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        read.append(window.height * window.width)
        return plain(self, window, bands)

    monkeypatch.setattr(ArrayScene, "_read", counting)
    split_of(source, split="blocks", block=16)
    assert sum(read) == sum(p.image.shape[0] * p.image.shape[1] for p in source.pairs)


@pytest.mark.parametrize("how", ["groups", "blocks", "files", "random"])
def test_a_seed_makes_a_split(how: str) -> None:
    source = flat(a=4, b=4, c=4, d=3, e=3, f=3, g=3, h=2, i=2)
    splits = [split_of(source, seed, split=how) for seed in (0, 1, 2, 0)]
    assert splits[0] == splits[3]
    assert splits[0] != splits[1] or how == "groups"  # few groups: the best division is found whatever the seed
    assert all(s.part(part) for s in splits for part in PARTS)


# --- groups, files ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=3, max_size=12), st.integers(0, 3))
@settings(max_examples=30)
def test_a_group_is_in_one_part_and_each_part_has_one(sizes: list[int], seed: int) -> None:
    source = flat((8, 8), **{f"g{i}": n for i, n in enumerate(sizes)})
    split = split_of(source, seed, split="groups")
    found = [groups_of(split, part) for part in PARTS]
    assert all(found)
    assert sum(map(len, found)) == len(sizes)
    assert sorted(a.pair for a in split.areas) == sorted(p.name for p in source.pairs)


def test_validation_takes_the_group_nearest_to_its_share() -> None:
    source = flat(a=9, b=7, c=2, d=6, e=8, f=20)
    split = split_of(source, test=("f",), val=0.05)
    assert split.how == "groups"
    assert groups_of(split, "test") == {"f"}
    assert groups_of(split, "val") == {"c"}


def test_groups_named_for_both_parts() -> None:
    split = split_of(flat(a=1, b=2, c=3), val="a", test=("c",))
    assert [groups_of(split, part) for part in PARTS] == [{"b"}, {"a"}, {"c"}]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val", "test"), [{"train"}, {"val"}, {"test"}]),
        (("Training/a", "Training/b", "Validation/c"), [{"Training/a", "Training/b"}, {"Validation/c"}, set()]),
        (("train", "test"), [{"train"}, {"train"}, {"test"}]),
    ],
)
def test_folders_named_after_the_parts(folders: tuple[str, ...], expected: list[set[str]]) -> None:
    split = split_of(flat(**dict.fromkeys(folders, 6)))
    assert split.how == "groups"
    assert [groups_of(split, part) for part in PARTS] == expected


@pytest.mark.parametrize(
    ("source", "options", "how"),
    [
        (flat(a=2, b=2, c=2), {}, "groups"),
        (flat(a=2, b=2), {}, "blocks"),
        (flat(a=6, b=6), {}, "files"),
        (flat(a=2, b=2, c=2), {"block": 24}, "blocks"),
        (flat(a=6, b=6), {"val": "a", "test": "0"}, "groups"),
        (mosaic(12), {}, "blocks"),
        (source_of([pair(f"{g}/a.tif", (96, 96), geobox=geobox((96, 96), x=g * 96)) for g in range(3)]), {}, "groups"),
        (source_of([pair(f"{g}/a.tif", (96, 96), geobox=geobox((96, 96), x=g * 90)) for g in range(3)]), {}, "blocks"),
    ],
)
def test_what_is_chosen_where_the_user_leaves_it_open(source: Source, options: dict[str, object], how: str) -> None:
    assert split_of(source, **options).how == how


@pytest.mark.parametrize("how", ["groups", "blocks", "files"])
def test_no_test_part_if_none_is_wanted(how: str) -> None:
    split = split_of(flat(a=4, b=2, c=3), split=how, test=0)
    assert not split.part("test")
    assert split.part("train") and split.part("val")


@pytest.mark.parametrize(
    ("source", "how", "kinds"),
    [
        (flat(a=12), "random", ["random-split"]),
        (flat(a=12), "files", ["files-split"]),
        (flat(a=6, b=6), "files", []),
        (flat(a=12), "blocks", []),
        (source_of([pair(f"{i}.tif", (32, 32), geobox=geobox((32, 32), x=9 * i)) for i in range(9)]), "files",
         ["parts-overlap"]),
    ],
)  # fmt: skip
def test_leaks_are_told(source: Source, how: str, kinds: list[str]) -> None:
    _, findings = make_split(source, SplitOptions(split=how), seed=0, patch=32)  # type: ignore[arg-type]
    assert [f.kind for f in findings] == kinds


def test_a_class_in_too_few_places_is_told() -> None:
    rare = np.zeros((32, 32), np.uint8)
    rare[0, 0] = 2
    pairs = [pair(f"{g}/a.png", (32, 32), ids=rare if g == "a" else np.zeros((32, 32), np.uint8)) for g in "abc"]
    _, findings = make_split(source_of(pairs), SplitOptions(val=("b",), test=("c",)), seed=0, patch=32)
    assert [f.kind for f in findings] == ["class-not-in-part"] * 2
    assert "road" in findings[0].text and "water" not in findings[0].text


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"test": "Tile 9"}, UnknownName, "Tile 9"),
        ({"val": ("a", "0.1")}, UnknownName, "0.1"),
        ({"test": "1"}, BadOption, "below 1"),
        ({"test": "-0.1"}, BadOption, "0 or more"),
        ({"test": "nan"}, UnknownName, "nan"),
        ({"val": "0"}, BadOption, "--val"),
        ({"val": "0.5", "test": "0.5"}, BadOption, "nothing to train on"),
        ({"val": "a", "test": ("b", "a")}, BadOption, "a cannot be in --val and --test"),
        ({"test": "a", "split": "blocks"}, BadOption, "groups"),
        ({"split": "blocks", "block": 20, "buffer": 20}, BadOption, "--buffer"),
        ({"split": "blocks", "buffer": -1}, BadOption, "--buffer"),
        ({"test": ("a", "b")}, SourceError, "left for"),
        ({"split": "groups"}, SourceError, "3 groups|2 groups"),
        ({"split": "blocks", "block": 96, "buffer": 95}, SourceError, "left for|smaller --buffer"),
    ],
)
def test_mistakes_are_explained(options: dict[str, object], error: type[Exception], message: str) -> None:
    source = flat((96, 96), a=1, b=1) if "val" not in options else flat(a=2, b=2, c=2)
    with pytest.raises(error, match=message):
        split_of(source, **options)


def test_a_group_is_named_where_there_is_one_only() -> None:
    with pytest.raises(BadOption, match=r"--test is .Tile 9., but all images lie in one group\. Give a share"):
        split_of(source_of([pair("a.png", (64, 64)), pair("b.png", (64, 64))]), test="Tile 9")


def test_a_buffer_that_leaves_nothing() -> None:
    with pytest.raises(SourceError, match="smaller --buffer"):
        split_of(source_of([pair("a.png", (64, 64))]), block=16, buffer=15)


# --- files and reports ------------------------------------------------------------------------------------------------


@given(st.integers(0, 3), st.sampled_from(["groups", "blocks", "files", "random"]))
@settings(max_examples=10)
def test_json_gives_back_the_split(seed: int, how: str) -> None:
    split = split_of(flat(a=2, b=3, c=4), seed, split=how)
    assert Split.from_json(json.loads(json.dumps(split.to_json()))) == split


def test_a_split_is_read_from_its_file(tmp_path: Path) -> None:
    split = split_of(flat(a=2, b=3, c=4))
    (tmp_path / "split.json").write_text(json.dumps(split.to_json()))
    assert read_split(tmp_path / "split.json") == split


AREA = {"pair": "a", "part": "train", "window": [0, 0, 2, 2], "context": 0}


@pytest.mark.parametrize(
    "data",
    [
        None,
        "{",
        "[]",
        '{"how": "files"}',
        json.dumps({"how": "files", "areas": [AREA | {"part": "all"}]}),
        json.dumps({"how": "files", "areas": [AREA | {"window": [0, 0, 2]}]}),
        json.dumps({"how": "files", "areas": [AREA | {"window": [0, 0, 2, "x"]}]}),
    ],
)
def test_a_file_that_is_no_split(tmp_path: Path, data: str | None) -> None:
    if data is not None:
        (tmp_path / "split.json").write_text(data)
    with pytest.raises(SourceError, match="is not a split"):
        read_split(tmp_path / "split.json")


def test_a_split_of_other_pictures_is_refused() -> None:
    split = split_of(flat(a=1, b=1, c=1, d=1))
    check_split(split, flat(a=2, b=1, c=1, d=1))
    with pytest.raises(SourceError, match=r"d/0\.png"):
        check_split(split, flat(a=1, b=1, c=1))
    with pytest.raises(SourceError, match="larger pictures"):
        check_split(split, flat((95, 96), a=1, b=1, c=1, d=1))


def test_parts_are_described_by_what_they_hold() -> None:
    source = mosaic()
    split = split_of(source, split="blocks", block=16, test=0)
    rows = describe(split, source)
    assert [r.part for r in rows] == ["train", "val"]
    targets = {p.name: p.target for p in source.pairs}
    for row in rows:
        ids = np.concatenate([targets[a.pair].read(a.window).pixels.ravel() for a in split.part(row.part)])
        assert (row.areas, row.pixels) == (len(split.part(row.part)), ids.size)
        assert [row.shares[n] for n in NAMES] == pytest.approx([(ids == i).mean() for i in range(3)])


# --- real imagery -----------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_dubai_is_tested_on_a_tile_never_seen(real: Path) -> None:
    source = open_source(real / "dubai-aerial")
    split = split_of(source, patch=256, test=("Tile 8",))
    assert groups_of(split, "test") == {"Tile 8/images"}
    assert len(split.part("test")) == 9
    assert groups_of(split, "val") == {"Tile 4/images"}  # a tenth of all ground


@pytest.mark.real
def test_kampala_shares_no_ground_between_parts(real: Path) -> None:
    source = open_source(real / "kampala-buildings")
    split = split_of(source, patch=256)
    assert split.how == "blocks"
    outlines = {part: [ground(source, a) for a in split.part(part)] for part in PARTS}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert min(a.distance(b) for a in outlines[one] for b in outlines[other]) > 0.3 * 10
