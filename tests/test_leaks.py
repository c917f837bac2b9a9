"""Leaks: seeded ones of every kind are found where they are, and different ground is never called the same."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

import synthetic
from sat2map.fabricate import fabricate_scene
from sat2map.leaks import LOOK_ALIKE, Ground, Leak, draw_leaks, find_leaks, leak_findings, registration
from sat2map.leaks.base import COPIED, FEW, SURE, carried, outline, share_of_smaller
from sat2map.leaks.candidates import root_sift
from sat2map.leaks.drawing import NAME, _caption
from sat2map.leaks.looking import Features, features
from sat2map.raster import window_geobox
from sat2map.scenes import open_scene
from sat2map.scenes.array import array_scene
from sat2map.scenes.views import unplaced
from sat2map.tiling import Window, whole

SIDE = 256
PLACE = Affine(0.5, 0, 500_000, 0, -0.5, 40_000)


@pytest.fixture(scope="module")
def town() -> np.ndarray:
    return fabricate_scene(SIDE, seed=1)[0]


def ground(part: str, pixels: np.ndarray, valid: np.ndarray | None = None, place: GeoBox | None = None) -> Ground:
    image = array_scene(np.ascontiguousarray(pixels), valid, place, name=part)
    return Ground(f"picture of {part}", part, image, whole(image.shape))


def laid_on(pixels: np.ndarray, matrix: Affine, side: int = SIDE) -> np.ndarray:
    """Return a picture whose pixel (x, y) shows what lies at `matrix` * (x, y) of another."""
    centred = Affine.translation(-0.5, -0.5) @ matrix @ Affine.translation(0.5, 0.5)
    inverse = np.array(centred[:6]).reshape(2, 3)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(band, inverse, (side, side), flags=flags) for band in pixels])


TURNS = {
    "shifted": Affine.translation(37, 37),
    "turned by 90": Affine.translation(SIDE, 0) @ Affine.rotation(90),
    "turned by 17": Affine.rotation(17, (SIDE / 2, SIDE / 2)),
    "turned by 200": Affine.rotation(200, (SIDE / 2, SIDE / 2)),
    "finer": Affine.translation(60, 80) @ Affine.scale(0.5),
    "coarser": Affine.scale(1.4),
    "mirrored": Affine.translation(SIDE, 0) @ Affine.scale(-1, 1),
    "mirrored and turned": Affine.rotation(70, (SIDE / 2, SIDE / 2))
    @ Affine.translation(SIDE, 0)
    @ Affine.scale(-1, 1),
    "a corner": Affine.translation(SIDE * 0.6, SIDE * 0.5),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_a_copy_is_found_where_it_lies(town, turn):
    (leak,) = find_leaks([ground("train", town), ground("test", laid_on(town, turn))])
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]])
    for corner in corners:
        assert np.hypot(*np.subtract(Affine(*leak.matrix) @ tuple(corner), turn @ tuple(corner))) < 3
    assert leak.how == "content"
    assert leak.share == pytest.approx(share_of_smaller(whole((SIDE, SIDE)), whole((SIDE, SIDE)), turn[:6]), abs=0.03)
    assert 0.9 < leak.likeness <= 1


@pytest.mark.parametrize("factor", [0.25, 0.7, 1.5, 4])
def test_a_rescaled_copy_is_found(town, factor):
    shown = town if factor < 2 else town[:, :128, :128]
    small = np.stack([cv2.resize(b, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for b in shown])
    (leak,) = find_leaks([ground("train", town), ground("test", small)])
    assert abs(Affine(*leak.matrix).determinant) ** 0.5 == pytest.approx(1 / factor, rel=0.02)
    assert leak.share > 0.98


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_a_brighter_copy_of_another_type_and_jpeg_is_found(town, tmp_path, dtype):
    Image.fromarray(np.moveaxis(town, 0, -1) // 2 + 90).save(tmp_path / "copy.jpg", quality=40)
    again = open_scene(tmp_path / "copy.jpg")
    other = (town.astype(float) * 20 - 100).astype(dtype)
    (leak,) = find_leaks([ground("train", other), Ground("copy", "test", again, whole(again.shape))])
    assert leak.share > 0.99


def test_different_places_are_not_the_same():
    towns = [fabricate_scene(160, seed=seed)[0] for seed in range(2, 8)]
    assert find_leaks([ground(f"town {i}", town) for i, town in enumerate(towns)]) == ()


def blank(rng: np.random.Generator) -> np.ndarray:
    return np.full((3, 256, 256), 90, np.uint8)


def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(90, 3, (3, 256, 256)).astype(np.uint8)


def waves(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:256, :256] + rng.uniform(0, 40, (2, 1, 1))
    bands = 110 + 40 * np.sin(x / 3) + 20 * np.sin(y / 9) + rng.normal(0, 6, (3, 256, 256))
    return bands.clip(0, 255).astype(np.uint8)


def parking(rng: np.random.Generator) -> np.ndarray:
    row, col = rng.integers(0, 24, 2)
    lot = np.full((320, 320), 80.0)
    lot[::24] = lot[:, ::12] = 220
    noisy = lot[row : row + 256, col : col + 256] + rng.normal(0, 5, (3, 256, 256))
    return noisy.clip(0, 255).astype(np.uint8)


def board(rng: np.random.Generator) -> np.ndarray:
    row, col = rng.integers(0, 32, 2)
    squares = np.add.outer((np.arange(256) + row) // 16, (np.arange(256) + col) // 16) % 2
    return np.repeat(squares[None] * np.uint8(200), 3, axis=0)


def collar(rng: np.random.Generator) -> np.ndarray:
    seen = fabricate_scene(256, seed=int(rng.integers(100, 10_000)))[0]
    y, x = np.mgrid[:256, :256]
    return np.where((y + x > 90) & (y - 0.3 * x < 190), seen, 0)


@pytest.mark.parametrize("texture", [blank, noise, waves, parking, board, collar])
def test_what_only_looks_alike_is_no_leak(texture):
    rng = np.random.default_rng(7)
    assert find_leaks([ground(f"part {i}", texture(rng)) for i in range(4)]) == ()


def test_a_collar_of_nodata_is_no_leak():
    rng = np.random.default_rng(3)
    shown = [collar(rng) for _ in range(3)]
    assert find_leaks([ground(f"part {i}", p, (p > 0).any(axis=0)) for i, p in enumerate(shown)]) == ()


def test_ground_of_one_part_may_overlap(town):
    one, other = ground("train", town), ground("train", town[:, 40:, 40:])
    assert find_leaks([one, other]) == ()


def test_windows_of_one_picture_are_compared_as_windows():
    image = array_scene(np.zeros((1, 100, 200), np.uint8))  # blank: nothing to be seen in it
    grounds = [Ground(str(col), str(col), image, Window(0, col, 100, 80)) for col in (0, 60, 140)]
    (leak,) = find_leaks(grounds)
    assert (leak.first.name, leak.second.name, leak.how) == ("0", "60", "georeference")
    assert leak.share == pytest.approx(0.25)
    assert leak.matrix == pytest.approx((1, 0, 60, 0, 1, 0))


def test_ground_with_a_crs_is_compared_by_where_it_lies(town):
    here = GeoBox((SIDE, SIDE), PLACE, "EPSG:32636")
    near = window_geobox(here, Window(SIDE // 2, 0, SIDE, SIDE))
    far = window_geobox(here, Window(0, 10 * SIDE, SIDE, SIDE))
    first, second, third = (ground(part, town, None, place) for part, place in (("a", here), ("b", near), ("c", far)))
    (leak,) = find_leaks([first, second, third])  # all show the same, but that is not asked
    assert (leak.first, leak.second, leak.how) == (first, second, "georeference")
    assert leak.share == pytest.approx(0.5)


def test_grounds_of_two_crs_meet():
    here = GeoBox((SIDE, SIDE), PLACE, "EPSG:32636")
    there = here.to_crs("EPSG:4326")
    flat = np.zeros((1, SIDE, SIDE), np.uint8)
    (leak,) = find_leaks([ground("a", flat, None, here), ground("b", np.zeros((1, *there.shape)), None, there)])
    assert leak.share > 0.97
    x, y = Affine(*leak.matrix) @ (there.shape[1] / 2, there.shape[0] / 2)
    assert np.hypot(x - SIDE / 2, y - SIDE / 2) < 3


@pytest.mark.parametrize(("columns", "count"), [(3, 0), (4, 1)])
def test_less_than_a_hundredth_is_rounding(columns, count):
    here = GeoBox((320, 320), PLACE, "EPSG:32636")
    grounds = [
        Ground(part, part, array_scene(np.zeros((1, 320, 320)), None, window_geobox(here, window)), whole((320, 320)))
        for part, window in (("a", whole((320, 320))), ("b", Window(0, 320 - columns, 320, 320)))
    ]
    assert len(find_leaks(grounds)) == count


def test_a_window_of_a_large_picture_is_found_in_its_own_pixels(town):
    large = np.zeros((3, 700, 1300), np.uint8)
    large[:, 300:556, 900:1156] = town
    first = replace(ground("train", large), window=Window(200, 800, 500, 500))
    (leak,) = find_leaks([first, ground("test", town[:, :256, :256])])
    assert leak.matrix == pytest.approx((1, 0, 100, 0, 1, 100), abs=1)


def test_few_parts_and_many_find_the_same(town):
    others = [ground(f"town {i}", fabricate_scene(128, seed=30 + i)[0]) for i in range(9)]
    couple = [ground("train", town), ground("test", town[:, 37:, 37:])]
    (alone,), (among,) = find_leaks(couple), find_leaks([*others, *couple])
    assert (alone.first, alone.second) == (among.first, among.second) == tuple(couple)


def test_the_same_call_finds_the_same(town):
    grounds = [ground(str(i), laid_on(town, Affine.rotation(40 * i, (128, 128)))) for i in range(3)]
    assert find_leaks(grounds) == find_leaks(grounds) != ()


def test_the_larger_share_comes_first(town):
    grounds = [ground("train", town), ground("test", town[:, 120:]), ground("val", laid_on(town, TURNS["a corner"]))]
    shares = [leak.share for leak in find_leaks(grounds)]
    assert len(shares) > 1
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("share", "likeness", "textured", "sure"),
    [
        (1.0, None, None, True),
        (0.3, SURE, FEW, True),
        (0.3, SURE - 0.01, FEW, False),
        (0.3, COPIED, FEW - 1, True),
        (0.3, COPIED - 0.01, FEW - 1, False),
    ],
)
def test_little_ground_is_surely_the_same_only_if_it_is_a_copy(town, share, likeness, textured, sure):
    how = "content" if textured else "georeference"
    leak = Leak(ground("a", town), ground("b", town), how, share, (1, 0, 0, 0, 1, 0), likeness, textured)
    assert leak.sure == leak.to_json()["sure"] == sure


@pytest.mark.parametrize(("side", "sure"), [(140, False), (SIDE, True)])
def test_little_ground_that_looks_alike_may_have_been_built_twice(town, side, sure):
    one, other = (synthetic.furnished(town[:, :side, :side], seed) for seed in range(2))
    (leak,) = find_leaks([ground("train", one), ground("test", other)])
    assert leak.sure == sure
    assert 0.45 < leak.likeness < 0.8
    (finding,) = leak_findings([leak])
    assert (finding.level, finding.kind) == (("error", "leak") if sure else ("warning", LOOK_ALIKE))
    assert ("share 100%" if sure else "may share 100%") in finding.text


def test_a_copy_of_little_ground_is_surely_the_same(town, tmp_path):
    small = town[:, :140, :140]
    Image.fromarray(np.moveaxis(small[:, 20:, 30:], 0, -1)).save(tmp_path / "copy.jpg", quality=60)
    again = open_scene(tmp_path / "copy.jpg")
    (leak,) = find_leaks([ground("train", small), Ground("copy", "test", again, whole(again.shape))])
    assert leak.textured < FEW and leak.sure


def test_what_is_sure_comes_first_and_is_told_apart(town):
    twins = [ground(f"twin {seed}", synthetic.furnished(town[:, :140, :140], seed)) for seed in range(2)]
    other = fabricate_scene(SIDE, seed=3)[0]
    leaks = find_leaks([*twins, ground("train", other[:, :200, :200]), ground("test", other[:, 50:, 50:])])
    assert [leak.sure for leak in leaks] == [True, False]
    assert leaks[0].share < leaks[1].share
    assert [finding.kind for finding in leak_findings(leaks)] == ["leak", LOOK_ALIKE]


def test_features_of_a_mirrored_picture_are_mirrored_features(town):
    flipped = features(ground("b", town[:, :, ::-1]))
    mirrored = features(ground("a", town)).mirrored
    apart = np.linalg.norm(mirrored.points[:, None] + [SIDE, 0] - flipped.points, axis=2)
    nearest = apart.argmin(axis=1)
    same = (apart.min(axis=1) < 0.5) & (np.cos(mirrored.angles - flipped.angles[nearest]) > 0.995)
    distance = np.linalg.norm(mirrored.descriptors.astype(float) - flipped.descriptors[nearest], axis=1)
    assert same.sum() > 40
    assert np.median(distance[same]) < 100  # of descriptors of length 512


def plainly_agreeing(first: Features, second: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return what agrees, with all couples of features at once."""
    products = root_sift(first.descriptors) @ root_sift(second.descriptors).T
    nearest, back = products.argmax(axis=1), products.argmax(axis=0)
    one = np.flatnonzero(back[nearest] == np.arange(len(first)))
    other = nearest[one]
    turns = np.exp(1j * (first.angles[one] - second.angles[other]).astype(float))
    octaves = np.log2(first.sizes[one] / second.sizes[other])
    alike = (np.abs(np.angle(turns[:, None] / turns)) < np.pi / 12) & (np.abs(octaves[:, None] - octaves) < 0.5)
    best = alike[alike.sum(axis=1).argmax()]
    return one[best], other[best]


