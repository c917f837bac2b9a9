"""The layout of the public maps archive: `train` and `val` of 1200 x 600 pixels, the photograph on the left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image

import synthetic
from sat2map.errors import SourceError
from sat2map.files import write_json
from sat2map.options import ReadOptions, SplitOptions
from sat2map.raster import is_georeferenced
from sat2map.scenes import open_scene
from sat2map.sources import Source, open_source
from sat2map.splits import Split, make_split, read_split
from sat2map.tiling import whole

PHOTOGRAPH, DRAWING = 40, 220
"""Mean brightness of the fabricated halves."""


def halves(seed: int, *, reverse: bool = False, side: int = 600) -> np.ndarray:
    """Return a dark noisy photograph and a bright map of a few large shapes side by side, `(side, 2 side, 3)`."""
    rng = np.random.default_rng(seed)
    photograph = rng.integers(2 * PHOTOGRAPH, size=(side // 4, side // 4, 3), dtype=np.uint8)
    drawing = rng.integers(DRAWING - 20, DRAWING + 20, (6, 6, 3), np.uint8)
    both = [np.kron(a, np.ones((side // len(a), side // len(a), 1), np.uint8)) for a in (photograph, drawing)]
    return np.concatenate(both[::-1] if reverse else both, axis=1)


def write_archive(folder: Path, *, reverse: bool = False, side: int = 600, **counts: int) -> Path:
    """Write so many pictures to each folder as the archive has them: 1.jpg, 2.jpg, ..."""
    for part, count in counts.items():
        (folder / part).mkdir(parents=True)
        for i in range(1, count + 1):
            Image.fromarray(halves(i, reverse=reverse, side=side)).save(folder / part / f"{i}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive") / "maps", train=3, val=2)


def brightness(source: Source, i: int = 0) -> tuple[float, float]:
    """Return the means of an image and of its truth."""
    pair = source.pairs[i]
    image, target = (scene.read(whole(scene.shape)).pixels for scene in (pair.image, pair.target))
    return float(image.mean()), float(target.mean())


def parts(split: Split) -> dict[str, list[str]]:
    return {part: [a.pair for a in split.part(part)] for part in ("train", "val", "test")}


# --- the archive as it is ---------------------------------------------------------------------------------------------


def test_the_archive_is_read_with_no_option_given(archive):
    source = open_source(archive)
    assert (source.layout, source.output, len(source.legend), source.findings) == ("side-by-side", "picture", 0, ())
    assert [p.name for p in source.pairs] == ["train/1.jpg", "train/2.jpg", "train/3.jpg", "val/1.jpg", "val/2.jpg"]
    assert source.groups == ("train", "val")
    for pair in source.pairs:
        assert pair.image.shape == pair.target.shape == (600, 600)
        assert pair.image.bands == pair.target.bands == ("red", "green", "blue")
    image, target = brightness(source, 4)
    assert abs(image - PHOTOGRAPH) < 5 and abs(target - DRAWING) < 5


def test_the_halves_meet_without_a_pixel_between(archive):
    pair = open_source(archive).pairs[0]
    stored = open_scene(archive / pair.name).read(whole((600, 1200))).pixels
    read = [scene.read(whole(scene.shape)).pixels for scene in (pair.image, pair.target)]
    np.testing.assert_array_equal(np.concatenate(read, axis=2), stored)


@pytest.mark.parametrize("reverse", [False, True])
def test_reverse_is_for_maps_on_the_left(tmp_path, reverse):
    source = open_source(write_archive(tmp_path, reverse=True, side=60, train=1), ReadOptions(reverse=reverse))
    image, target = brightness(source)
    assert (image < target) == reverse


def test_its_folders_are_training_and_validation_and_that_nothing_is_tested_is_said(archive):
    split, findings = make_split(open_source(archive), SplitOptions(), seed=0, patch=256)
    assert split.how == "groups"
    assert parts(split) == {
        "train": ["train/1.jpg", "train/2.jpg", "train/3.jpg"],
        "val": ["val/1.jpg", "val/2.jpg"],
        "test": [],
    }
    assert all(a.window == (0, 0, 600, 600) for a in split.areas)
    assert [(f.level, f.kind) for f in findings] == [("note", "no-test")]
    assert "--split val" in findings[0].text


def test_nothing_is_said_where_no_test_is_wanted_or_there_is_one(archive, tmp_path):
    assert not make_split(open_source(archive), SplitOptions(test=("0",)), seed=0, patch=256)[1]
    with_test = open_source(write_archive(tmp_path, train=1, val=1, test=1))
    split, findings = make_split(with_test, SplitOptions(), seed=0, patch=256)
    assert parts(split) == {"train": ["train/1.jpg"], "val": ["val/1.jpg"], "test": ["test/1.jpg"]}
    assert not findings


def test_it_is_the_same_one_folder_higher(archive):
    source = open_source(archive.parent)
    split, _ = make_split(source, SplitOptions(), seed=0, patch=256)
    assert source.groups == ("maps/train", "maps/val")
    assert parts(split)["val"] == ["maps/val/1.jpg", "maps/val/2.jpg"]


def test_without_folders_pictures_are_divided(tmp_path):
    split, _ = make_split(open_source(write_archive(tmp_path, some=12)), SplitOptions(), seed=0, patch=256)
    assert split.how == "files"
    assert all(parts(split).values())


def test_a_side_by_side_picture_with_a_place_has_it_for_both_halves(tmp_path):
    place = Affine(0.5, 0, 500_000, 0, -0.5, 40_000)
    pixels = halves(0, side=60).transpose(2, 0, 1)
    synthetic.save(tmp_path / "one.tif", pixels, crs="EPSG:32636", transform=place)
    pair = open_source(tmp_path).pairs[0]
    assert pair.image.geobox == pair.target.geobox
    target = pair.target.read(whole((60, 60)))
    assert target.valid.all()
    np.testing.assert_array_equal(target.pixels, pixels[:, :, 60:])


# --- what cannot be learnt from is told before training starts --------------------------------------------------------


def write(folder: Path, name: str, *shape: int) -> None:
    """Write a picture of noise, grey where no third side is given."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(name)).integers(256, size=shape, dtype=np.uint8)).save(path)


