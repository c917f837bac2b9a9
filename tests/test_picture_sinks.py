"""What is special to pictures: colours with an alpha that GDAL, QGIS and viewers take for what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.enums import ColorInterp, Compression, MaskFlags

from map_kinds import CLASSES, PICTURE, PLACE, SHAPE, fabricated_ids
from sat2map.errors import OutputError
from sat2map.scenes import warp
from sat2map.scenes.array import array_scene
from sat2map.sinks import SINKS, open_picture, read_map_legend
from sat2map.sinks.png import MOST_BYTES
from sat2map.tiling import whole

RGBA = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
CLEAR = (0, 0, 0, 0)

suffixes = pytest.mark.parametrize("suffix", SINKS)


def write(path: Path, picture: np.ndarray, place: GeoBox | None = None) -> Path:
    shape = picture.shape[1:]
    with open_picture(path, place or GeoBox(shape, PLACE.affine, "EPSG:32633")) as sink:
        sink.write(whole(shape), picture)
    return path


def clear(height: int, width: int) -> np.ndarray:
    """Return a picture in which nothing is drawn."""
    return np.zeros((4, height, width), np.uint8)


def colours_of(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.unique(picture.reshape(4, -1), axis=1).T.tolist()}


@suffixes
def test_bands_are_colours_and_an_alpha_that_masks(tmp_path, suffix):
    picture = PICTURE.numbers(fabricated_ids())
    path = write(tmp_path / f"map{suffix}", picture)
    with rasterio.open(path) as file:
        assert file.colorinterp == RGBA
        assert file.mask_flag_enums[:3] == ([MaskFlags.per_dataset, MaskFlags.alpha],) * 3
        assert file.nodatavals == (None,) * 4
        np.testing.assert_array_equal(file.dataset_mask(), picture[3])
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.moveaxis(np.asarray(image), -1, 0), picture)


def test_geotiff_is_photometric_rgb_with_straight_alpha(tmp_path):
    path = write(tmp_path / "map.tif", PICTURE.numbers(fabricated_ids()))
    with Image.open(path) as image:
        photometric, extra = image.tag_v2[262], image.tag_v2[338]
    assert (photometric, extra) == (2, (2,))  # RGB; one more sample: unassociated alpha, which colours are not times
    with rasterio.open(path) as file:
        assert file.descriptions == ("red", "green", "blue", "alpha")
        assert (file.compression, file.block_shapes[0]) == (Compression.deflate, (512, 512))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2]


@pytest.mark.parametrize("drawn", [1, 2, 3])
def test_overviews_are_averages_of_what_is_drawn(tmp_path, drawn):
    picture = clear(1100, 900)
    colours = np.uint8([[200, 100, 50, 255], [100, 100, 250, 255], [0, 100, 0, 255]])[:drawn]
    for (row, col), colour in zip([(0, 0), (1, 1), (0, 1)], colours, strict=False):
        picture[:, row:700:2, col::2] = colour[:, None, None]
    mean = tuple(np.rint(colours.mean(axis=0)).astype(int).tolist())
    path = write(tmp_path / "map.tif", picture)
    for level in (0, 1):
        with rasterio.open(path, overview_level=level) as file:
            overview = file.read()
            assert file.colorinterp == RGBA
        top = 700 >> level + 1
        assert colours_of(overview[:, :top]) == {mean}
        assert colours_of(overview[:, top:]) == {CLEAR}


@suffixes
def test_drawn_and_clear_pixels_are_counted(tmp_path, suffix):
    picture = clear(*SHAPE)
    picture[3, :100, :7] = 255  # black is drawn, too
    picture[:, 200, :9] = 1
    with open_picture(tmp_path / f"map{suffix}", PLACE) as sink:
        sink.write(whole(SHAPE), picture)
    assert sink.counts.tolist() == [709, 700 * 530 - 709]


def test_a_place_is_beside_a_png_that_has_one_and_only_there(tmp_path):
    picture = clear(20, 10)
    names = {"utm": {"map.png", "map.pgw", "map.png.aux.xml"}, "local": {"map.png", "map.pgw"}, "nowhere": {"map.png"}}
    places = {
        "utm": None,
        "local": GeoBox((20, 10), PLACE.affine, None),
        "nowhere": GeoBox((20, 10), PLACE.affine.identity(), None),
    }
    for name, place in places.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name / "map.png", picture, place)
        assert {f.name for f in (tmp_path / name).iterdir()} == names[name]
    write(tmp_path / "alone.tif", picture)
    assert not [*tmp_path.glob("alone.*.xml"), *tmp_path.glob("*.qml")]


def test_the_style_of_another_map_stays(tmp_path):
    with CLASSES.open(tmp_path / "map.tif", PLACE):
        pass
    write(tmp_path / "map.png", clear(20, 10))
    assert (tmp_path / "map.qml").exists(), "it is that of map.tif"
    write(tmp_path / "map.tif", clear(20, 10))
    assert not (tmp_path / "map.qml").exists()


@suffixes
def test_a_picture_has_no_classes(tmp_path, suffix):
    assert read_map_legend(write(tmp_path / f"map{suffix}", clear(20, 10))) is None


def test_pixels_outside_of_the_picture_are_clear_on_another_grid(tmp_path):
    picture = np.full((4, *SHAPE), 255, np.uint8)
    grid = PLACE.pad(30)
    with open_picture(tmp_path / "map.tif", PLACE, grid=grid) as sink:
        sink.write(whole(SHAPE), picture)
    covered = warp(array_scene(picture, geobox=PLACE), grid, nearest=True).read().valid
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(), np.broadcast_to(covered * np.uint8(255), (4, *covered.shape)))
    assert sink.counts.tolist() == [covered.sum(), (~covered).sum()] == [700 * 530, 760 * 590 - 700 * 530]


def test_a_png_is_at_most_as_large_as_its_memory(tmp_path):
    side = int((MOST_BYTES // 4) ** 0.5)
    open_picture(tmp_path / "map.png", GeoBox((side, side), PLACE.affine, None)).discard()
    with pytest.raises(OutputError, match=rf"holds up to {MOST_BYTES // 4:,} pixels"):
        open_picture(tmp_path / "map.png", GeoBox((side, side + 1), PLACE.affine, None))