@pytest.mark.parametrize("cells", [100, 5000, registration.CELLS])
@pytest.mark.parametrize("turn", ["shifted", "turned by 17", "coarser"])
def test_features_are_matched_block_by_block_as_at_once(town, turn, cells, monkeypatch):
    first, second = features(ground("a", town)), features(ground("b", laid_on(town, TURNS[turn])))
    expected = plainly_agreeing(first, second)
    assert len(expected[0]) > 20
    largest, blocks = [], registration._blocks
    monkeypatch.setattr(registration, "CELLS", cells)
    monkeypatch.setattr(registration, "_blocks", lambda n, m: largest.append((n, m)) or blocks(n, m))
    np.testing.assert_array_equal(registration._agreeing(first, second), expected)
    for rows, columns in largest:
        sizes = [len(range(rows)[part]) for part in blocks(rows, columns)]
        assert sum(sizes) == rows and max(sizes) * columns <= max(cells, columns)


def test_of_many_couples_those_around_a_few_are_counted(monkeypatch):
    monkeypatch.setattr(registration, "CENTRES", 40)
    rng = np.random.default_rng(0)
    turns, octaves = rng.uniform(-6, 6, 3000), rng.uniform(-3, 3, 3000)
    turns[1000:2000], octaves[1000:2000] = rng.normal(1, 0.02, 1000), rng.normal(-1, 0.05, 1000)
    best = registration._most_alike(turns, octaves)
    assert best[1000:2000].all() and best.sum() < 1200


