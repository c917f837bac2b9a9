"""Sources that look like others: names that could be pairs, palettes, deep colours, stacks in two files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import synthetic
from sat2map.errors import SourceError
from sat2map.legend import Legend, MapClass, legend_of
from sat2map.options import ReadOptions
from sat2map.sources import Source, open_source

TRUTH = [synthetic.landscape(i) for i in range(3)]
PALETTE = {i: (*c.colour, 255) for i, c in enumerate(synthetic.LEGEND.classes)}
PLACE = {"crs": synthetic.UTM, "transform": synthetic.PLACE}


def opened(path: Path, **words: object) -> Source:
    return open_source(path, ReadOptions(**words))


def ids(source: Source, i: int = 0) -> np.ndarray:
    return source.pairs[i].target.read().pixels[0]


# --- palettes ---------------------------------------------------------------------------------------------------------


def test_a_palette_whose_numbers_fit_the_legend_is_read_by_number(tmp_path: Path) -> None:
    synthetic.rgb_folder(tmp_path, masks="palette", legend=False)
    synthetic.write_legend(tmp_path / "classes.json", legend_of(["Land", "Water", "Building"]))
    source = opened(tmp_path)
    assert source.legend.names == synthetic.LEGEND.names and (ids(source) == TRUTH[0]).all()
    (told,) = (f for f in source.findings if f.kind == "palette-masks")
    assert told.level == "note" and told.text == (
        "Masks with a palette (6 of 6) are read by the indices, not by the colours of their palettes."
    )


@pytest.mark.parametrize("legend", [True, False])
def test_palettes_among_masks_of_numbers(tmp_path: Path, legend: bool) -> None:
    synthetic.rgb_folder(tmp_path, groups=0, masks="numbers", legend=legend)
    synthetic.write_mask(tmp_path / "masks" / "part_001.png", TRUTH[1], "palette")
    source = opened(tmp_path)
    assert all((ids(source, i) == TRUTH[i]).all() for i in (0, 1))
    (told,) = (f for f in source.findings if f.kind == "palette-masks")
    assert told.text.startswith("Masks with a palette (1 of 6) are read by the") and len(told.where) == 1


def test_palettes_among_masks_of_colours(tmp_path: Path) -> None:
    synthetic.rgb_folder(tmp_path, groups=0)
    synthetic.write_mask(tmp_path / "masks" / "part_001.png", TRUTH[1], "palette")
    source = opened(tmp_path)
    assert all((ids(source, i) == TRUTH[i]).all() for i in (0, 1))
    (told,) = source.findings
    assert told.text == "Masks with a palette (1 of 6) are read by the colours of their palettes."
    assert told.level == "note" and len(told.where) == 1


def test_a_palette_read_by_number_has_the_place_of_its_image(tmp_path: Path) -> None:
    synthetic.geotiff(tmp_path / "images" / "a.tif", TRUTH[0])
    synthetic.write_mask(tmp_path / "masks" / "a.png", TRUTH[0], "palette")
    synthetic.write_legend(tmp_path / "classes.json", legend_of(["Land", "Water", "Building"]))
    assert (ids(opened(tmp_path)) == TRUTH[0]).all()


def test_nodata_of_a_palette_is_a_class_if_the_legend_names_its_number(tmp_path: Path) -> None:
    synthetic.geotiff(tmp_path / "images" / "a.tif", TRUTH[0])
    synthetic.save(tmp_path / "masks" / "a.tif", TRUTH[0][None], palette=PALETTE, nodata=0, **PLACE)
    synthetic.write_legend(tmp_path / "classes.json", legend_of(["Land", "Water", "Building"]))
    assert (ids(opened(tmp_path)) == TRUTH[0]).all()


# --- names ------------------------------------------------------------------------------------------------------------


def pairs(folder: Path, images: list[str], masks: list[str]) -> dict[str, str]:
    """Write images and masks, each mask with another truth, and return which mask each image was given."""
    for name in images:
        synthetic.save(folder / name, synthetic.seen(TRUTH[0]))
    for name, truth in zip(masks, TRUTH, strict=False):
        synthetic.save(folder / name, truth[None])
    source = opened(folder)
    truths = dict(zip(masks, TRUTH, strict=False))
    held = [
        next(name for name, truth in truths.items() if (ids(source, i) == truth).all())
        for i in range(len(source.pairs))
    ]
    return dict(zip([p.name for p in source.pairs], held, strict=True))


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        ("images/tile_a images/tile_b", "masks/tile_b_mask", {"images/tile_b": "masks/tile_b_mask"}),
        (
            "images/tile_a images/tile_b",
            "masks/tile_a_mask masks/tile_b_mask",
            {"images/tile_a": "masks/tile_a_mask", "images/tile_b": "masks/tile_b_mask"},
        ),
        (
            "images/map_1 images/sat_1",
            "masks/map_1_mask masks/sat_1_mask",
            {"images/map_1": "masks/map_1_mask", "images/sat_1": "masks/sat_1_mask"},
        ),
        ("images/tile_a images/tile_c", "masks/tile_b masks/tile_c", {"images/tile_c": "masks/tile_c"}),
        ("original/tile_a original/c", "masks/tile_b_mask masks/c_mask", {"original/c": "masks/c_mask"}),
        ("A/1_A A/2_A", "B/1_B B/2_B", {"A/1_A": "B/1_B", "A/2_A": "B/2_B"}),
        ("images/rgb_image_7", "masks/mask_7", {"images/rgb_image_7": "masks/mask_7"}),
    ],
)
def test_no_image_gets_the_mask_of_another(tmp_path: Path, images: str, masks: str, expected: dict[str, str]) -> None:
    found = pairs(tmp_path, [f"{name}.png" for name in images.split()], [f"{name}.png" for name in masks.split()])
    assert found == {f"{image}.png": f"{mask}.png" for image, mask in expected.items()}


def test_images_that_share_what_remains_of_their_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"2 images without mask .*1_rgb.png, images/1_sat.png.* 1 mask without image"
    ):
        pairs(tmp_path, ["images/1_sat.png", "images/1_rgb.png"], ["masks/1_mask.png"])


# --- stacks in two files ----------------------------------------------------------------------------------------------


def write_stacks(folder: Path, images: int, masks: int) -> Path:
    every = [synthetic.landscape(i, 64) for i in range(max(images, masks))]
    with h5py.File(folder / "train_images.h5", "w") as file:
        file["x"] = np.stack([np.moveaxis(synthetic.seen(truth, bands=4), 0, -1) for truth in every[:images]])
    with h5py.File(folder / "train_masks.h5", "w") as file:
        file["y"] = np.stack(every[:masks])
    return folder


def test_stacks_in_two_files(tmp_path: Path) -> None:
    source = opened(write_stacks(tmp_path, 5, 5))
    assert [p.name for p in source.pairs] == [f"train_images.h5[{i}]" for i in range(5)]
    assert len(source.bands) == 4
    assert all((ids(source, i) == synthetic.landscape(i, 64)).all() for i in range(5))


def test_stacks_of_unlike_length_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has 5 images in 'x', but .*train_masks.h5 has 4 masks in 'y'"):
        opened(write_stacks(tmp_path, 5, 4))


def test_hdf5_files_do_not_get_the_mask_of_another(tmp_path: Path) -> None:
    for folder, name in (("images", "tile_a"), ("images", "tile_b"), ("masks", "tile_b_mask")):
        (tmp_path / folder).mkdir(exist_ok=True)
        with h5py.File(tmp_path / folder / f"{name}.h5", "w") as file:
            file["data"] = np.moveaxis(synthetic.seen(TRUTH[0]), 0, -1) if folder == "images" else TRUTH[0]
    source = opened(tmp_path)
    assert [p.name for p in source.pairs] == ["images/tile_b.h5"]
    assert "image-without-mask" in {f.kind for f in source.findings}


# --- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legend", [True, False])
def test_masks_of_deep_colours_are_refused(tmp_path: Path, legend: bool) -> None:
    synthetic.save(tmp_path / "images" / "a.png", synthetic.seen(TRUTH[0]))
    deep = synthetic.colour_mask(TRUTH[0]).astype(np.uint16)
    mask = synthetic.save(tmp_path / "masks" / "a.tif", deep * 257)
    if legend:
        synthetic.write_legend(tmp_path / "classes.json")
    with pytest.raises(SourceError, match=r"a.tif holds colours as uint16 beyond 0 to 255. Save masks .* as 8-bit RGB"):
        opened(tmp_path)
    synthetic.save(mask, deep)
    assert opened(tmp_path).counts.sum() == TRUTH[0].size


def test_the_legend_of_pictures_has_numbers_that_a_model_can_hold(tmp_path: Path) -> None:
    synthetic.rgb_folder(tmp_path, groups=0, count=1)
    wide = Legend(tuple(MapClass(c.name, c.colour, 300 * c.value - 1) for c in synthetic.LEGEND.classes))
    synthetic.write_legend(tmp_path / "classes.json", wide)
    colours = opened(tmp_path, output="picture").colours
    assert colours.names == wide.names and [c.value for c in colours.classes] == [0, 1, 2]