def test_a_folder_of_odd_widths_only(tmp_path):
    for i in range(3):
        write(tmp_path, f"{i}.png", 32, 63, 3)
    with pytest.raises(SourceError, match="3 pictures of odd width, which cannot be cut in two"):
        open_source(tmp_path, ReadOptions(layout="side-by-side"))


@pytest.mark.parametrize("layout", ["side-by-side", "folders"])
def test_maps_of_one_channel(tmp_path, layout):
    for i in range(3):
        if layout == "folders":
            write(tmp_path, f"sat/{i}.png", 32, 32, 3)
            write(tmp_path, f"map/{i}.png", 32, 32)
        else:
            write(tmp_path, f"{i}.png", 32, 64)
    with pytest.raises(SourceError, match="one band, but a picture needs 8-bit red, green and blue"):
        open_source(tmp_path, ReadOptions(output="picture"))


@pytest.mark.parametrize(("name", "shape"), [("no pair", (32, 32, 3)), ("other size", (32, 40, 3)), ("grey", (32, 32))])
def test_one_picture_that_does_not_fit_is_left_out_and_named(tmp_path, name, shape):
    for i in range(3):
        write(tmp_path, f"sat/{i}.png", 32, 32, 3)
        if i:
            write(tmp_path, f"map/{i}.png", 32, 32, 3)
    write(tmp_path, "map/9.png" if name == "no pair" else "map/0.png", *shape)
    source = open_source(tmp_path, ReadOptions(output="picture"))
    assert [p.name for p in source.pairs] == ["sat/1.png", "sat/2.png"]
    assert any("sat/0.png" in f.text and f.level == "warning" for f in source.findings)


@pytest.mark.parametrize("folders", [("sat", "map"), ("A", "B"), ("trainA", "trainB"), ("train/A", "train/B")])
def test_pairs_in_two_folders(tmp_path, folders):
    for i in range(3):
        write(tmp_path, f"{folders[0]}/{i}.jpg", 32, 32, 3)
        write(tmp_path, f"{folders[1]}/{i}.jpg", 32, 32, 3)
    source = open_source(tmp_path)
    assert (source.layout, source.output, len(source.pairs)) == ("folders", "picture", 3)
    assert all(p.name.startswith(folders[0]) for p in source.pairs)


def test_a_split_without_a_test_survives_its_file(archive, tmp_path):
    split, _ = make_split(open_source(archive), SplitOptions(), seed=0, patch=256)
    write_json(tmp_path / "split.json", split.to_json())
    assert read_split(tmp_path / "split.json") == split


def test_pictures_that_are_resized_are_still_nowhere_on_the_ground(tmp_path):
    """Else all of them would lie on the same ground, and be cut into blocks of it."""
    for i in range(20):
        write(tmp_path, f"{i:02d}.png", 48, 96, 3)
    plain, resized = (open_source(tmp_path, ReadOptions(resize=resize)) for resize in (None, 36))
    assert {p.image.shape for p in resized.pairs} == {p.target.shape for p in resized.pairs} == {(36, 36)}
    assert not any(is_georeferenced(p.image.geobox) or is_georeferenced(p.target.geobox) for p in resized.pairs)
    (split, _), (other, _) = (make_split(s, SplitOptions(), seed=0, patch=32) for s in (plain, resized))
    assert split.how == other.how == "files"
    assert [a.part for a in split.areas] == [a.part for a in other.areas]