def test_long_names_keep_their_ends(town):
    named = replace(ground("test", town), name="a/very/long/path/without/any/space/images/tile_0042.tif")
    assert _caption(named).endswith("/images/tile_0042.tif") and len(_caption(named)) == len("test: ") + NAME
    assert _caption(ground("test", town)) == "test: picture of test"
    assert _caption(replace(named, part=named.name)) == _caption(named).removeprefix("test: ")


def test_shapes_are_carried_as_affines_say():
    matrix = Affine.translation(5, 7) @ Affine.rotation(30) @ Affine.scale(2)
    x, y = carried(outline(Window(3, 3, 10, 20)), matrix[:6]).exterior.xy
    expected = {tuple(np.round(matrix @ corner, 6)) for corner in ((0, 0), (20, 0), (0, 10), (20, 10))}
    assert {tuple(np.round(point, 6)) for point in zip(x, y, strict=True)} == expected


def test_leaks_are_told_and_drawn(town, tmp_path):
    leaks = find_leaks([ground("train", town), ground("test", town[:, 37:, 37:])])
    (finding,) = leak_findings(leaks)
    assert (finding.level, finding.kind) == ("error", "leak")
    assert finding.where == ("picture of test", "picture of train")
    assert "picture of train and picture of test share 100% of the smaller one" in finding.text
    assert leak_findings(()) == []
    path = draw_leaks(leaks * 3, tmp_path / "leaks.png", most=2)
    with Image.open(path) as drawn:
        assert drawn.width > 1000
        assert 600 < drawn.height < 1400


@pytest.mark.real
def test_zooms_of_one_place_leak_by_place_and_by_content(real):
    images = real / "kampala-buildings/images"
    files = [images / "z20/OAM-619212-523272-20.tif", *(images / "z21").glob("OAM-12384*-104654*-21.tif")]
    grounds = [Ground(f.stem, f.parent.name, open_scene(f), whole(open_scene(f).shape)) for f in files]
    by_place = find_leaks(grounds)
    by_content = find_leaks([replace(g, image=unplaced(g.image)) for g in grounds])
    assert len(by_place) > 2
    assert {leak.second.name for leak in by_place} == {leak.second.name for leak in by_content}
    for leak in by_content:
        assert leak.likeness > 0.8
